"""Which step writes with which checkpoint on this machine: measured once (`choosing`), kept in one file beside the compiled code.

What a choice was made for is part of its name, the state of the sources included, so no other machine, checkpoint, torch or version of
this program takes it for its own. A file that is damaged or not ours holds nothing. Knows no torch.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from engine import files
from engine.bench.plan import machine
from engine.checkpoints.choices import Choices
from engine.decode import library
from engine.decode.choose import STEPS
from engine.growing_files import read_json
from engine.run_status import real, whole
from engine.version import __version__

FILE = "choices.json"
FORMAT = 1
MOST = 200
"""Entries that are kept, the newest ones."""
FAILED_S = 86_400.0
"""How long what went wrong keeps us from trying again."""
LOCK_S = 10.0
CHOSEN = ("fp32", "bf16", "int8")
"""Precisions that may be chosen by themselves."""


@dataclass(frozen=True)
class Subject:
    """What a choice is made for."""

    machine: str
    """Processor and cores."""
    checkpoint: str
    """A digest of where its files lie, when they were written and how large they are."""
    torch: str
    program: str
    """Version, and a digest of what decodes and of what compiles it."""
    threads: int | None
    """As they were asked for; None: by the size of the model."""

    @classmethod
    def of(cls, path: Path, choices: Choices | None = None, threads: int | None = None) -> Self:
        """The subject for a checkpoint's folder or file on this machine, opened with these choices."""
        return cls(_machine(), checkpoint_digest(path, choices), _version("torch"), _program(), threads)

    @property
    def key(self) -> str:
        """Its name in the file."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Choice:
    """What writes from the second story on, and why."""

    step: str = "plain"
    precision: str = "fp32"
    threads: int = 1
    """That were measured with."""
    speeds: Mapping[str, float] = field(default_factory=dict)
    """Tokens a second, medians: `plain fp32`, `compiled int8`, …"""
    losses: Mapping[str, float] = field(default_factory=dict)
    """By precision: the relative difference in bits per byte (`engine.decode.loss`)."""
    reason: str = ""
    """Why nothing was measured, or the compiled step was given up: one sentence; mostly empty."""
    failed: bool = False
    """Something went wrong; after a day it is tried again."""
    when: float = 0.0
    """Unix seconds."""


def lookup(folder: Path, subject: Subject) -> Choice | None:
    """The choice for this subject, or None where none was made yet, or a failure is old enough to try again."""
    choice = _read(folder).get(subject.key, (None, None))[1]
    return None if choice is None or (choice.failed and time.time() - choice.when > FAILED_S) else choice


def everything(folder: Path) -> list[tuple[Subject, Choice]]:
    """All that is remembered, the newest first."""
    return sorted(_read(folder).values(), key=lambda pair: pair[1].when, reverse=True)


def loss_of(folder: Path, subject: Subject, precision: str) -> float | None:
    """What a precision costs this checkpoint, wherever and with how many threads it was measured; None where it was not."""
    for found, choice in everything(folder):
        if (found.checkpoint, found.program) == (subject.checkpoint, subject.program) and precision in choice.losses:
            return choice.losses[precision]
    return None


def remember(folder: Path, subject: Subject, choice: Choice) -> None:
    """Keep a choice in place of the one before, dated now (OSError where the disk says no)."""
    folder.mkdir(0o700, parents=True, exist_ok=True)
    with FileLock(folder / f"{FILE}.lock", timeout=LOCK_S, mode=0o600):  # its Timeout is an OSError
        known = _read(folder) | {subject.key: (subject, replace(choice, when=time.time()))}
        newest = sorted(known.values(), key=lambda pair: pair[1].when)[-MOST:]
        entries = {one.key: {"subject": asdict(one), "choice": asdict(made)} for one, made in newest}
        files.write_json(folder / FILE, {"format": FORMAT, "choices": entries})


def give_up(folder: Path, subject: Subject, reason: str) -> None:
    """Keep the plain step for a day, because of this; what was measured stays (OSError)."""
    before = lookup(folder, subject) or Choice()
    remember(folder, subject, replace(before, step="plain", precision="fp32", reason=reason, failed=True))


def checkpoint_digest(path: Path, choices: Choices | None = None) -> str:
    """Changes when a file of the checkpoint does, as its date or size tells, or when it is opened otherwise."""
    path = path.resolve()
    told = [str(path), (choices or Choices()).to_json(), files.stamps(path)]
    return hashlib.sha256(json.dumps(told).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read(folder: Path) -> dict[str, tuple[Subject, Choice]]:
    try:
        library.open_own(folder / FILE).close()
    except (OSError, library.Damaged):
        return {}
    data = read_json(folder / FILE) or {}
    entries = data.get("choices") if data.get("format") == FORMAT else None
    found = {}
    for entry in entries.values() if isinstance(entries, dict) else ():
        try:
            subject, choice = _subject(entry["subject"]), _choice(entry["choice"])
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        found[subject.key] = subject, choice
    return found


def _subject(data: Any) -> Subject:
    texts = {name: _text(data[name]) for name in ("machine", "checkpoint", "torch", "program")}
    return Subject(**texts, threads=None if data["threads"] is None else _count(data["threads"]))


def _choice(data: Any) -> Choice:
    step, precision = _text(data["step"]), _text(data["precision"])
    if step not in STEPS or precision not in CHOSEN or (step == "plain" and precision != "fp32"):
        raise ValueError("no such step")
    return Choice(
        step=step,
        precision=precision,
        threads=_count(data["threads"]),
        speeds=_figures(data["speeds"]),
        losses=_figures(data["losses"]),
        reason=_text(data["reason"]),
        failed=data["failed"] is True,
        when=_figures({"when": data["when"]})["when"],
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _count(value: Any) -> int:
    if not (found := whole(value)):
        raise ValueError("no number of threads")
    return found


def _figures(data: Any) -> dict[str, float]:
    found = {_text(name): real(value) for name, value in data.items()}
    if None in found.values():
        raise ValueError("no figure")
    return found  # type: ignore[return-value]


@functools.cache
def _machine() -> str:
    found = machine()
    return f"{found['system']}, {found['processor']}, {found['cores']} cores"


@functools.cache
def _program() -> str:
    """Whatever decides what is chosen and what is written: this version, these sources, and whether there is a compiler."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return f"{__version__}, {digest.hexdigest()[:16]}, numba {_version('numba')}"


@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
