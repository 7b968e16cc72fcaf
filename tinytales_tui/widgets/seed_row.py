"""The seed in one row: a number and whether it is locked (used again) or drawn anew for each story."""

from __future__ import annotations

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.message import Message

from tinytales_tui.widgets.number_row import NumberRow


class SeedRow(NumberRow):
    """Space locks or unlocks; typing a number locks it; `r` unlocks."""

    BINDINGS = [Binding("space", "toggle", "Lock the seed, or draw a new one each time", show=False, id="seed.toggle")]
    LARGEST = 2**63 - 1

    class Changed(Message):
        """A person typed another seed or turned the lock."""

        def __init__(self, row: SeedRow) -> None:
            self.row = row
            super().__init__()

        @property
        def control(self) -> SeedRow:
            return self.row

    def __init__(self, *, seed: int = 7, locked: bool = False, id: str | None = None) -> None:
        super().__init__("Seed", id=id)
        self.seed = seed
        self.locked = locked
        self.help = "Where the dice start. Locked (Space), the same words write the same story again; random, each is new."

    def show(self, seed: int) -> None:
        """Show the seed that a story was written with."""
        self.seed = seed
        self.refresh()

    def commit(self, digits: str) -> None:
        self.seed = min(int(digits), self.LARGEST)
        self.locked = True
        self.post_message(self.Changed(self))

    def reset(self) -> None:
        self._lock(False)

    def action_toggle(self) -> None:
        self._lock(not self.locked)

    def on_click(self, event: events.Click) -> None:
        if event.x >= self.label_width:
            self._lock(not self.locked)
        event.stop()

    def _lock(self, locked: bool) -> None:
        self.typed = None
        self.locked = locked
        self.refresh()
        self.post_message(self.Changed(self))

    def segments(self, width: int) -> list[Segment]:
        words = ("[random]", "[locked]") if self.ascii else ("□ random", "■ locked")
        state = words[self.locked]
        return [
            Segment(state, self.style("filled" if self.locked else "note")),
            self.value_segment(str(self.seed), max(width - len(state), 0)),
        ]
