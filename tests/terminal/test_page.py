"""The page as a place to write, driven by keys: what is seen is what the desk has, whatever is typed, and whenever."""

from __future__ import annotations

import random

from tinytales_tui.write.page.marks import spans_of


def ready(app):
    return lambda: app.screen.desk.record is not None and app.screen.desk.writing is None


async def with_story(app, pilot, until) -> None:
    await until(pilot, lambda: app.screen.checkpoint is not None)
    await pilot.press(*"a dog", "enter")
    await until(pilot, ready(app))
    await pilot.press("escape")
    assert app.focused is app.screen.page


async def test_editing_in_place_and_going_on_from_the_cursor(make_app, until, screen_text) -> None:
    app = make_app("--text", "Once there was a big dog who ran home.")
    async with app.run_test(size=(80, 24)) as pilot:
        await with_story(app, pilot, until)
        screen, page = app.screen, app.screen.page
        await pilot.press("ctrl+home", "ctrl+right", "space", *"upon a time")
        assert screen.desk.text == "Once upon a time there was a big dog who ran home."
        assert page.text == screen.desk.text and "Once upon a time there" in "\n".join(screen_text(app))
        await pilot.press(*["ctrl+right"] * 4, "ctrl+g")  # the cursor stands behind "big"
        await until(pilot, lambda: ready(app)() and len(screen.desk.tree.nodes) == 4)
        assert screen.desk.text == "Once upon a time there was a bigOnce there was a big dog who ran home."
        assert screen.desk.tree.text(1) == "Once there was a big dog who ran home."  # nothing of it was lost
        await pilot.press("ctrl+z", "ctrl+z")
        assert screen.desk.text == "Once upon a time there was a big dog who ran home."
        assert page.text == screen.desk.text
        await pilot.press("ctrl+z")
        assert screen.desk.text == "Once there was a big dog who ran home."


async def test_typing_on_an_empty_page_begins_a_story(make_app, until) -> None:
    app = make_app("--text", " ran.")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.checkpoint is not None)
        await pilot.press(*"a cat", "escape", *"My cat", "ctrl+g")
        await until(pilot, ready(app))
        record = app.screen.desk.record
        assert record.full_text == "My cat ran." and record.prompt == "a cat"
        assert [run.author for run in app.screen.desk.tree.runs(app.screen.desk.tree.current)] == ["writer", "model"]


async def test_typing_while_it_writes_stops_it_there(make_app, until) -> None:
    app = make_app("--tokens", "3000", "--rate", "100")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"a cat", "enter")
        await until(pilot, lambda: len(app.screen.desk.text) > 40)
        await pilot.press("escape", "f2", "ctrl+end", "X")
        assert app.screen.desk.writing is None
        await pilot.pause(0.3)
        assert app.screen.desk.text.endswith("X") and app.screen.page.text == app.screen.desk.text.lstrip()


async def test_selecting_deleting_and_pasting(make_app, until) -> None:
    app = make_app("--text", "one two three")
    async with app.run_test(size=(80, 24)) as pilot:
        await with_story(app, pilot, until)
        page = app.screen.page
        await pilot.press("ctrl+home", "ctrl+shift+right")
        assert page.selected_text == "one"
        await pilot.press("backspace")
        assert app.screen.desk.text == " two three"
        await pilot.press("ctrl+end", "ctrl+w", "enter", *"[b]four[/b]", "home", "backspace")
        assert app.screen.desk.text == " two [b]four[/b]"
        await pilot.press("ctrl+home", "shift+end", "x")
        assert app.screen.desk.text == "x" and page.text == "x"
        await pilot.press("backspace")
        assert app.screen.desk.text == "" and app.screen.desk.record is None
        await pilot.press("ctrl+z", "ctrl+z")
        assert "four" in app.screen.desk.text


async def test_page_and_desk_agree_whatever_is_pressed(make_app, until) -> None:
    app = make_app("--text", "The tall, old tree 日本 fell.\n\nThen café \u0301 it was\tquiet\x1b[31m.")
    draw = random.Random(3)
    keys = ["left", "right", "up", "down", "ctrl+left", "ctrl+right", "home", "end", "enter", "backspace", "delete", "ctrl+w"]
    keys += [
        "shift+left",
        "shift+down",
        "ctrl+z",
        "ctrl+y",
        "alt+up",
        "alt+down",
        "a",
        "b",
        "space",
        "é",
        "ctrl+home",
        "ctrl+end",
    ]
    async with app.run_test(size=(60, 16)) as pilot:
        await with_story(app, pilot, until)
        screen, page = app.screen, app.screen.page
        whole = {node.text for node in screen.desk.tree.nodes.values() if node.recipe}
        for _ in range(60):
            await pilot.press(draw.choice(keys))
            text = screen.desk.text
            assert len(page.text) + page._lead == len(text) and 0 <= page.cursor <= len(text)
            same = [a == b for a, b in zip(page.text, text[page._lead :], strict=True) if b.isprintable() and b != "\t"]
            assert all(same)
        assert whole <= {node.text for node in screen.desk.tree.nodes.values()}


async def test_marks_of_authors_and_of_surprise(make_app, until, screen_text) -> None:
    app = make_app("--text", "one two three")
    async with app.run_test(size=(100, 30)) as pilot:
        await with_story(app, pilot, until)
        screen, page = app.screen, app.screen.page
        await pilot.press("ctrl+home", *"Hm. ", "ctrl+l")
        assert page.marking == "authors" and "the model's" in "\n".join(screen_text(app))
        assert [kind for _, _, kind in page._spans.within(0, 100)][:2] == ["writer", "model"]
        await pilot.press("ctrl+l")
        shown = "\n".join(screen_text(app))
        assert page.marking == "surprise" and "perplexity" in shown and ">20%" in shown
        spans = spans_of(screen.desk.tree.runs(screen.desk.tree.current), "surprise")
        assert spans.kinds[0] == "" and spans.kinds[1].startswith("surprise-")
        await pilot.press("ctrl+l")
        assert page.marking == "none" and "perplexity" not in "\n".join(screen_text(app))


async def test_flipping_between_branches(make_app, until, screen_text) -> None:
    app = make_app("--tokens", "10")
    async with app.run_test(size=(120, 30)) as pilot:
        await with_story(app, pilot, until)
        screen = app.screen
        for _ in range(2):
            count = len(screen.desk.tree.nodes)
            await pilot.press("ctrl+r")
            await until(pilot, lambda count=count: ready(app)() and len(screen.desk.tree.nodes) == count + 1)
        texts = [node.text for node in screen.desk.tree.children(None)]
        assert len(set(texts)) == 3 and "branch 3 of 3" in screen.status.words
        await pilot.press("alt+up")
        assert screen.desk.text == texts[1] and screen.page.text == texts[1].lstrip()
        await pilot.press("ctrl+g")
        await until(pilot, lambda: ready(app)() and len(screen.desk.tree.nodes) == 4)
        await pilot.press("alt+left", "alt+up")
        assert screen.desk.text == texts[0]
        await pilot.press("alt+down", "alt+right")
        assert screen.desk.text.startswith(texts[1]) and len(screen.desk.text) > len(texts[1])


async def test_what_is_not_asked_changes_nothing(make_app, until, screen_text) -> None:
    app = make_app("--text", "Once there was a dog who ran.")
    async with app.run_test(size=(100, 30)) as pilot:
        await with_story(app, pilot, until)
        screen = app.screen
        await pilot.press("ctrl+home", "ctrl+g")  # there is nothing to go on from
        assert screen.desk.text == screen.page.text == "Once there was a dog who ran." and len(screen.desk.tree.nodes) == 1
        for leave in ("ctrl+o", "ctrl+n"):
            await pilot.press("ctrl+home", "ctrl+right", leave)
            await until(pilot, lambda: app.screen is not screen)
            await pilot.pause(0.2)
            while app.screen is not screen:
                await pilot.press("escape")
                await pilot.pause(0.05)
            assert screen.desk.text == screen.page.text == "Once there was a dog who ran."
        await pilot.press("ctrl+home", "X")
        assert screen.desk.text == screen.page.text == "XOnce there was a dog who ran."


async def test_keys_in_one_burst_leave_page_and_desk_alike(make_app, until) -> None:
    app = make_app("--text", "Once there was a dog who ran.")
    async with app.run_test(size=(80, 24)) as pilot:
        await with_story(app, pilot, until)
        for key in (*"abc", "ctrl+z", *"def", "alt+up", *"gh", "ctrl+y", *"ij"):
            app.simulate_key(key)
        await pilot.pause(0.5)
        assert app.screen.page.text == app.screen.desk.text.lstrip()
        await pilot.press("x")
        assert app.screen.page.text == app.screen.desk.text.lstrip()


async def test_fields_that_a_person_has_changed_stay(make_app, until) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await with_story(app, pilot, until)
        composer = app.screen.composer
        app.screen.query_one("#topic").focus()
        await pilot.press("end", *" and a cat", "ctrl+z", "ctrl+y")
        assert composer.topic == "a dog and a cat" and app.screen.desk.record is not None
        app.screen.page.focus()
        await pilot.press(*"Typed. ", "ctrl+z")
        assert composer.opening == ""  # the story never becomes the words to begin with
