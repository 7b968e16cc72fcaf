"""When stories are kept and when an older copy may go: the rules between desk, autosave files and library. Knows no Textual.

The autosave file has the story in front, for the next start; the library has all of them, each with its tree.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytales_tui import paths
from tinytales_tui.story import StoryRecord
from tinytales_tui.write.autosave import Autosave, Kept

if TYPE_CHECKING:
    from tinytales_tui.library.story import Story
    from tinytales_tui.library.tree import Tree
    from tinytales_tui.write.story_keeper import Sitting, StoryKeeper


class Keeper:
    """One sitting's autosave, with what it takes over from earlier sittings, and its part of the library."""

    def __init__(self, folder: Path, library: Path | None = None, engine_is_here: bool = True) -> None:
        """`library`: its file; None keeps nothing there. `engine_is_here`: what the engine names lies on this machine."""
        self._autosave = Autosave(folder)
        self._library = library
        self._engine_is_here = engine_is_here
        self._stories: StoryKeeper | None = None
        self._kept = -1
        self._superseded: list[Kept] = []
        self._complained = False
        self._mutex = threading.Lock()

    def wants(self, revision: int) -> bool:
        """Whether anything changed since it was last kept, and nothing is being kept just now."""
        return revision > self._kept and not self._mutex.locked()

    def keep(
        self,
        record: StoryRecord | None,
        form: dict[str, Any],
        revision: int,
        sitting: Sitting | None = None,
    ) -> str | None:
        """Keep the story in front in the autosave file, and all of the sitting in the library (None: not there).

        A sentence if one of the two refused and that was not said yet. What was restored into the story may go once it is kept.
        """
        with self._mutex:
            trouble = self._keep_safe(record, form, revision) if record is not None else None
            refused = self._complained
            if sitting is not None and sitting.drafts and (stories := self._story_keeper()) is not None:
                trouble = stories.keep(sitting) or trouble
                refused = refused or stories.refused
            if not refused:
                self._kept = max(self._kept, revision)
            return trouble

    def _story_keeper(self) -> StoryKeeper | None:
        if self._stories is None and self._library is not None:
            from tinytales_tui.write.story_keeper import StoryKeeper  # with sqlite3: nobody waits for it at the start

            self._stories = StoryKeeper(self._library, self._engine_is_here)
        return self._stories

    def reopen(self, record: StoryRecord) -> tuple[Story, Tree] | None:
        """The story of the library that a kept record is of, with its whole tree; None where the library does not know it."""
        with self._mutex:
            stories = self._story_keeper()
            return stories.reopen(record) if stories is not None else None

    def number_of(self, id: str) -> int | None:
        """The desk's number of a story of the library that lies there already. Waits for nobody."""
        return self._stories.number_of(id) if self._stories is not None else None

    def _keep_safe(self, record: StoryRecord, form: dict[str, Any], revision: int) -> str | None:
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
        if self._stories is not None:
            self._stories.close()
