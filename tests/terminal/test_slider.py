"""Sliders, the seed row and choices, driven by keys and the mouse."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from engine.settings import SamplingSettings, ranges
from tinytales_tui.widgets.choice import Choice
from tinytales_tui.widgets.seed_row import SeedRow
from tinytales_tui.widgets.slider import ParamSlider

LIMITS = ranges(SamplingSettings)


class Rows(App[None]):
    def __init__(self, ascii: bool = False) -> None:
        super().__init__()
        self.ascii = ascii
        self.said: list = []

    def compose(self) -> ComposeResult:
        yield ParamSlider("temperature", LIMITS["temperature"], 0.8, id="temperature")
        yield ParamSlider("top_k", LIMITS["top_k"], 50, id="top-k")
        yield ParamSlider("max_tokens", LIMITS["max_tokens"], 300, id="length")
        yield SeedRow(seed=7, id="seed")
        yield Choice("Ending", [("happy", "happy"), ("sad", "sad")], "happy", id="ending")

    def on_param_slider_changed(self, event: ParamSlider.Changed) -> None:
        self.said.append((event.slider.field, event.value))

    def on_seed_row_changed(self, event: SeedRow.Changed) -> None:
        self.said.append((event.row.seed, event.row.locked))

    def on_choice_changed(self, event: Choice.Changed) -> None:
        self.said.append(event.value)


@pytest.mark.parametrize(
    ("field", "keys", "value"),
    [
        ("temperature", ["right"], 0.85),
        ("temperature", ["left", "left"], 0.7),
        ("temperature", ["shift+right"], 1.3),
        ("temperature", ["home"], 0.0),
        ("temperature", ["end", "right"], 2.0),
        ("temperature", ["1", ".", "2", "3", "enter"], 1.23),
        ("temperature", ["1", ",", "5", "enter"], 1.5),
        ("temperature", ["1", ".", "2", "3", "enter", "right"], 1.25),
        ("temperature", ["9", "enter"], 2.0),
        ("temperature", ["1", "escape"], 0.8),
        ("temperature", ["1", ".", "backspace", "backspace", "enter"], 0.8),
        ("temperature", [".", "enter"], 0.8),
        ("temperature", ["1", "tab"], 1.0),
        ("temperature", ["end", "r"], 0.8),
        ("top-k", ["right"], 55),
        ("top-k", ["shift+left"], 0),
        ("top-k", ["4", "2", "enter", "left"], 40),
        ("length", ["right"], 310),
        ("length", ["home", "right"], 10),
    ],
)
async def test_keys(field: str, keys: list[str], value: float) -> None:
    app = Rows()
    async with app.run_test(size=(50, 10)) as pilot:
        slider = app.query_one(f"#{field}", ParamSlider)
        slider.focus()
        await pilot.press(*keys)
        assert slider.value == pytest.approx(value)
        assert isinstance(slider.value, int) == slider.whole
        if app.said:
            assert app.said[-1][1] == pytest.approx(value)


async def test_the_bar_and_the_number_are_shown(screen_text) -> None:
    app = Rows()
    async with app.run_test(size=(50, 10)) as pilot:
        app.query_one("#temperature").focus()
        await pilot.pause()
        line = screen_text(app)[0]
        assert line.startswith("▸ Temperature")
        assert line.rstrip().endswith("0.80")
        assert "━" in line
        await pilot.press("1")
        assert "1▏" in screen_text(app)[0]


async def test_ascii_rows_are_ascii(screen_text) -> None:
    app = Rows(ascii=True)
    async with app.run_test(size=(50, 10)) as pilot:
        app.query_one("#temperature").focus()
        await pilot.press("1")
        assert "".join(screen_text(app)[:5]).isascii()
        assert "(*) happy" in screen_text(app)[4]


async def test_the_mouse_drags_turns_and_resets() -> None:
    app = Rows()
    async with app.run_test(size=(50, 10)) as pilot:
        slider = app.query_one("#temperature", ParamSlider)
        start = slider.label_width
        width = slider._bar_width(slider.size.width - start)
        await pilot.mouse_down(slider, offset=(start, 0))
        assert slider.value == 0.0
        await pilot.hover(slider, offset=(start + width - 1, 0))
        assert slider.value == 2.0
        await pilot.mouse_up(slider, offset=(start + width - 1, 0))
        await pilot.hover(slider, offset=(start, 0))
        assert slider.value == 2.0
        slider.action_step(-1)
        await pilot.click(slider, offset=(2, 0), times=2)
        assert slider.value == 0.8


async def test_a_narrow_row_keeps_its_number(screen_text) -> None:
    app = Rows()
    async with app.run_test(size=(24, 10)):
        assert screen_text(app)[0].rstrip().endswith("0.80")


async def test_the_seed_is_typed_locked_and_rolled(screen_text) -> None:
    app = Rows()
    async with app.run_test(size=(50, 10)) as pilot:
        row = app.query_one(SeedRow)
        row.focus()
        await pilot.press("space")
        assert row.locked
        await pilot.press("space", "4", "2", "enter")
        assert (row.seed, row.locked) == (42, True)
        assert app.said[-1] == (42, True)
        await pilot.press("r")
        assert not row.locked
        await pilot.press(*("9" * 25), "enter")
        assert row.seed <= 2**63 - 1
        assert "locked" in screen_text(app)[3]


async def test_a_choice_moves_and_is_clicked() -> None:
    app = Rows()
    async with app.run_test(size=(50, 10)) as pilot:
        choice = app.query_one(Choice)
        choice.focus()
        await pilot.press("right")
        assert choice.value == "sad"
        await pilot.press("right")
        assert choice.value == "happy"
        await pilot.click(choice, offset=(29, 0))
        assert choice.value == "sad"
        choice.disabled = True
        await pilot.press("right")
        assert choice.value == "sad"
