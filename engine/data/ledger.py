"""The ledger of an unfinished preparation: how far it came, and which stories were seen, in one small database on disk.

Both lie in one SQLite file so that they are committed together: after a kill the stories that count as seen are exactly those that
the recorded position has passed. Nothing of it grows in memory. It knows nothing of tokens. Knows no torch.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from engine.errors import UsageError


class Ledger:
    """`state` as it was last committed, and the set of stories seen until then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._base = sqlite3.connect(path, isolation_level=None)
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute("PRAGMA cache_size = -16384")  # 16 MiB, however many stories there are
            self._base.execute("CREATE TABLE IF NOT EXISTS state (only INTEGER PRIMARY KEY, json TEXT NOT NULL)")
            self._base.execute("CREATE TABLE IF NOT EXISTS seen (story INTEGER PRIMARY KEY)")
            row = self._base.execute("SELECT json FROM state").fetchone()
            self.state: dict[str, Any] | None = json.loads(row[0]) if row else None
            self._base.execute("BEGIN")
        except (sqlite3.DatabaseError, ValueError) as error:
            raise UsageError(f"{path} cannot be used ({error}); start the preparation afresh.") from error

    def is_new(self, story: str) -> bool:
        """Whether the story was not seen before; it is from now on. Two stories share a number once in 10^19 pairs."""
        number = int.from_bytes(hashlib.blake2b(story.encode(), digest_size=8).digest(), "little", signed=True)
        return self._base.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,)).rowcount == 1

    def commit(self, state: dict[str, Any]) -> None:
        """Make the position, and what was seen on the way to it, lasting."""
        self._base.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", (json.dumps(state),))
        self._base.execute("COMMIT")
        self.state = state
        self._base.execute("BEGIN")

    def close(self) -> None:
        """Leave it as it was last committed."""
        self._base.close()

    def delete(self) -> None:
        """Close it and remove its files."""
        self.close()
        for ending in ("-journal", "-wal", "-shm", ""):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
