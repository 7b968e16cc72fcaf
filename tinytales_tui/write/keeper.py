"""When the story is kept and when an older copy may go: the rules between the desk and the autosave files. Knows no Textual."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tinytales_tui import paths
from tinytales_tui.story import StoryRecord
from tinytales_tui.write.autosave import Autosave, Kept


class Keeper:
    """One sitting's autosave, with what it takes over from earlier sittings."""

    def __init__(self, folder: Path) -> None:
        self._autosave = Autosave(folder)
        self._kept = -1
        self._superseded: list[Kept] = []
        self._complained = False
        self._mutex = threading.Lock()

    def wants(self, revision: int) -> bool:
        """Whether anything changed since it was last kept."""
        return revision > self._kept

    def keep(self, record: StoryRecord, form: dict[str, Any], revision: int) -> str | None:
        """Keep the story; a sentence if the disk refused and that was not said yet. What was restored into it may go then."""
        with self._mutex:
            try:
                self._autosave.write(record, form, revision)
            except OSError as error:
                if self._complained:
                    return None
                self._complained = True
                return (
                    f"The story cannot be kept safe in {paths.shown(self._autosave.folder)}: {paths.reason(error)}. "
                    "It is still on the page; save it elsewhere."
                )
            self._complained = False
            self._kept = max(self._kept, revision)
            for kept in self._superseded:
                self.discard(kept)
            self._superseded = []
            return None

    def supersede(self, kept: Kept) -> None:
        """A restored story is this sitting's from now on; the old file goes once the new one is on the disk."""
        self._superseded.append(kept)

    def find(self) -> list[Kept]:
        return self._autosave.find()

    def discard(self, kept: Kept) -> str | None:
        """Delete a kept story; a sentence if that failed."""
        try:
            self._autosave.discard(kept)
        except OSError as error:
            return f"{paths.shown(kept.path)} cannot be deleted: {paths.reason(error)}."
        return None

    def close(self) -> None:
        self._autosave.close()
