"""What a person is asked before something is done to runs, with what would be lost: steps, checkpoints, sizes.

Reads files and adds up sizes, which belongs in a thread. The dialog that shows a question is `widgets.confirm.ConfirmDialog`; doing it
is `steering`. Knows no Textual and no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.run_status import RunStatus
from engine.run_view import RunView, folder_bytes
from tinytales_tui.figures import size
from tinytales_tui.train.steer.steering import SHOWN, Action, available, place, shown

TYPED_FROM = 10**9
"""Bytes from which a deletion has to be confirmed by typing."""


@dataclass(frozen=True)
class Question:
    """What a person is asked before something is done; plain text, to be shown by `widgets.confirm.ConfirmDialog`."""

    title: str
    sentences: tuple[str, ...]
    verb: str
    """On the button: `Delete 2 runs`."""
    typed: str | None = None
    """What has to be typed before the button works."""
    runs: tuple[RunView, ...] = ()
    """What is asked about: nothing else may be done after a yes."""


def needs_confirmation(action: Action, runs: Sequence[RunView], readonly: bool = False) -> Question | None:
    """What to ask before the action; None where it needs no question, or can be done with none of the runs.

    A yes counts for the question's own `runs` alone: of the others it says that they stay as they are.
    """
    if action not in ("stop", "delete"):
        return None
    standing = [(run, run.status()) for run in runs]
    able = [(run, status) for run, status in standing if not available(action, status, readonly, name=run.name)]
    left = [f"{shown(run)} is {status.state} and stays as it is." for run, status in standing if (run, status) not in able]
    if not able:
        return None
    question = _about_stopping(able, left) if action == "stop" else _about_deleting(able, left)
    return replace(question, runs=tuple(run for run, _ in able))


def _about_stopping(able: list[tuple[RunView, RunStatus]], left: list[str]) -> Question:
    sentences = _first([f"{shown(run)} is at {place(status)}." for run, status in able])
    one = len(able) == 1
    ends = "It ends after its current step" if one else "Each ends after its current step"
    sentences.append(f"{ends} and writes a checkpoint; you can go on with it later.")
    what = shown(able[0][0]) if one else f"{len(able)} runs"
    return Question(f"Stop {what}?", (*sentences, *_first(left)), "Stop it" if one else f"Stop {what}")


def _about_deleting(able: list[tuple[RunView, RunStatus]], left: list[str]) -> Question:
    sizes = [folder_bytes(run.path) for run, _ in able]
    sentences = []
    for (run, status), count in list(zip(able, sizes, strict=True))[:SHOWN]:
        checkpoints = len(run.checkpoints())
        counted = f"{checkpoints} checkpoint{'' if checkpoints == 1 else 's'}" if checkpoints else "no checkpoint"
        sentences.append(f"{shown(run)}: {_standing(status)}, {counted}, {size(count)}.")
    if len(able) > SHOWN:
        sentences.append(f"And {len(able) - SHOWN} more, {size(sum(sizes[SHOWN:]))}.")
    total = f", {size(sum(sizes))} in all" if len(able) > 1 else ""
    sentences.append(f"Everything in {'its folder' if len(able) == 1 else 'their folders'} goes, for ever{total}.")
    what = shown(able[0][0]) if len(able) == 1 else f"{len(able)} runs"
    typed = None
    if sum(sizes) > TYPED_FROM:
        easy = len(able) == 1 and what == able[0][0].name and what.isascii() and len(what) <= 30
        typed = what if easy else "delete"
    return Question(f"Delete {what}?", (*sentences, *_first(left)), "Delete it" if len(able) == 1 else f"Delete {what}", typed)


def _standing(status: RunStatus) -> str:
    return f"{status.state} at step {status.step:,}" if status.step is not None else status.state


def _first(sentences: list[str]) -> list[str]:
    """The first few; of the rest, how many there are."""
    more = len(sentences) - SHOWN
    return [*sentences[:SHOWN], *([f"And {more} more."] if more > 0 else [])]
