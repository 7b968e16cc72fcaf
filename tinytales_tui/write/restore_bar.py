"""The bar that offers a story back which an earlier sitting left. It waits out of the way and deletes nothing by itself."""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Button, Static

from tinytales_tui.text import one_line
from tinytales_tui.write.autosave import Kept, age


class RestoreBar(Horizontal):
    """Hidden until `offer` gives it something; says what a person chose."""

    class Restore(Message):
        def __init__(self, kept: Kept) -> None:
            self.kept = kept
            super().__init__()

    class Discard(Message):
        def __init__(self, kept: Kept) -> None:
            self.kept = kept
            super().__init__()

    class Later(Message):
        pass

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.offers: list[Kept] = []
        self._sure = False

    def compose(self) -> ComposeResult:
        yield Static("", id="restore-words", markup=False)
        yield Button("F9 Restore", id="restore", compact=True)
        yield Button("Discard", id="discard", compact=True)
        yield Button("Later", id="later", compact=True)

    def on_mount(self) -> None:
        self.display = False

    def offer(self, offers: list[Kept]) -> None:
        """Offer the first of these; none hides the bar."""
        self.offers = offers
        self._sure = False
        self.display = bool(offers)
        if not offers:
            return
        kept = offers[0]
        more = f", and {len(offers) - 1} more" if len(offers) > 1 else ""
        about = kept.record.prompt if kept.record.ending else kept.record.full_text
        words = f"Kept {age(max(time.time() - kept.saved_at, 0))}{more}: {one_line(about, 200)}"
        self.query_one("#restore-words", Static).update(words)
        self.query_one("#discard", Button).label = "Discard"

    def restore(self) -> None:
        if self.offers:
            self.post_message(self.Restore(self.offers[0]))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "restore":
            self.restore()
        elif event.button.id == "later":
            self.post_message(self.Later())
        elif self.offers and self._sure:
            self.post_message(self.Discard(self.offers[0]))
        else:
            self._sure = True  # the one step here that cannot be taken back is asked for twice
            event.button.label = "Really?"
            self.set_timer(5.0, self._not_sure)

    def _not_sure(self) -> None:
        self._sure = False
        self.query_one("#discard", Button).label = "Discard"
