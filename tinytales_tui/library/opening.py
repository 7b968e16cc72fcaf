"""Opening the library's file: for its owner only, damaged files set aside, and every failure of SQLite as one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tinytales_tui import paths
from tinytales_tui.library import index, schema
from tinytales_tui.library.story import LibraryError

BUSY_S = 5.0
"""How long another process may write before we give up."""
_FILES = ("", "-wal", "-shm")


@dataclass(frozen=True)
class Opened:
    """A connection in autocommit mode; whoever writes begins and ends the transaction."""

    connection: sqlite3.Connection
    readonly: bool
    full_text: bool
    """Whether there is an index of words."""
    aside: Path | None = None
    """Where a damaged file is now."""


class Damaged(Exception):
    """The file is not a sound library."""


def open_file(path: Path, *, full_text: bool = True) -> Opened:
    """The library at `path`, made if there is none (LibraryError); where nothing can be written there, only to be read.

    A file that is no sound library is renamed, never deleted, and a new one begun.
    """
    with sentences(path):
        try:
            return _open(path, full_text)
        except Damaged:
            from filelock import FileLock, Timeout

            try:
                with FileLock(path.with_name(f".{path.name}.lock"), timeout=BUSY_S, mode=0o600):
                    with contextlib.suppress(Damaged):
                        return _open(path, full_text)  # another process has set it aside in the meantime
                    return begin_anew(path, full_text)
            except Timeout as error:
                raise LibraryError(
                    f"{paths.shown(path)} is being looked at by another process; try again in a moment."
                ) from error
            except Damaged as error:
                raise LibraryError(
                    f"No library can be made at {paths.shown(path)}; move that file away, and try again."
                ) from error


def begin_anew(path: Path, full_text: bool = True) -> Opened:
    """Rename a damaged file and those that belong to it, and make a new one in its place (OSError, sqlite3.Error, Damaged)."""
    number = 1
    while any(path.with_name(f"{path.name}.damaged-{number}{end}").exists() for end in _FILES):
        number += 1
    aside = path.with_name(f"{path.name}.damaged-{number}")
    for end in _FILES:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return dataclasses.replace(_open(path, full_text), aside=aside)


@contextlib.contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Whatever SQLite or the system refuses is a LibraryError with one sentence; `Damaged` where the file is not sound."""
    try:
        yield
    except sqlite3.Error as error:
        if _tells_damage(error):
            raise Damaged(str(error)) from error
        raise LibraryError(f"The library in {paths.shown(path)} {_why(_code(error), error)}.") from error
    except OSError as error:
        raise LibraryError(f"The library in {paths.shown(path)} cannot be used: {paths.reason(error)}.") from error


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where it gave none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _tells_damage(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _why(code: int, error: sqlite3.Error) -> str:
    unchanged = "so nothing of it was changed"
    return {
        sqlite3.SQLITE_FULL: f"cannot be written: the disk is full, {unchanged}",
        sqlite3.SQLITE_IOERR: f"cannot be written or read: the disk refuses, perhaps it is full, {unchanged}",
        sqlite3.SQLITE_READONLY: f"can only be read, {unchanged}",
        sqlite3.SQLITE_PERM: "cannot be opened: you have no permission",
        sqlite3.SQLITE_CANTOPEN: "cannot be opened: the folder does not exist or takes no files",
        sqlite3.SQLITE_BUSY: f"is being written by another process for long, {unchanged}; try again in a moment",
        sqlite3.SQLITE_LOCKED: f"is being written for long, {unchanged}; try again in a moment",
        sqlite3.SQLITE_TOOBIG: f"takes no text as long as this, {unchanged}",
    }.get(code, f"cannot be used: {str(error).lower().rstrip('.')}")


def _open(path: Path, full_text: bool) -> Opened:
    # Asked, not tried: to open and close the file here would let go the locks of other connections of this process.
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "")
    if path.exists() and not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, "")
    if readonly := _only_to_read(path):
        connection = to_read(path)
    else:
        paths.ensure(path.parent)
        with contextlib.suppress(FileExistsError):  # SQLite would make it readable for everyone; its other files follow this one
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = _connect(str(path))
    try:
        schema.check(connection)
        if not readonly:
            _use_log(connection)
            # Each commit reaches the disk, so that a power cut costs no more than a crash: what came after the last of them.
            connection.execute("PRAGMA synchronous = FULL")
            schema.migrate(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        _check_tables(connection)
        return Opened(connection, readonly, full_text and _has_index(connection, readonly))
    except sqlite3.DatabaseError as error:
        connection.close()
        if not hasattr(error, "sqlite_errorcode") or _tells_damage(error):  # without a code: our own word for a foreign file
            raise Damaged(str(error)) from error
        raise
    except BaseException:
        connection.close()
        raise


def _check_tables(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("SELECT * FROM stories JOIN nodes JOIN tags JOIN word_index LIMIT 0")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            raise Damaged(str(error)) from error
        raise


def _has_index(connection: sqlite3.Connection, readonly: bool) -> bool:
    """Whether there is an index of words that says what the nodes say, made if it can be."""
    if not index.available(connection):
        return False
    if not readonly:
        try:
            index.prepare(connection)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise  # else: one without what the index needs, and stories are found without it too
    return index.state(connection) == "whole"


def _use_log(connection: sqlite3.Connection) -> None:
    """Write ahead into a log, so that nobody who reads waits for who writes; where the disk takes no such log, as it is."""
    for attempt in range(100):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:  # two processes that make a library at once do not wait for each other here
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == 99:
                raise
            time.sleep(BUSY_S / 100)


def _only_to_read(path: Path) -> bool:
    """Whether there is a library that this process cannot write."""
    return path.is_file() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def to_read(path: Path) -> sqlite3.Connection:
    """A connection that only reads; the log beside the file is read if SQLite can, else the file as it is."""
    address = f"file:{path.absolute().as_posix().replace('%', '%25').replace('?', '%3f').replace('#', '%23')}"
    connection = _connect(f"{address}?mode=ro", uri=True)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        connection = _connect(f"{address}?mode=ro&immutable=1", uri=True)
    return connection


def _connect(address: str, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(address, timeout=BUSY_S, isolation_level=None, check_same_thread=False, uri=uri)
