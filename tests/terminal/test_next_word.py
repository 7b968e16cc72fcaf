"""The next word beside the sliders: what the model gives it, what each slider leaves of it, and when nothing can be said."""

from __future__ import annotations

from engine.protocol import Chance, Prospect
from tinytales_tui.library.story import Story
from tinytales_tui.library.tree import Tree
from tinytales_tui.widgets.chance_bars import ChanceBars, percent
from tinytales_tui.write.tokens.screen import TokenScreen


def test_percentages() -> None:
    assert [percent(p) for p in (1.0, 0.341, 0.0004, 0.0)] == [" 100.0%", "  34.1%", "  <0.1%", "   0.0%"]


async def test_it_moves_with_a_slider_and_says_what_cuts_a_word_away(make_app, until, screen_text) -> None:
    app = make_app("--tokens", "12")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        screen, bars = app.screen, app.screen.query_one("#next-bars", ChanceBars)
        await until(pilot, lambda: "to see how it may begin" in " ".join("\n".join(screen_text(app)).split()))
        await pilot.press(*"a dog")
        await until(pilot, lambda: bars.prospect is not None)
        first = bars.prospect
        slider = screen.query_one("#slider-temperature")
        slider.focus()
        await pilot.press("home")
        await until(pilot, lambda: bars.prospect.kept == 1)
        shown = "\n".join(screen_text(app))
        assert "only this" in shown and "T = 0" in shown and "100.0%" in shown
        await pilot.press("end")
        await until(pilot, lambda: bars.prospect.kept > first.kept)
        assert bars.prospect.chances[0].share < first.chances[0].share
        screen.query_one("#slider-top-k").focus()
        await pilot.press("5", "enter")
        await until(pilot, lambda: bars.prospect.kept <= 5 and "top-k" in "\n".join(screen_text(app)))
        screen.query_one("#topic").focus()
        await pilot.press("enter")
        await until(pilot, lambda: screen.desk.record is not None and screen.desk.writing is None)
        await until(pilot, lambda: bars.prospect is not None)  # and now of what goes on from the story


async def test_bars_of_a_narrow_widget_and_without_unicode(make_app, until, screen_text) -> None:
    app = make_app(ascii=True)
    async with app.run_test(size=(72, 24)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        bars = app.screen.query_one("#next-bars", ChanceBars)
        chances = (
            Chance(1, " the\x1b", -0.1, 0.9),
            Chance(2, "\n", -3.0, 0.0, "top-p"),
            Chance(0, "", -4.0, 0.0, "banned", ends=True),
        )
        bars.show(Prospect(1, chances, 1, 0.9))
        await pilot.pause()
        lines = ["".join(segment.text for segment in bars.render_line(y)) for y in range(3)]
        assert lines[0].split()[0] == "_the\ufffd" and "#" in lines[0] and "90.0%" in lines[0]
        assert "\\n" in lines[1] and "top-p" in lines[1] and "(the end)" in lines[2] and "banned" in lines[2]


async def test_another_story_closes_what_lay_over_the_page(make_app, until) -> None:
    app = make_app("--tokens", "12")
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        write = app.screen
        await pilot.press(*"a dog", "enter")
        await until(pilot, lambda: write.desk.record is not None and write.desk.writing is None)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(app.screen, TokenScreen))
        other = Story("abcdefgh", Tree().write(None, "Another story.", now=1.0))
        app.open_story(other)
        await until(pilot, lambda: app.screen is write)
        assert write.desk.text == "Another story." and write.page.text == "Another story."
        app.open_story(other)  # the same one again is not put there twice
        await pilot.pause(0.2)
        assert len(write.desk.drafts) == 2
