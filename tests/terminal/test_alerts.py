"""News of training runs: what is news, what is held together, what the terminal is sent, and the dialog where a person chooses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Static

from engine.run_status import RunStatus
from tinytales_tui import notify, settings
from tinytales_tui.settings import ALERT_KINDS, UiSettings
from tinytales_tui.train.alerts.alerts import HOLD, Alert, AlertWatch
from tinytales_tui.train.alerts.dialog import AlertsDialog, tell
from tinytales_tui.widgets.choice import Choice


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of which nothing is known, whatever the tests run in."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("STY", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID"):
        monkeypatch.delenv(name, raising=False)


def status(state: str, step: int | None = 100, message: str | None = None) -> RunStatus:
    return RunStatus(state, state, step, 2000, 1, "here", 1e9, 1.0, message)


def warned(kind: Any = "spike", message: Any = "The loss leapt.") -> dict[str, Any]:
    return {"event": "warning", "step": 5, "time": 1e9, "kind": kind, "message": message}


class Run:
    """A run that is looked at once a second."""

    def __init__(self, ui: UiSettings | None = None, state: str = "running", events: Sequence[dict[str, Any]] = ()) -> None:
        self.watch = AlertWatch(ui or UiSettings())
        self.events = list(events)
        self.now = 1000.0
        self.status = status(state)
        assert self.look() == []

    def look(self, state: str = "", *events: dict[str, Any], after: float = 1.0, **more: Any) -> list[Alert]:
        self.now += after
        self.events = [*self.events, *events]
        self.status = status(state, **more) if state else self.status
        return self.watch.see("mine", self.status, self.events, now=self.now)


@pytest.mark.parametrize(
    ("state", "message", "level", "words"),
    [
        ("failed", "The loss became nan.", "error", "mine failed: The loss became nan."),
        ("failed", None, "error", "mine failed at step 100."),
        ("stale", None, "error", "mine gives no sign of life any more at step 100; its process may be gone."),
        ("finished", None, "information", "mine finished at step 100."),
        (
            "finished",
            "Stopped early: 5 validations without a better one.",
            "information",
            "mine finished at step 100. Stopped early: 5 validations without a better one.",
        ),
        ("stopped", "A person asked.", "information", "mine was stopped at step 100."),
    ],
)
def test_a_change_is_told_once(state: str, message: str | None, level: str, words: str) -> None:
    run = Run()
    assert run.look(state, message=message) == [Alert(level, "mine", words, state)]
    assert run.look() == [] and run.look(after=1000) == []


def test_what_is_no_news() -> None:
    for state in ("failed", "stale", "finished", "stopped", "unknown"):
        run = Run(state=state, events=[warned(), warned()])
        assert run.look() == [] and run.look(after=1000) == []
    run = Run()
    for state in ("stopping", "paused", "running", "starting", "unknown", "running"):
        assert run.look(state, {"event": "checkpoint"}, {"event": "sample"}) == []


def test_a_run_counts_as_seen_once_its_state_is_known() -> None:
    run = Run(state="unknown")
    assert run.look("unknown", warned(), warned()) == []
    assert run.look("failed", warned()) == []
    assert run.look("failed", warned()) == [Alert("warning", "mine", "mine: The loss leapt.", "spike")]


def test_silence_is_told_again_only_after_a_sign_of_life() -> None:
    run = Run()
    assert [alert.kind for alert in run.look("stale")] == ["stale"]
    assert run.look("unknown", after=100) == [] and run.look("stale", after=100) == []
    assert run.look("running", after=100) == []
    assert [alert.kind for alert in run.look("stale")] == ["stale"]
    assert run.look("running") == []
    assert run.look("stale") == []  # within a minute of the last
    assert [alert.kind for alert in run.look(after=HOLD)] == ["stale"]
    assert run.look("running") == [] and run.look("stale") == []
    assert run.look("running") == [] and run.look(after=HOLD) == []  # by then it was no longer true


def test_an_end_between_two_looks() -> None:
    run = Run(state="stopped")
    assert run.look("stopped", step=100) == []
    assert [alert.words for alert in run.look("stopped", step=250)] == ["mine was stopped at step 250."]


def test_a_spike_each_second_is_one_alert_a_minute() -> None:
    run = Run()
    told = [alert.words for _ in range(150) for alert in run.look("", warned())]
    assert told[0] == "mine: The loss leapt."
    assert told[1:] == ["mine: 60 more loss spikes since; the last: The loss leapt."] * 2
    assert [alert.words for alert in run.look(after=HOLD)] == [
        "mine: 29 more loss spikes since; the last: The loss leapt."
    ]  # those that came after the last minute's end
    assert run.look(after=HOLD) == [] and run.look(after=HOLD) == []
    assert [alert.words for alert in run.look("", warned())] == ["mine: The loss leapt."]


def test_many_at_once_and_many_kinds() -> None:
    run = Run()
    found = run.look("failed", warned(), warned("disk", "Little room."), warned(message="A second."), message="It broke.")
    assert [(alert.kind, alert.level, alert.words) for alert in found] == [
        ("spike", "warning", "mine: A second. (1 more loss spike before it)"),
        ("disk", "warning", "mine: Little room."),
        ("failed", "error", "mine failed: It broke."),
    ]
    assert [alert.words for alert in run.look("", *[warned("new kind", "x")] * 3)] == [
        "mine: x (2 more warnings (new kind) before it)"
    ]


def test_runs_are_held_apart() -> None:
    watch = AlertWatch(UiSettings())
    for key in ("/a/mine", "/b/mine"):
        watch.see("mine", status("running"), [], key=key, now=0)
    assert len(watch.see("mine", status("failed"), [], key="/a/mine", now=1)) == 1
    assert watch.see("mine", status("running"), [], key="/b/mine", now=1) == []
    assert len(watch.see("mine", status("failed"), [], key="/b/mine", now=2)) == 1
    watch.forget("/a/mine")
    assert watch.see("mine", status("failed"), [warned()], key="/a/mine", now=3) == []


def test_events_that_were_replaced_are_past() -> None:
    run = Run(events=[warned()] * 5)
    run.events = []
    assert run.look("", warned(), warned()) == []
    assert len(run.look("", warned())) == 1


def test_only_what_is_switched_on() -> None:
    run = Run(UiSettings(alert_kinds=("stale",)))
    assert run.look("failed", warned()) == [] and run.look("running") == [] and run.look("finished") == []
    assert run.look("running") == [] and len(run.look("stale")) == 1
    run.watch.settings = UiSettings(alert_kinds=("warning",))
    assert run.look("running") == [] and run.look("stale", after=100) == []
    assert len(run.look("", warned("nan", "x"))) == 1


def test_words_from_files_are_data() -> None:
    watch = AlertWatch(UiSettings())
    name = "a\x1b]0;x\a\nb" + "c" * 100
    watch.see(name, status("running"), [], now=0)
    bad = [warned("\x1b[2J", "one\n\x1b[31mtwo" + "x" * 900), warned(5, None), warned("failed", "not really")]
    found = watch.see(name, status("failed", message="\x9b31m\a" + "y" * 900), bad, now=1)
    assert [alert.level for alert in found] == ["warning", "warning", "error"]
    assert {alert.kind for alert in found} == {"[2J", "warning", "failed"}
    for alert in found:
        assert alert.words.isprintable() and len(alert.words) < 300
    assert "not really" in found[1].words


def test_how_loud() -> None:
    assert all(Alert("warning", "x", "x", kind).loud for kind in ("failed", "stale", "finished", "spike"))
    assert not Alert("information", "x", "x", "stopped").loud


# What the terminal is sent

HERE = {"TERM": "xterm-256color"}


def test_osc9() -> None:
    assert notify.bell() == "\x07"
    assert notify.osc9("mine failed", HERE) == "\x1b]9;mine failed\x07"
    assert notify.osc9("mine failed", HERE | {"TMUX": "x"}) == "\x1bPtmux;\x1b\x1b]9;mine failed\x07\x1b\\"
    assert notify.osc9("mine", HERE | {"TMUX": "x", "TERM": "screen-256color"}).startswith("\x1bPtmux;")
    for screen in ({"TERM": "screen-256color"}, HERE | {"STY": "1.pts"}, HERE | {"STY": "1.pts", "TMUX": "x"}):
        assert notify.osc9("mine failed", screen) == ""
    assert notify.osc9(" \n", HERE) == ""


@pytest.mark.parametrize("words", ["4;1;50", "4 ; 1", "9", "\x1b4;2", "12;", " 4;0;"])
def test_no_text_passes_for_a_command(words: str) -> None:
    assert re.match(r"\x1b\]9;tinytales: \d", notify.osc9(words, HERE))


def test_a_notification_is_safe_and_short() -> None:
    sent = notify.osc9("a\x07b\x1b\\c\x9cd\ne\u202ef" + "x" * 900, HERE)
    text = sent.removeprefix("\x1b]9;").removesuffix("\x07")
    assert text.startswith("ab\\cd ef") and text.isprintable() and len(text) == 200
    assert len(notify.osc9("4;" + "x" * 900, HERE)) <= 200 + len("\x1b]9;\x07")
    assert notify.osc9("3 stories", HERE) == "\x1b]9;3 stories\x07"


@pytest.mark.parametrize(
    ("environ", "known"),
    [
        ({"TERM_PROGRAM": "iTerm.app"}, True),
        ({"TERM_PROGRAM": "WezTerm"}, True),
        ({"TERM_PROGRAM": "ghostty"}, True),
        ({"TERM": "xterm-ghostty"}, True),
        ({"LC_TERMINAL": "iTerm2", "SSH_TTY": "x"}, True),
        ({"KITTY_WINDOW_ID": "1"}, True),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "foot-extra"}, True),
        ({"TERM_PROGRAM": "Apple_Terminal"}, False),
        ({"TERM_PROGRAM": "vscode"}, False),
        ({"ConEmuPID": "1", "ConEmuANSI": "ON"}, False),
        ({"WT_SESSION": "1"}, False),
        ({"TERM": "linux"}, False),
        ({}, False),
        ({"TMUX": "x", "KITTY_WINDOW_ID": "1"}, False),
        ({"TERM": "screen", "KITTY_WINDOW_ID": "1"}, False),
    ],
)
def test_which_terminals_show_notifications(environ: dict[str, str], known: bool) -> None:
    environ = HERE | environ
    assert notify.supports_osc9(environ) is known
    ui = UiSettings(alert_bell=False)
    assert bool(notify.sequence("x", ui, environ)) is known
    assert notify.sequence("x", replace(ui, alert_notification="off"), environ) == ""
    assert notify.sequence("x", UiSettings(alert_notification="off"), environ) == "\a"
    assert notify.advice(ui, environ).endswith(("on", ".", "try."))


def test_a_setting_overrules_what_is_known_of_the_terminal() -> None:
    ui = UiSettings(alert_notification="on")
    assert notify.sequence("mine failed", ui, HERE) == "\x1b]9;tinytales: mine failed\a\a"
    assert "allow-passthrough" in notify.advice(ui, HERE | {"TMUX": "x"})
    assert notify.sequence("x", ui, {"TERM": "screen"}) == "\a"


def test_alert_settings_are_kept(home: Path) -> None:
    mine = UiSettings(alert_toast=False, alert_bell=False, alert_notification="on", alert_kinds=("warning", "failed"))
    assert mine.alert_kinds == ("failed", "warning")
    settings.save(mine)
    assert settings.load().settings == mine
    for bad in (
        {"alert_toast": 1},
        {"alert_bell": "yes"},
        {"alert_notification": True},
        {"alert_kinds": "failed"},
        {"alert_kinds": ["odd"]},
        {"alert_kinds": None},
        {"alert_kinds": [["failed"]]},
    ):
        (home / "settings.json").write_text(json.dumps(mine.to_json() | bad))
        loaded = settings.load()
        assert loaded.settings == UiSettings() and "damaged" in (loaded.notice or "")


# On the screen


def written(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes past the screen to the terminal from now on."""
    found: list[str] = []
    monkeypatch.setattr(app._driver, "write", found.append)
    return found


async def test_choosing(make_app: Callable, until: Callable) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(AlertsDialog())
        await pilot.press("right", "down", "right", "down", "right")  # toast off, bell off, notification on
        assert (app.ui.alert_toast, app.ui.alert_bell, app.ui.alert_notification) == (False, False, "on")
        await pilot.press("down", "right", "down", "down", "right")  # failed off, finished off
        assert app.ui.alert_kinds == ("stale", "warning")
        await pilot.press("right")
        assert app.ui.alert_kinds == ("stale", "finished", "warning")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, AlertsDialog))
        await app.push_screen(AlertsDialog())
        assert app.screen.query_one("#alert_bell", Choice).value == "off"
        assert app.screen.query_one("#kind-failed", Choice).value == "off"


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (40, 12)])
async def test_trying(make_app: Callable, until: Callable, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    app = make_app()
    async with app.run_test(size=size, notifications=True) as pilot:
        await app.push_screen(AlertsDialog())
        sent = written(app, monkeypatch)
        await pilot.press("t")
        assert sent == ["\a"]
        tried = app.screen.query_one("#alerts-tried", Static)
        assert str(tried.render()) == "Sent just now: a message in the corner and the bell."
        await until(pilot, lambda: len(app._notifications) == 1)
        app.change_settings(alert_toast=False, alert_bell=False)
        await pilot.press(*["tab"] * 7)  # to the button, which comes into view
        await until(pilot, lambda: app.focused.id == "try" and app.screen.region.overlaps(app.focused.region))
        await pilot.press("enter")
        assert sent == ["\a"] and str(tried.render()) == "All three are off, so nothing happens."


async def test_many_are_told_with_one_ring(make_app: Callable, until: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()
    async with app.run_test(notifications=True) as pilot:
        app.change_settings(alert_notification="on")
        sent = written(app, monkeypatch)
        tell(app, [Alert("error", "a", "[b]a failed", "failed"), Alert("warning", "b", "b: odd", "spike")])
        assert sent == ["\x1b]9;tinytales: [b]a failed (and 1 more)\a\a"]
        await until(pilot, lambda: [toast.message for toast in app._notifications] == ["[b]a failed", "b: odd"])
        tell(app, [Alert("information", "a", "a was stopped.", "stopped")])
        await until(pilot, lambda: len(app._notifications) == 3)
        tell(app, [])
        assert len(sent) == 1


def test_the_plain_parts_import_no_textual() -> None:
    code = "import tinytales_tui.notify, tinytales_tui.train.alerts.alerts, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"textual", "torch", "psutil"} & set(modules)
    assert set(UiSettings().alert_kinds) == set(ALERT_KINDS)
