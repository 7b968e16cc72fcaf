"""What `tinytales-tui checkpoints export` and `push` do. No Textual; torch only where a checkpoint is opened to be converted."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import CheckpointError, NetworkError, UsageError
from tinytales_tui import paths
from tinytales_tui.agreement import agreed
from tinytales_tui.checkpoints_find import find_one, look
from tinytales_tui.chosen import chosen, will_be_fetched
from tinytales_tui.figures import size
from tinytales_tui.output import json_line, note, put
from tinytales_tui.report import DONE
from tinytales_tui.text import one_line

_PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "q8_0": "q8_0"}
"""What they are called on the command line, and what the exporters call them."""


def export_to(source: str, to: str, folder: Path, precision: str | None, force: bool, as_json: bool) -> int:
    """Convert a checkpoint and print the folder."""
    from engine.checkpoints import load_checkpoint
    from engine.checkpoints.exporting import export

    which = chosen(_named(source))
    if coming := will_be_fetched(which.source):
        note(coming)
    checkpoint = load_checkpoint(which.source, device="cpu", choices=which.choices)
    for warning in checkpoint.warnings:
        note(warning)
    stored_as = _PRECISIONS.get(precision, precision) if precision is not None else None
    target = Path(os.path.expanduser(folder)).absolute()  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    done = export(checkpoint, to, target, force=force, stored_as=stored_as)
    for words in done.notes:
        note(words)
    note(f"{len(done.files)} files, {size(done.size)}: {', '.join(done.files)}")
    known = {"folder": str(done.folder), "files": list(done.files), "bytes": done.size, "notes": list(done.notes)}
    put(json_line(known).rstrip("\n") if as_json else str(done.folder))
    return DONE


def push_to(source: str, repo: str, private: bool, message: str, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Show what would be sent, ask, send it, and print the address."""
    from engine.hub.pushing import plan_push, push

    folder = _folder(source)
    try:
        plan = plan_push(folder, repo, private)
        seen = "private" if plan.private else "public"
        note(f"To {repo}, which is {f'there and {seen}' if plan.exists else f'new and will be {seen}'}:")
    except (CheckpointError, NetworkError) as error:
        if not dry_run:
            raise
        plan = plan_push(folder, repo, private, ask=False)
        note(f"What would be sent to {repo}; the Hub was not asked about it: {error}")
    for file in plan.files:
        note(f"  {size(file.size):>10}  {one_line(file.name, 200)}")
    note(f"{len(plan.files)} files, {size(plan.total)}.")
    for name in plan.left_out:
        note(f"  left out: {one_line(name, 200)}")
    if not plan.card:
        note("There is no model card (README.md); `checkpoints export --to hf` writes one.")
    known = {"repo": repo, "private": plan.private, "exists": plan.exists, "bytes": plan.total}
    known |= {"files": [file.name for file in plan.files], "left_out": list(plan.left_out), "done": False, "url": ""}
    if not dry_run:
        if not yes and not agreed("Send all this?"):
            note("Nothing was sent.")
            return DONE
        known |= {"url": push(plan, message), "done": True}
    if as_json:
        put(json_line(known).rstrip("\n"))
    elif known["url"]:
        put(str(known["url"]))
    return DONE


def _named(source: str) -> str:
    """The source of what was named: an entry of the list, or whatever `load_checkpoint` makes of it."""
    try:
        return find_one(look()[0], source).source
    except UsageError:
        return source


def _folder(source: str) -> Path:
    """The folder of a checkpoint that is to be sent."""
    path = Path(os.path.expanduser(source)).absolute()  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    if path.is_dir():
        best = path / "checkpoints" / "best"
        return best if not (path / "config.json").is_file() and best.is_dir() else path
    entry = find_one(look()[0], source)
    if not entry.path.is_dir():
        raise UsageError(
            f"{one_line(source, 100)} is one file; `tinytales-tui checkpoints export` makes a folder of it that can be sent."
        )
    note(f"{one_line(entry.name, 100)}: {paths.shown(entry.path)}")
    return entry.path
