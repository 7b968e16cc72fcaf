"""From a path to a feed: a run, or whichever kind of foreign log it is, told by its content first and by its name second.

Where nothing can be told yet (no file, an empty one, an empty folder), `waiting` looks again. Only reads, and never waits for a pipe
or a device. Knows no screen.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
import time
from pathlib import Path
from typing import NoReturn

from engine.errors import UsageError
from engine.growing_files import open_plain
from engine.run_view import looks_like_run
from engine.watching.feed import Feed, RunFeed
from engine.watching.foreign.console import ConsoleFeed, ConsoleReader
from engine.watching.foreign.lines import CsvFeed, JsonFeed, flat, header_of, is_header, json_object, split_line
from engine.watching.foreign.names import FIGURES, Columns, Naming, listed, no_figures, number
from engine.watching.foreign.pipe import copy_at
from engine.watching.foreign.tensorboard import FIRST_RECORD, MARK, TensorBoardFeed, event_files, load_reader
from engine.watching.foreign.trainer_state import STATE, TrainerStateFeed, states_in
from engine.watching.foreign.waiting import WaitingFeed

HEAD = 1 << 20
"""Bytes at the beginning of a file by which its kind is told."""
_LINES = 5000
_FRESH = 600.0
"""A text that was written within so many seconds, and says no loss yet, may still come to it."""
_OF_A_RUN = frozenset(("metrics.jsonl", "events.jsonl", "samples.jsonl", "status.json", "config.json", "output.log", "lock"))
_LOGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".log", ".out", ".err", ".txt")
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}


def open_feed(path: Path, columns: Columns | None = None) -> Feed:
    """The feed that follows what is at `path`; what is not there yet is waited for.

    Raises `UsageError` for what is there and is no log that can be followed, with the way out.
    """
    if copy_at(path) is None and (feed := told(path, columns)) is not None:
        return feed
    return WaitingFeed(path, columns)


def told(path: Path, columns: Columns | None = None, name: str = "") -> Feed | None:
    """The feed for what is at `path` now; None where it cannot be told yet. Raises `UsageError` as `open_feed` does."""
    try:
        found = os.stat(path)  # noqa: PTH116 (one call for all that is asked)
        if (run := _run_of(path)) is not None:
            return RunFeed(run, full=True)
        if stat.S_ISDIR(found.st_mode):
            return _in_folder(path, columns)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path} is no plain file; to follow what comes through a pipe, use: tinytales-tui watch -.")
        with open_plain(path) as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        return None
    except ValueError:
        raise UsageError(f"{str(path)!r} is not the name of a file.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    fresh = time.time() - found.st_mtime < _FRESH
    return _in_file(path, head, len(head) == found.st_size, fresh, columns, name)


def _run_of(path: Path) -> Path | None:
    """The run directory that a path is, or that it lies in as one of the run's own files."""
    whole = path.resolve() if path.is_symlink() else path.absolute()
    for candidate in itertools.islice((whole, *whole.parents), 4):
        if not _is_run(candidate):
            continue
        parts = whole.relative_to(candidate).parts
        if not parts:
            return whole
        if parts[0] in ("checkpoints", "state") or (len(parts) == 1 and parts[0] in _OF_A_RUN):
            return candidate
    return None


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run of ours, and not one of another program that has files of the same names."""
    if not looks_like_run(folder):
        return False
    try:
        with open_plain(folder / "metrics.jsonl") as file:
            first = json_object(file.readline(1 << 16))
    except OSError:
        return True
    return first is None or {"step", "tokens", "time"} <= first.keys()


def _in_folder(path: Path, columns: Columns | None) -> Feed | None:
    names = sorted(entry.name for entry in os.scandir(path) if not entry.name.startswith("."))
    if states_in(path):
        return TrainerStateFeed(path, columns)
    if event_files(path)[1]:
        return TensorBoardFeed(path, columns)
    logs = [name for name in names if name.lower().endswith(_LOGS) and (path / name).is_file()]
    fit: list[tuple[str, Feed]] = []
    for name in logs[:50]:
        try:
            if (feed := told(path / name, columns)) is not None and not isinstance(feed, RunFeed):
                fit.append((name, feed))
        except UsageError:
            continue
    if len(fit) == 1:
        return fit[0][1]
    if fit:
        raise UsageError(f"{path} holds {len(fit)} logs; name one of them: {listed([name for name, _ in fit])}.")
    if not names:
        return None
    raise UsageError(f"{path} holds no training run and no log that can be told; name a file in it.")


def _in_file(path: Path, head: bytes, whole: bool, fresh: bool, columns: Columns | None, name: str) -> Feed | None:
    what = name or path.name
    if FIRST_RECORD in head[:64] or (MARK in path.name and not head.strip(b"\0")):
        load_reader()  # its absence is said at once
        return TensorBoardFeed(path, columns, name)
    _refuse_binary(what, head)
    text = head.removeprefix(b"\xef\xbb\xbf").strip(b"\0 \t\r\n")
    if path.name == STATE or (text.startswith(b"{") and _is_trainer_state(text)):
        return TrainerStateFeed(path, columns, name)
    if not text:
        return None
    lines = [line for line in re.split(rb"[\r\n]+", text, maxsplit=_LINES)[:_LINES] if line.strip(b" \t\0")]
    if not whole and len(lines) < _LINES and len(lines) > 1:
        del lines[-1]  # which may be cut
    objects = [row for line in lines[:1000] if line[:1] == b"{" and (row := json_object(line)) is not None]
    if objects and 2 * len(objects) >= len(lines[:1000]):
        _check_names([list(flat(row)) for row in objects], what, columns, certain=len(objects) > 2)
        return JsonFeed(path, columns, name)
    if text.startswith(b"{") and len(lines) == 1:
        return None if fresh else _refuse(what)
    if lines[0] in (b"{", b"[") or (text.startswith(b"[{") and b"}" in text):
        raise UsageError(f"{what} is one piece of JSON; only JSON lines (one object a line) can be followed.")
    if not path.name.lower().endswith((".csv", ".tsv")) and ConsoleReader(columns).rows(lines):
        return ConsoleFeed(path, columns, name)
    if _is_table([line.decode("utf-8", "replace") for line in lines[:20] if line[:1] != b"#"], path.name, what, columns):
        return CsvFeed(path, columns, name)
    if fresh or (whole and len(lines) < 3 and path.name.lower().endswith(_LOGS)):
        return None
    return _refuse(what)


def _is_table(texts: list[str], file_name: str, what: str, columns: Columns | None) -> bool:
    """Whether these are lines of columns; raises `UsageError` where they are and none of them is a loss."""
    if not texts:
        return False
    header, delimiter = header_of(texts)
    second = split_line(texts[1], delimiter) if len(texts) > 1 else []
    named = is_header(split_line(texts[0], delimiter))
    if len(header) < 2:
        return False
    if not named and header == [str(at) for at in range(1, len(header) + 1)]:
        alike = [split_line(text, delimiter) for text in texts[:3]]
        if not all(len(row) == len(header) and all(number(field) is not None for field in row) for row in alike):
            return False
        if columns is None or Naming(columns).missing(header):
            raise UsageError(
                f"{what} has no line with the names of its columns; they count as {listed(header)}: "
                f"name them with --columns, for example --columns step=1,loss={len(header)}."
            )
        return True
    fits = len(second) == len(header) and any(number(field) is not None for field in second)
    if fits or file_name.lower().endswith((".csv", ".tsv")):
        _check_names([header], what, columns, certain=True)
        return True
    ours = Naming(columns).line_names(header)
    return not second and "step" in ours and not FIGURES.isdisjoint(ours)


def _check_names(rows: list[list[str]], what: str, columns: Columns | None, certain: bool) -> None:
    """Raises `UsageError` where a chosen column is not there, or, if that is certain, where no column is a loss."""
    naming = Naming(columns)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if missing := naming.missing(names) if certain else []:
        raise UsageError(f"{what} has no column called {' or '.join(missing)}; its columns are {listed(names)}.")
    layouts = {tuple(row) for row in rows}
    if certain and all(FIGURES.isdisjoint(Naming(columns).line_names(row)) for row in layouts):
        raise UsageError(no_figures(what, names))


def _refuse(what: str) -> NoReturn:
    raise UsageError(
        f"{what} has no line that says a step and a loss, such as: step 100 | loss 2.31. Columns of other names can be given with "
        "--columns step=…,loss=…."
    )


def _refuse_binary(what: str, head: bytes) -> None:
    for mark, kind in _PACKED.items():
        if head.startswith(mark):
            raise UsageError(f"{what} is packed ({kind}); unpack it first.")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{what} is text in UTF-16; save it as UTF-8.")
    sample = head[:65_536].strip(b"\0")
    odd = sum(sample.count(bytes([code])) for code in itertools.chain(range(7), range(14, 27), range(28, 32)))
    broken = sample.decode("utf-8", "replace").count("\ufffd")
    if sample and (odd > len(sample) / 50 or broken > len(sample) / 10):
        raise UsageError(f"{what} is no text, and so no log of a training.")


def _is_trainer_state(text: bytes) -> bool:
    first, newline, _ = text.partition(b"\n")
    return re.search(rb'"log_history"\s*:\s*\[', text[:100_000]) is not None and (not newline or json_object(first) is None)
