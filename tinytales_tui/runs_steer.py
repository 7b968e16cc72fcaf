"""What `tinytales-tui runs stop`, `pause`, `checkpoint`, `sample`, `resume`, `delete` and `export` do.

No Textual, and no torch but where a run goes on in the foreground.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.run_actions import (
    Request,
    Which,
    check_can_start,
    delete_run,
    export_run,
    request,
    requested,
    results,
    wait_for,
)
from engine.run_status import ENDED_STATES
from engine.run_view import RunView, find_run, folder_bytes
from tinytales_tui import paths
from tinytales_tui.agreement import agreed
from tinytales_tui.changes import parse_changes
from tinytales_tui.figures import size
from tinytales_tui.output import note, put
from tinytales_tui.report import DONE, FAILED
from tinytales_tui.runs_show import chosen, standing, typed
from tinytales_tui.text import one_line, safe_text

_ASKED = {
    "stop": "asked to stop; it ends after its current step, with a checkpoint",
    "pause": "asked to pause after its current step",
    "resume": "asked to go on",
    "checkpoint": "asked for a checkpoint",
    "sample": "asked for sample stories",
}


def ask(kind: Request, name: str | None, wait: bool) -> int:
    """Leave a request; with `wait`, come back when it has been carried out (1 where the run ended without)."""
    run = chosen(name, newest=False)
    before = len(results(run, kind))
    request(run, kind)
    note(f"{one_line(run.name, 200)} is {_ASKED[kind]}.")
    if not wait:
        return DONE
    if kind == "stop":
        wait_for(run, lambda run: not run.status().alive)
        return _tell_end(run, run.status().state in ENDED_STATES - {"failed"})
    if kind == "pause":
        wait_for(run, lambda run: run.status().state == "paused" or not run.status().alive)
        return _tell_end(run, run.status().state == "paused")
    wait_for(run, lambda run: (len(results(run, kind)) > before and not requested(run, kind)) or not run.status().alive)
    if len(results(run, kind)) <= before:
        return _tell_end(run, False)
    _put_result(run, kind, before)
    return DONE


def resume_run(name: str, foreground: bool, changes: list[str]) -> int:
    """Let a run go on: a paused one by a request, any other by starting the trainer again."""
    run = find_run(paths.runs_folder(), name)
    values = parse_changes(changes)
    if run.status().state == "paused":
        if foreground or values:
            raise UsageError(
                f"{run.name} is paused in the background and goes on there as it is; to change it, stop it first "
                f"(tinytales-tui runs stop {typed(run)})."
            )
        request(run, "resume")
        note(f"{one_line(run.name, 200)} is {_ASKED['resume']}.")
        return DONE
    check_can_start(run, values)
    if values:
        _change_settings(run.path, values)
    if foreground:
        return _train_here(run.path)
    _start(run.path)
    note(f"{one_line(run.name, 200)} goes on in the background; tinytales-tui runs log -f {typed(run)} shows what it says.")
    return DONE


def delete_runs(names: list[str], yes: bool) -> int:
    """Delete runs after asking; nothing is deleted where one of them cannot be."""
    runs = {run.path.absolute(): run for run in (find_run(paths.runs_folder(), name) for name in names)}
    for run in runs.values():
        if run.status().alive:
            raise UsageError(f"{run.name} is {run.status().state}; stop it first (tinytales-tui runs stop {typed(run)}).")
    sizes = {path: folder_bytes(path) for path in runs}
    for path, run in runs.items():
        checkpoints = len(run.checkpoints())
        counted = f"{checkpoints} checkpoint{'' if checkpoints == 1 else 's'}"
        note(f"{one_line(run.name, 200)}: {run.status().state}, {counted}, {size(sizes[path])} in {paths.shown(path)}")
    if not yes and not agreed(f"Delete {'it' if len(runs) == 1 else f'these {len(runs)} runs'}, for ever?"):
        note("Nothing was deleted.")
        return FAILED
    for path, run in runs.items():
        delete_run(run)
        note(f"deleted {one_line(run.name, 200)} ({size(sizes[path])})")
    return DONE


def export_checkpoint(name: str, destination: Path, best: bool, latest: bool, step: int | None, force: bool) -> int:
    """Copy a checkpoint and print the folder it was copied to."""
    if best + latest + (step is not None) > 1:
        raise UsageError("Choose one of --best, --latest and --step.")
    run = find_run(paths.runs_folder(), name)
    which: Which = step if step is not None else "latest" if latest else "best"
    done = export_run(run, destination, which, force)
    at = f" (step {done.step:,})" if done.step is not None and done.best else ""
    note(f"{done.name}{at} of {one_line(run.name, 200)}, {size(done.bytes)}, copied to:")
    put(str(destination))
    return DONE


def _put_result(run: RunView, kind: Request, before: int) -> None:
    rows = results(run, kind)[before:]
    if kind == "sample":
        for at, row in enumerate(rows):
            put(("\n" if at else "") + one_line(str(row.get("prompt", "")), 200) + "\n" + safe_text(row["story"]).strip())
        return
    for row in rows:
        put(str(run.path / str(row.get("folder", ""))))


def _tell_end(run: RunView, well: bool) -> int:
    status = run.status()
    note(f"{one_line(run.name, 200)}: {standing(status, run.summary())}.")
    if status.message:
        note(one_line(status.message, 500))
    return DONE if well else FAILED


def _change_settings(folder: Path, values: dict[str, Any]) -> None:
    from engine.training.launch import change_settings

    change_settings(folder, values)


def _start(folder: Path) -> None:
    from engine.training.launch import start

    start(folder)


def _train_here(folder: Path) -> int:
    from engine.training.launch import run_here

    return run_here(folder, note)
