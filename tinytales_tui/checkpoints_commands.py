"""`tinytales-tui checkpoints …`: what can be typed. What is shown is in `checkpoints_show`, what is fetched in `checkpoints_fetch`, what
is changed in `checkpoints_change`, what goes out in `checkpoints_send`. No Textual; torch only where a checkpoint is converted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinytales_tui import story_options

app = typer.Typer(
    name="checkpoints",
    help="Find, download, check, use, convert and delete checkpoints; without a command, list them.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SOURCE = "As `list` names it: a name, a run, a Hub id, a folder or a file; default for the shipped one."
_Source = Annotated[str, typer.Argument(metavar="SOURCE", help=_SOURCE)]
_Json = Annotated[bool, typer.Option("--json", help="JSON, with everything that is known.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress on standard error.")]


@app.callback()
def checkpoints(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_()


@app.command("list")
def list_(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORDS]...", help="Only those whose name, family or origin holds all of these.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask the Hub whether it has newer versions of what was downloaded.")
    ] = False,
    json_object: _Json = False,
) -> None:
    """Everything that can be written with: shipped, own runs, the Hub's cache, added folders; and partial downloads."""
    from tinytales_tui.checkpoints_show import show_list

    raise typer.Exit(show_list(words or [], check, json_object))


@app.command()
def show(
    source: _Source,
    card: Annotated[bool, typer.Option("--card", help="Also the whole model card.")] = False,
    json_object: _Json = False,
) -> None:
    """One checkpoint: what it is, its files, the memory it needs, where it comes from."""
    from tinytales_tui.checkpoints_show import show_one

    raise typer.Exit(show_one(source, card, json_object))


@app.command()
def search(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORDS]...", help="What to look for; nothing lists the known story models.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", help="At most so many beside the known ones.", min=1, max=200)
    ] = 20,
    json_object: _Json = False,
) -> None:
    """Look for story models on the Hub; known ones (★) come first. Exit code 3: the Hub could not be asked."""
    from tinytales_tui.checkpoints_show import show_search

    raise typer.Exit(show_search(" ".join(words or []), limit, json_object))


@app.command()
def download(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Hub ids: owner/name, or owner/name/file.pt for one file.")],
    revision: Annotated[str | None, typer.Option("--revision", metavar="REV", help="A branch, a tag or a commit.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="PATTERN", help="Take these weights, as in stories15M.pt or *.bin.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched.")] = False,
    json_object: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Fetch checkpoints from the Hub into huggingface_hub's own cache: only the files that are needed, checksums verified.

    Finished files are kept and not fetched again; a file that was cut off begins anew.
    """
    from tinytales_tui.checkpoints_fetch import download_all

    raise typer.Exit(download_all(ids, revision, file, dry_run=dry_run, as_json=json_object, quiet=quiet))


@app.command()
def verify(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE]...", help=f"{_SOURCE} Left out: all from the Hub.")
    ] = None,
    json_object: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Read every file again and compare its checksum with the Hub's. Exit code 1: one is wrong."""
    from tinytales_tui.checkpoints_fetch import verify_all

    raise typer.Exit(verify_all(sources or [], json_object, quiet))


@app.command()
def delete(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="From the Hub's cache: owner/name, or owner/name@commit.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Free the bytes at once, with no way back.")] = False,
    yes: _Yes = False,
    json_object: _Json = False,
) -> None:
    """Put downloaded checkpoints into the trash; `undo` brings them back, `prune` frees the bytes."""
    from tinytales_tui.checkpoints_change import delete_all

    raise typer.Exit(delete_all(sources, dry_run=dry_run, now=now, yes=yes, as_json=json_object))


@app.command()
def undo(json_object: _Json = False) -> None:
    """Bring back what was put into the trash last."""
    from tinytales_tui.checkpoints_change import undo_last

    raise typer.Exit(undo_last(json_object))


@app.command()
def prune(
    detached: Annotated[
        bool, typer.Option("--detached", help="Also revisions that no branch or tag points at any more.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    yes: _Yes = False,
    json_object: _Json = False,
) -> None:
    """Remove what broken-off downloads left behind, and empty the trash."""
    from tinytales_tui.checkpoints_change import prune_cache

    raise typer.Exit(prune_cache(detached, dry_run=dry_run, yes=yes, as_json=json_object))


@app.command()
def use(
    source: _Source,
    prompt_style: story_options.PromptStyle = None,
    tokenizer: story_options.Tokenizer = None,
    end_id: story_options.EndId = None,
    begin_id: story_options.BeginId = None,
    forget: Annotated[bool, typer.Option("--as-found", help="Forget what was chosen about it before.")] = False,
    json_object: _Json = False,
) -> None:
    """Make a checkpoint the one that the app and --prompt write with from now on; `use default` goes back."""
    from engine.checkpoints.choices import Choices
    from tinytales_tui.checkpoints_change import use_from_now_on

    choices = Choices(prompt_style, tokenizer, None if end_id is None else tuple(end_id), begin_id)  # type: ignore[arg-type]
    raise typer.Exit(use_from_now_on(source, choices, forget, json_object))


@app.command()
def add(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="One checkpoint, or a folder full of them.")]) -> None:
    """List the checkpoints in a folder of yours beside the others."""
    from tinytales_tui.checkpoints_change import add_folder

    raise typer.Exit(add_folder(folder))


@app.command()
def forget(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that was added.")]) -> None:
    """List an added folder no more; its files stay as they are."""
    from tinytales_tui.checkpoints_change import forget_folder

    raise typer.Exit(forget_folder(folder))


@app.command()
def export(
    source: _Source,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that is not there yet.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="hf|int8|llama2c|gguf",
            help="For transformers and this program, for this program alone in 8 bits, for llama2.c, or for llama.cpp.",
        ),
    ] = "hf",
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="NAME", help="Of the weights; which there are depends on --to.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what an export put there before.")] = False,
    json_object: _Json = False,
) -> None:
    """Convert a checkpoint for another program, whole or not at all."""
    from tinytales_tui.checkpoints_send import export_to

    raise typer.Exit(export_to(source, to, folder, precision, force, json_object))


@app.command()
def push(
    source: _Source,
    repo: Annotated[str, typer.Argument(metavar="ID", help="Where on the Hub: owner/name.")],
    private: Annotated[bool, typer.Option("--private/--public", help="Who may see it, if it is new there.")] = True,
    message: Annotated[
        str, typer.Option("--message", "-m", metavar="TEXT", help="What the commit says.")
    ] = "Upload a story model",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    yes: _Yes = False,
    json_object: _Json = False,
) -> None:
    """Upload a checkpoint and its model card to the Hub, after showing what will be sent. Needs a token that may write."""
    from tinytales_tui.checkpoints_send import push_to

    raise typer.Exit(push_to(source, repo, private, message, dry_run=dry_run, yes=yes, as_json=json_object))
