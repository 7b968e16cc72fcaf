"""The panel beside the page: a preset and a slider for each number that decides how words are drawn."""

from __future__ import annotations

import random

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from engine.protocol import Prospect
from engine.settings import SAMPLING_PRESETS, SamplingSettings, ranges
from tinytales_tui.settings import CUSTOM, PRESETS, RECOMMENDED, UiSettings
from tinytales_tui.widgets.chance_bars import ChanceBars
from tinytales_tui.widgets.choice import Choice
from tinytales_tui.widgets.seed_row import SeedRow
from tinytales_tui.widgets.slider import ParamSlider

SLIDERS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_tokens")
PRESET_HELP = {
    RECOMMENDED: "What reads best with the model that is loaded.",
    "balanced": "A middle way between safe and daring.",
    "conservative": "Safer words: fewer surprises, fewer slips.",
    "creative": "More daring words: more surprises, more slips.",
    CUSTOM: "The sliders as you have set them.",
}
LARGEST_ROLL = 1_000_000
"""Rolled seeds stay below this, so that a person can read one out."""


class SamplingPanel(VerticalScroll, can_focus=False):
    """Posts `Changed` whenever what `settings()` would give is another."""

    class Changed(Message):
        """Another preset, slider value, seed or lock."""

    def __init__(self, saved: UiSettings, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._recommended: SamplingSettings | None = None
        self._custom = saved.sampling
        self._saved = saved

    def compose(self) -> ComposeResult:
        yield Static("How it writes", classes="panel-title")
        words = [(name, name.capitalize()) for name in PRESETS]
        yield Choice("Preset", words, self._saved.preset, help="", id="preset")
        start = self.base
        for name, limits in ranges(SamplingSettings).items():
            if name in SLIDERS:
                yield ParamSlider(name, limits, getattr(start, name), id=f"slider-{name.replace('_', '-')}")
        yield SeedRow(seed=self._saved.seed, locked=self._saved.seed_locked, id="seed")
        yield Static("", id="panel-help", markup=False)
        yield Static("The next word", classes="panel-title", id="next-title")
        yield ChanceBars(id="next-bars")

    def on_mount(self) -> None:
        self._explain(None)

    @property
    def preset(self) -> str:
        return self.query_one("#preset", Choice).value if self.is_mounted else self._saved.preset

    @property
    def base(self) -> SamplingSettings:
        """The settings that the chosen preset stands for, those without a slider included."""
        if self.preset == CUSTOM:
            return self._custom
        if self.preset == RECOMMENDED:
            return self._recommended or SAMPLING_PRESETS["balanced"]
        return SAMPLING_PRESETS[self.preset]

    @property
    def seed_locked(self) -> bool:
        return self.query_one(SeedRow).locked

    @property
    def seed(self) -> int:
        return self.query_one(SeedRow).seed

    def settings(self) -> SamplingSettings:
        """What the sliders say, without a seed."""
        values = {slider.field: slider.value for slider in self.query(ParamSlider)}
        least = min(self.base.min_tokens, int(values["max_tokens"]))
        return self.base.with_changes(**values, min_tokens=least)

    def next_seed(self) -> int:
        """The seed for the next story: the locked one, or a new roll (which is shown)."""
        row = self.query_one(SeedRow)
        if not row.locked:
            row.show(random.randrange(1, LARGEST_ROLL))
        return row.seed

    def show_seed(self, seed: int) -> None:
        self.query_one(SeedRow).show(seed)

    def recommend(self, sampling: SamplingSettings) -> None:
        """Take what the loaded checkpoint recommends."""
        self._recommended = sampling
        if self.preset == RECOMMENDED:
            self._show(sampling)
        for slider in self.query(ParamSlider):
            slider.default = getattr(sampling, slider.field)

    @property
    def shows_next(self) -> bool:
        """Whether there is any use in knowing what may come next."""
        return bool(self.display) and self.size.height > 0

    def show_next(self, prospect: Prospect | None, words: str = "") -> None:
        """What may come next; None: nothing is known, for this reason."""
        if not self.query("#next-bars"):  # the app is being closed
            return
        self.query_one("#next-bars", ChanceBars).show(prospect, words)
        title = "The next word"
        if prospect is not None:
            title += f": {prospect.kept:,} possible" if prospect.kept > 1 else ": only this"
        self.query_one("#next-title", Static).update(title)

    def _show(self, sampling: SamplingSettings) -> None:
        for slider in self.query(ParamSlider):
            slider.set_value(getattr(sampling, slider.field))

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._show(self.base)
        self._explain(event.choice)
        self.post_message(self.Changed())

    def on_param_slider_changed(self, event: ParamSlider.Changed) -> None:
        event.stop()
        self._custom = self.settings()
        self.query_one("#preset", Choice).set_value(CUSTOM)
        self.post_message(self.Changed())

    def on_seed_row_changed(self, event: SeedRow.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.add_class("-within")
        self._explain(event.widget)

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        self.remove_class("-within")
        self._explain(None)

    def _explain(self, widget: Widget | None) -> None:
        """One sentence on whatever has the focus, at the foot of the panel."""
        if isinstance(widget, Choice):
            words = PRESET_HELP[self.preset]
        elif isinstance(widget, ParamSlider | SeedRow):
            words = widget.help
        else:
            bars = ("-", "#") if getattr(self.app, "ascii", False) else ("░", "█")
            words = (
                "Tab comes here; left and right move a slider, or type a number. Of a word that may come next, "
                f"{bars[0]} is what the model gives it, {bars[1]} what the sliders leave; or which of them cuts it away."
            )
        self.query_one("#panel-help", Static).update(words)
