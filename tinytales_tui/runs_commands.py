"""`tinytales-tui runs …`: what can be typed. What is shown is in `runs_show`, what is done in `runs_steer`.

These commands only look at run directories and leave requests there; they never touch the trainer. No Textual, no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="runs",
    help="Look at training runs and steer them; without a command, list them.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _names(incomplete: str) -> list[str]:
    """Names of runs for the shell's completion."""
    from engine.run_view import list_runs
    from tinytales_tui.paths import runs_folder

    return [run.name for run in list_runs(runs_folder()) if run.name.startswith(incomplete)]


_NEWEST = "A run's name or folder. Left out: the one that is being trained, else the newest."
_ONLY = "A run's name or folder. Left out: the one that is being trained."
_Newest = Annotated[str | None, typer.Argument(metavar="RUN", help=_NEWEST, autocompletion=_names)]
_Only = Annotated[str | None, typer.Argument(metavar="RUN", help=_ONLY, autocompletion=_names)]
_Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.", autocompletion=_names)]
_Wait = Annotated[bool, typer.Option("--wait", "-w", help="Come back when it is done, not as soon as it is asked for.")]


@app.callback()
def runs(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_()


@app.command("list")
def list_(json_object: Annotated[bool, typer.Option("--json", help="A JSON list with all that is known.")] = False) -> None:
    """All runs, the newest first (bpb: the best validation, in bits a byte)."""
    from tinytales_tui.runs_show import show_list

    raise typer.Exit(show_list(json_object))


@app.command()
def show(
    run: _Newest = None,
    json_object: Annotated[bool, typer.Option("--json", help="One JSON object with all that is known.")] = False,
    samples: Annotated[bool, typer.Option("--samples", help="Also the stories that were written along the way.")] = False,
) -> None:
    """One run: how it stands, its loss, its checkpoints, and how to go on with it."""
    from tinytales_tui.runs_show import show_run

    raise typer.Exit(show_run(run, json_object, samples))


@app.command()
def log(
    run: _Newest = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until the run ends.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="LINES", help="How many of the last lines.", min=0)] = 40,
) -> None:
    """What the trainer said."""
    from tinytales_tui.runs_show import show_log

    raise typer.Exit(show_log(run, follow, lines))


@app.command()
def stop(run: _Only = None, wait: _Wait = False) -> None:
    """End a run after its current step, with a checkpoint; `runs resume` goes on with it."""
    from tinytales_tui.runs_steer import ask

    raise typer.Exit(ask("stop", run, wait))


@app.command()
def pause(run: _Only = None, wait: _Wait = False) -> None:
    """Let a run hold after its current step; it keeps its memory, and `runs resume` goes on at once."""
    from tinytales_tui.runs_steer import ask

    raise typer.Exit(ask("pause", run, wait))


@app.command()
def checkpoint(run: _Only = None, wait: _Wait = False) -> None:
    """Let a run write a checkpoint now; with --wait, its folder is printed."""
    from tinytales_tui.runs_steer import ask

    raise typer.Exit(ask("checkpoint", run, wait))


@app.command()
def sample(run: _Only = None, wait: _Wait = False) -> None:
    """Let a run write its sample stories now; with --wait, they are printed."""
    from tinytales_tui.runs_steer import ask

    raise typer.Exit(ask("sample", run, wait))


@app.command()
def resume(
    run: _Run,
    foreground: Annotated[bool, typer.Option("--foreground", help="Train here, not in the background; Ctrl-C stops it.")] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting first; may be repeated.")
    ] = None,
) -> None:
    """Go on with a run that is paused, stopped, failed or gone stale, or give a finished one more --set steps=N."""
    from tinytales_tui.runs_steer import resume_run

    raise typer.Exit(resume_run(run, foreground, changes or []))


@app.command()
def delete(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names or folders of runs.", autocompletion=_names)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove runs with all their checkpoints."""
    from tinytales_tui.runs_steer import delete_runs

    raise typer.Exit(delete_runs(runs, yes))


@app.command()
def export(
    run: _Run,
    destination: Annotated[Path, typer.Argument(metavar="DESTINATION", help="A folder that is not there yet.")],
    best: Annotated[bool, typer.Option("--best", help="The checkpoint with the best validation (this is the default).")] = False,
    latest: Annotated[bool, typer.Option("--latest", help="The checkpoint of the last step.")] = False,
    step: Annotated[int | None, typer.Option("--step", metavar="N", help="The checkpoint of step N.", min=0)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a checkpoint that stands there.")] = False,
) -> None:
    """Copy a run's checkpoint to a folder of its own, whole or not at all."""
    from tinytales_tui.runs_steer import export_checkpoint

    raise typer.Exit(export_checkpoint(run, destination, best, latest, step, force))
