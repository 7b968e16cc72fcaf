"""Two checkpoints side by side: what they are, line by line, and the same question answered by both, with the rate of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer

from engine.catalog.entries import Entry
from tinytales_tui.checkpoints.card import Line
from tinytales_tui.checkpoints.page import Page
from tinytales_tui.checkpoints.rows import loss_words, weights_words
from tinytales_tui.checkpoints.trial.bench import Bench
from tinytales_tui.checkpoints.trial.panel import Sample
from tinytales_tui.checkpoints.trial.probe import Attempt, Probe
from tinytales_tui.figures import size
from tinytales_tui.text import one_line

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp


def differences(first: Entry, second: Entry, width: int) -> list[Line]:
    """The two as lines of three columns in `width` columns; what differs is marked with `≠` and stands out."""
    rows = [(title, *(one_line(value(entry), 200) or "–" for entry in (first, second))) for title, value in _FACTS]
    head = max(len(title) for title, _, _ in rows) + 1
    room = max(6, (width - head - 4) // 2)

    def cut(words: str) -> str:
        return f"{one_line(words, room):<{room}}"

    lines: list[Line] = [("heading", f"  {'':<{head}} {cut('A  ' + first.name)} {cut('B  ' + second.name)}")]
    for title, left, right in rows:
        differs = left != right
        lines.append(("text" if differs else "muted", f"{'≠' if differs else ' '} {title:<{head}} {cut(left)} {cut(right)}"))
    return lines


_FACTS = (
    ("family", lambda entry: entry.facts.family),
    ("parameters", lambda entry: f"{entry.facts.parameters:,}" if entry.facts.parameters else ""),
    ("weights", weights_words),
    ("layers", lambda entry: str(entry.facts.layers or "")),
    ("width", lambda entry: str(entry.facts.width or "")),
    ("context", lambda entry: f"{entry.facts.context:,} tokens" if entry.facts.context else ""),
    ("tokenizer", lambda entry: entry.facts.tokenizer),
    ("prompt style", lambda entry: entry.facts.prompt_style),
    ("validation", loss_words),
    ("format", lambda entry: entry.facts.format),
    ("size", lambda entry: size(entry.size)),
    ("licence", lambda entry: entry.licence),
    ("step", lambda entry: f"{entry.step:,}" if entry.step is not None else ""),
)


class CompareScreen(ModalScreen[Entry | None]):
    """Answers the checkpoint that is to be written with, or None."""

    app: TinyTalesApp
    HELP_TITLE = "Comparing two checkpoints"
    AUTO_FOCUS = ""
    BINDINGS = [
        Binding("escape,q", "dismiss(None)", "Back", id="compare.back", tooltip="Back to the list"),
        Binding("r", "again", "Again", id="compare.again", tooltip="Both write again, from another seed"),
        Binding("e", "ending", "Ending", id="compare.ending", tooltip="The other ending, from the same seed"),
        Binding("a", "use(0)", "Use A", id="compare.use_a", tooltip="Write with the left one"),
        Binding("b", "use(1)", "Use B", id="compare.use_b", tooltip="Write with the right one"),
        Binding("x", "stop", "Stop", id="compare.stop", tooltip="End the sample that is being written"),
    ]
    DEFAULT_CSS = """
    CompareScreen {
        background: $background;
        #differences { height: 14; max-height: 40%; padding: 0 1; }
        #samples { height: 1fr; }
        #samples > Sample { width: 1fr; height: 1fr; }
        #samples > #second { border-left: vkey $foreground 20%; }
        &.-narrow #samples { layout: vertical; }
        &.-narrow #samples > #second { border-left: none; }
    }
    """

    def __init__(self, bench: Bench, pair: Sequence[Entry], attempts: Sequence[Attempt], probe: Probe) -> None:
        super().__init__()
        self._bench = bench
        self._pair = list(pair)
        self._attempts = list(attempts)
        self._probe = probe

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Page(id="differences")
            with Horizontal(id="samples"):
                for label, name in (("A  ", "first"), ("B  ", "second")):
                    yield Sample(label, id=name, half_pages=self.app.low_bandwidth)
            yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._begin()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        page = self.query_one("#differences", Page)
        page.show(differences(self._pair[0], self._pair[1], max(20, page.size.width - 1)))
        self.show_attempts()

    def show_attempts(self) -> None:
        """Show how far both have come."""
        attempts = self._bench.attempts if len(self._bench.attempts) == 2 else self._attempts
        rates = [attempt.tokens_per_s for attempt in attempts]
        for sample, attempt, mine, other in zip(self.query(Sample), attempts, rates, reversed(rates), strict=False):
            ratio = f"{mine / other:.1f}× the other" if mine and other and mine > other * 1.05 else ""
            sample.show(attempt, self._probe, ratio)

    def _begin(self) -> None:
        self.run_worker(self._bench.run(self._attempts, self._probe), group="comparing")

    def action_again(self) -> None:
        self._probe = dataclasses.replace(self._probe, seed=self._probe.seed + 1)
        self._begin()

    def action_ending(self) -> None:
        if self._probe.plainly:
            self.app.say("One of them takes no topic, so both go on from the same words, without an ending.")
            return
        self._probe = dataclasses.replace(self._probe, ending="sad" if self._probe.ending == "happy" else "happy")
        self._begin()

    async def action_stop(self) -> None:
        await self._bench.stop()

    def action_use(self, which: int) -> None:
        self.dismiss(self._pair[which])

    async def on_unmount(self) -> None:
        await self._bench.stop()
