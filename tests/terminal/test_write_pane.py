"""The Write pane, driven by keys: writing, stopping, retrying, going on, undo and redo, and the worker's death."""

from __future__ import annotations

import json
import os
import signal

from engine.prompts import PromptStyle, prompt_text
from tinytales_tui.story import StoryRecord
from tinytales_tui.widgets.choice import Choice
from tinytales_tui.widgets.slider import ParamSlider


def loaded(app):
    return lambda: getattr(app.screen, "checkpoint", None) is not None


def finished(app):
    return lambda: app.screen.desk.record is not None and app.screen.desk.writing is None


def story(app) -> str:
    return app.screen.desk.record.full_text if app.screen.desk.record else ""


async def test_a_topic_becomes_a_story(make_app, until, screen_text) -> None:
    app = make_app("--load-seconds", "0.3")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.focused.id == "topic"
        assert "Every story begins somewhere" in "\n".join(screen_text(app))
        assert "loading the model" in app.screen.status.words
        await until(pilot, loaded(app))
        assert "tiny-test" in app.screen.status.words
        assert "– tokens" in app.screen.status.words
        await pilot.press(*"a dog", "enter")
        await until(pilot, finished(app))
        record = app.screen.desk.record
        assert (record.prompt, record.ending, record.stop_reason, record.tokens) == ("a dog", "happy", "end of text", 40)
        assert record.checkpoint == "default"
        assert record.sampling["temperature"] == 0.75
        assert record.seed == record.sampling["seed"] == app.screen.panel.seed
        assert "40 tokens" in app.screen.status.words
        assert "finished" in app.screen.status.words
        assert "context left 204" in app.screen.status.words
        assert record.story.split()[-1] in "\n".join(screen_text(app))
        assert "a dog, with a happy ending" in "\n".join(screen_text(app))


async def test_typing_before_the_model_is_there(make_app, until) -> None:
    app = make_app("--load-seconds", "2")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"a cat", "ctrl+j")
        assert "waiting for the model" in app.screen.status.words
        await until(pilot, finished(app))
        record = app.screen.desk.record
        assert record.tokens == 40
        assert record.checkpoint == "default"
        assert record.sampling["temperature"] == 0.75  # what the checkpoint recommends, known only since it is loaded


async def test_nothing_to_write_about(make_app, until) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("enter")
        assert app.screen.desk.record is None
        assert any("what the story is about" in note.message for note in app._notifications)


async def test_stop_keeps_the_text(make_app, until) -> None:
    app = make_app("--tokens", "3000", "--rate", "100")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"a cat", "enter")
        await until(pilot, lambda: len(story(app)) > 30)
        await pilot.press("escape")
        await until(pilot, finished(app))
        record = app.screen.desk.record
        assert record.stop_reason == "cancelled"
        assert len(record.story) > 30
        assert app.screen.page.text.strip() == record.story.strip()
        assert "stopped" in app.screen.status.words


async def test_stop_before_anything_is_written(make_app, until) -> None:
    app = make_app("--load-seconds", "1.0")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"a cat", "enter")
        await pilot.press("escape")
        assert app.screen.desk.record is None
        await until(pilot, loaded(app))
        assert app.screen.desk.record is None
        assert "ready" in app.screen.status.words


async def test_retry_undo_redo(make_app, until) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, loaded(app))
        await pilot.press(*"a cat", "enter")
        await until(pilot, finished(app))
        first = app.screen.desk.record
        await pilot.press("ctrl+r")
        await until(pilot, finished(app))
        second = app.screen.desk.record
        assert second.prompt == "a cat"
        assert second.seed != first.seed
        assert second.story != first.story
        await pilot.press("ctrl+z")
        assert app.screen.desk.record == first
        assert app.screen.page.text.strip() == first.story.strip()
        await pilot.press("ctrl+z")
        assert app.screen.desk.record is None
        await pilot.press("ctrl+z")
        await pilot.press("ctrl+y", "ctrl+y", "ctrl+y")
        assert app.screen.desk.record == second


async def test_undo_while_writing_stops_it(make_app, until) -> None:
    app = make_app("--tokens", "3000", "--rate", "100")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"a cat", "enter")
        await until(pilot, lambda: len(story(app)) > 10)
        await pilot.press("ctrl+z")
        assert app.screen.desk.record is None
        await pilot.press("ctrl+y")
        kept = story(app)
        assert len(kept) > 10
        await pilot.press("ctrl+r")
        await until(pilot, lambda: app.screen.desk.record.tokens > 3 and app.screen.desk.writing)
        assert app.screen.desk.tree.text(1) == kept
        await pilot.press("escape")
        await until(pilot, finished(app))


async def test_a_locked_seed_writes_the_same_story_again(make_app, until) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, loaded(app))
        app.screen.query_one("#seed").focus()
        await pilot.press("4", "2", "enter")
        app.screen.query_one("#topic").focus()
        await pilot.press(*"a cat", "enter")
        await until(pilot, finished(app))
        first = app.screen.desk.record
        assert first.seed == 42
        await pilot.press("ctrl+r")
        await until(pilot, lambda: finished(app)() and len(app.screen.desk.tree.nodes) == 2)
        assert app.screen.desk.record.story == first.story


async def test_going_on_from_the_end(make_app, until) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, loaded(app))
        await pilot.press(*"a cat", "enter")
        await until(pilot, finished(app))
        first = app.screen.desk.record
        await pilot.press("ctrl+g")
        await until(pilot, lambda: finished(app)() and len(app.screen.desk.tree.nodes) == 2)
        second = app.screen.desk.record
        assert (second.prompt, second.ending, second.opening) == ("a cat", "happy", first.full_text)
        assert second.full_text == first.full_text + second.story
        assert second.before == first
        assert second.sampling["min_tokens"] == 24  # the model had ended the story and would only do so again
        assert second.given == ""
        assert app.screen.page.text.strip() == second.full_text.strip()
        await pilot.press("ctrl+z")
        assert app.screen.desk.record == first


async def test_words_to_begin_with(make_app, until) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, loaded(app))
        await pilot.press("tab", *"Once upon", "enter")
        await until(pilot, finished(app))
        record = app.screen.desk.record
        assert (record.prompt, record.ending, record.opening) == ("", None, "Once upon")
        assert record.full_text.startswith("Once upon ")
        assert record.given == "Once upon"


async def test_ending_none_continues_the_topic(make_app, until) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, loaded(app))
        await pilot.press(*"The cat", "tab", "tab", "right", "right", "ctrl+j")
        await until(pilot, finished(app))
        record = app.screen.desk.record
        assert record.ending is None
        assert record.full_text.startswith("The cat ")
        assert app.ui.ending == "none"


async def test_a_plain_checkpoint_takes_no_ending(make_app, until, screen_text) -> None:
    app = make_app("--plain", "--load-seconds", "0.3")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(*"The cat", "enter")  # asked before it is known that there are no endings
        await until(pilot, finished(app))
        assert app.screen.desk.record.ending is None
        assert story(app).startswith("The cat ")
        assert not app.screen.query_one("#ending", Choice).display and not app.screen.query_one("#topic-row").display
        assert "Once upon" not in "\n".join(screen_text(app)) and "The cat" in app.screen.composer.opening
        assert app.ui.ending == "happy"  # the person's choice is not forgotten


async def test_the_fields_of_an_instruct_checkpoint_reach_it(make_app, until, screen_text) -> None:
    app = make_app("--style", "instruct-fields")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        await until(pilot, lambda: "Features" in "\n".join(screen_text(app)))
        await pilot.press(*"a cat", "tab", "tab", "right", "tab", *"boat,  red sail,", "tab", *"moral value, song")
        await pilot.press("enter")
        assert app.screen.desk.record is None  # there is no feature of that name, which is said
        await pilot.press(*["backspace"] * 6, "enter")
        await until(pilot, finished(app))
        record = app.screen.desk.record
        assert (record.prompt, record.ending, record.words) == ("a cat", "sad", ("boat", "red sail"))
        assert record.features == ("MoralValue",)
        request = record.request()
        assert StoryRecord.from_json(json.loads(json.dumps(record.to_json()))).request() == request
        assert prompt_text(request, PromptStyle("instruct-fields")).startswith(
            "Features: BadEnding, MoralValue\nWords: boat, red sail\n"
        )
        await pilot.press("ctrl+g")
        await until(pilot, lambda: app.screen.desk.record.before is not None)
        await until(pilot, finished(app))
        assert app.screen.desk.record.words == ("boat", "red sail")
        await pilot.press("ctrl+z", "ctrl+z", "ctrl+y")
        assert app.screen.composer.asked().features == ("MoralValue",)


async def test_a_killed_worker_costs_no_text(make_app, until) -> None:
    app = make_app("--tokens", "3000", "--rate", "100")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"a cat", "enter")
        await until(pilot, lambda: len(story(app)) > 30)
        os.kill(app.engine.pid, signal.SIGKILL)
        await until(pilot, finished(app))
        await until(pilot, lambda: "SIGKILL" in app.screen.status.words)
        kept = story(app)
        assert len(kept) > 30
        assert app.screen.desk.record.stop_reason is None
        await pilot.press("ctrl+g")
        await until(pilot, lambda: len(story(app)) > len(kept) + 30)
        assert story(app).startswith(kept)
        await pilot.press("escape")
        await until(pilot, finished(app))


async def test_a_checkpoint_that_is_not_there(make_app, until, screen_text) -> None:
    app = make_app(checkpoint="missing")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "no checkpoint at missing" in app.screen.status.words)
        await pilot.press(*"a cat", "enter")
        await until(pilot, lambda: app.screen.desk.writing is None)
        assert "no checkpoint at missing" in app.screen.status.words
        assert app.screen.desk.record is None


async def test_model_text_is_only_text(make_app, until, screen_text) -> None:
    app = make_app("--nasty")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"[b]a cat[/]", "enter")
        await until(pilot, finished(app))
        shown = "\n".join(screen_text(app))
        assert "[bold]not" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "\x1b[31m" in app.screen.desk.record.story  # the record keeps what was written, to the letter


async def test_presets_and_sliders(make_app, until) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, loaded(app))
        screen = app.screen
        temperature = screen.query_one("#slider-temperature", ParamSlider)
        assert temperature.value == 0.75
        screen.query_one("#preset").focus()
        await pilot.press("right")
        assert (screen.panel.preset, temperature.value) == ("balanced", 0.8)
        await pilot.press("right", "right")
        assert (screen.panel.preset, temperature.value) == ("creative", 0.9)
        temperature.focus()
        await pilot.press("right")
        assert (screen.panel.preset, temperature.value) == ("custom", 0.95)
        screen.query_one("#preset").focus()
        await pilot.press("right")
        assert (screen.panel.preset, temperature.value) == ("recommended", 0.75)
        await pilot.press("left")
        assert temperature.value == 0.95


async def test_settings_are_remembered(make_app, until, home) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, loaded(app))
        app.screen.query_one("#slider-temperature").focus()
        await pilot.press("1", ".", "1", "enter")
        app.screen.query_one("#seed").focus()
        await pilot.press("9", "enter")
        app.screen.query_one("#ending").focus()
        await pilot.press("right")
        app.theme = "tinytales-light"
        await pilot.press("f8")
        await pilot.press("ctrl+q")
    assert json.loads((home / "settings.json").read_text())["theme"] == "tinytales-light"
    again = make_app()
    async with again.run_test(size=(120, 40)) as pilot:
        await until(pilot, loaded(again))
        panel = again.screen.panel
        assert again.theme == "tinytales-light"
        assert panel.preset == "custom"
        assert panel.settings().temperature == 1.1
        assert (panel.seed, panel.seed_locked) == (9, True)
        assert again.screen.composer.ending == "sad"
        assert not panel.display


async def test_a_theme_given_for_one_start_is_not_remembered(make_app, home) -> None:
    app = make_app(theme="nord")
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.theme == "nord"
        await pilot.press("ctrl+q")
    assert app.ui.theme == "tinytales-dark"


async def test_small_screens_fold_the_panel(make_app, until, screen_text) -> None:
    app = make_app()
    async with app.run_test(size=(60, 20)) as pilot:
        await until(pilot, loaded(app))
        assert not app.screen.panel.display
        await pilot.press("f8")
        assert app.screen.panel.display
        assert app.focused.id == "preset"
        assert "Temperature" in "\n".join(screen_text(app))
        await pilot.press("escape")
        assert not app.screen.panel.display
        assert app.focused.id == "topic"
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert app.screen.panel.display
        await pilot.resize_terminal(20, 6)
        await pilot.pause()


async def test_help_shows_the_keys_of_where_one_is(make_app, until, screen_text) -> None:
    app = make_app()
    async with app.run_test(size=(100, 50)) as pilot:
        await until(pilot, loaded(app))
        await pilot.press("f1")
        await pilot.pause()
        shown = "\n".join(screen_text(app))
        for words in ("In this field", "On the Write pane", "ctrl+r", "Write another story"):
            assert words in shown
        await pilot.press("end")
        await pilot.pause()
        shown = "\n".join(screen_text(app))
        assert "Everywhere" in shown and "ctrl+q" in shown
        await pilot.press("escape")
        app.screen.query_one("#slider-top-k").focus()
        await pilot.press("f1")
        await pilot.pause()
        assert "On this slider" in "\n".join(screen_text(app))


async def test_the_palette_has_our_commands(make_app, until) -> None:
    app = make_app()
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, loaded(app))
        await pilot.press(*"a cat", "enter")
        await until(pilot, finished(app))
        names = [command.title for command in app.get_system_commands(app.screen)]
        assert len(names) == len(set(names))
        assert {"Write", "Retry", "Go on", "Save", "Copy", "Undo", "Theme", "Quit"} <= set(names)
        await pilot.press("ctrl+p")
        await pilot.pause(0.3)
        await pilot.press(*"retry")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await until(pilot, lambda: len(getattr(app.screen, "desk", app.screen_stack[0].desk).tree.nodes) == 2)


async def test_ascii_and_no_colour(make_app, until, screen_text, monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = make_app(ascii=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, loaded(app))
        await pilot.press(*"a cat", "enter")
        await until(pilot, finished(app))
        for key in ("", "f1", "escape", "ctrl+s"):
            if key:
                await pilot.press(key)
                await pilot.pause(0.1)
            strips = [widget.render_lines(widget.size.region) for widget in app.screen.walk_children() if widget.size]
            text = "".join(segment.text for lines in strips for strip in lines for segment in strip)
            filtered = app.get_line_filters()
            assert filtered
            for line in filtered[-1:]:
                from rich.segment import Segment

                assert "".join(s.text for s in line.apply([Segment(text)], None)).isascii()
        assert "".join(screen_text(app)).isascii()
        colours = {
            colour.name
            for line in app.screen._compositor.render_strips()
            for segment in line
            if segment.style
            for colour in (segment.style.color, segment.style.bgcolor)
            if colour
        }
        assert colours <= {"default"}


async def test_low_bandwidth_moves_and_draws_less(make_app) -> None:
    app = make_app(low_bandwidth=True)
    async with app.run_test(size=(80, 24)):
        assert app.animation_level == "none"
        assert app.engine.interval == 0.1
        assert app.screen.page.half_pages
        assert not app.screen.query_one("#topic").cursor_blink


async def test_every_theme_can_be_shown(make_app, until, screen_text) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, loaded(app))
        assert {"tinytales-dark", "tinytales-light", "nord", "ansi-dark"} <= set(app.available_themes)
        for name in app.available_themes:
            app.theme = name
            await pilot.pause()
            assert "Every story begins" in "\n".join(screen_text(app))
