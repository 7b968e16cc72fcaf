"""What about a run deserves to be told at once: that it failed, fell silent, ended, or warned. Knows no Textual and shows nothing.

`AlertWatch` is told how each run stands at every look, and answers with what is new since the look before. What lay in the past when
a run was first seen is no news, and much of one kind is held together, so that a run that warns every second does not bury the screen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from engine.run_status import ENDED_STATES, RunStatus
from tinytales_tui.text import one_line

HOLD = 60.0
"""Seconds for which one alert of a run and a kind holds back the next."""
_WORDS = {
    "spike": ("loss spike", "loss spikes"),
    "disk": ("warning about the disk", "warnings about the disk"),
    "stalled": ("stall", "stalls"),
    "overfitting": ("sign of overfitting", "signs of overfitting"),
    "damaged": ("damaged checkpoint", "damaged checkpoints"),
    "nan": ("loss that is no number", "losses that are no numbers"),
    "failed": ("failure", "failures"),
    "stale": ("silence", "silences"),
    "finished": ("finish", "finishes"),
    "stopped": ("stop", "stops"),
    "warning": ("warning", "warnings"),
}
"""Kind -> how one and many are called."""
_SWITCH = {"failed": "failed", "stale": "stale", "finished": "finished", "stopped": "finished"}
"""State -> which of the settings' kinds switches it; everything else is a warning."""


class AlertSettings(Protocol):
    """What is read of the app's settings."""

    @property
    def alert_kinds(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Alert:
    """One piece of news, in words that may be shown as they are."""

    level: Literal["information", "warning", "error"]
    run: str
    words: str
    """One line, the run's name in it."""
    kind: str = ""
    """failed, stale, finished, stopped, or the kind of a warning."""

    @property
    def loud(self) -> bool:
        """Whether it is worth a bell and a notification: all but a stop that somebody asked for."""
        return self.kind != "stopped"


@dataclass
class _Seen:
    """What was known of a run at the look before."""

    state: str
    step: int | None
    events: int


@dataclass
class _Held:
    """Alerts of one run and kind that wait until the minute is over."""

    until: float = -math.inf
    since: bool = False
    """Whether one of that kind was told before, a minute or so ago."""
    newest: Alert | None = None
    count: int = 0

    def add(self, alert: Alert) -> None:
        self.newest, self.count = alert, self.count + 1

    def drop(self) -> None:
        self.newest, self.count = None, 0


class AlertWatch:
    """The news of any number of runs. `settings` may be replaced at any time."""

    def __init__(self, settings: AlertSettings) -> None:
        self.settings = settings
        self._runs: dict[str, _Seen] = {}
        self._held: dict[tuple[str, str], _Held] = {}

    def see(
        self,
        run_name: str,
        status: RunStatus,
        events: Sequence[dict[str, Any]],
        *,
        key: str | None = None,
        now: float | None = None,
    ) -> list[Alert]:
        """What is new about a run: call it at every look, with all events of the run, also when nothing changed.

        A run counts as seen once something is known of its state; its events must have been read by then. `key` tells runs of one name
        apart. `now` are seconds of a clock that only runs forward (`time.monotonic`, unless given).
        """
        now = time.monotonic() if now is None else now
        key = run_name if key is None else key
        before = self._runs.get(key)
        if before is None or before.state == "unknown":
            self._runs[key] = _Seen(status.state, status.step, len(events))
            return []
        # Fewer events than before: another run has taken the place of this one, and its past is no news either.
        fresh = events[before.events :] if len(events) >= before.events else []
        before.events = len(events)
        found = [_warning(run_name, event) for event in fresh if event.get("event") == "warning"]
        if status.state != "unknown":  # a file that could not be read for a moment says nothing
            again = status.state in ENDED_STATES and status.step != before.step
            if status.state != before.state or again:
                found += _change(run_name, status)
            before.state, before.step = status.state, status.step
        if status.alive:
            self._held.get((key, "stale"), _Held()).drop()  # what waits is no longer true
        wanted = set(self.settings.alert_kinds)
        return self._let_out(key, [alert for alert in found if _SWITCH.get(alert.kind, "warning") in wanted], now)

    def forget(self, key: str) -> None:
        """The run (its key, or its name where no key was given) was deleted; one that comes in its place is another."""
        self._runs.pop(key, None)
        for each in [each for each in self._held if each[0] == key]:
            del self._held[each]

    def _let_out(self, key: str, found: Sequence[Alert], now: float) -> list[Alert]:
        for alert in found:
            self._held.setdefault((key, alert.kind), _Held()).add(alert)
        out = []
        for each, held in list(self._held.items()):
            if each[0] != key or now < held.until:
                continue
            if held.newest is None:
                del self._held[each]
            else:
                out.append(_together(held.newest, held.count, since=held.since))
                self._held[each] = _Held(now + HOLD, since=True)
        return out


def _change(run: str, status: RunStatus) -> list[Alert]:
    """The alert for the state that a run has come to."""
    name = one_line(run, 40)
    at = f" at step {status.step:,}" if status.step is not None else ""
    message = one_line(status.message or "", 160)
    if status.state == "failed":
        return [Alert("error", run, f"{name} failed: {message}" if message else f"{name} failed{at}.", "failed")]
    if status.state == "stale":
        return [Alert("error", run, f"{name} gives no sign of life any more{at}; its process may be gone.", "stale")]
    if status.state == "finished":
        return [Alert("information", run, f"{name} finished{at}{'. ' + message if message else '.'}", "finished")]
    if status.state == "stopped":
        return [Alert("information", run, f"{name} was stopped{at}.", "stopped")]
    return []


def _warning(run: str, event: dict[str, Any]) -> Alert:
    kind, message = event.get("kind"), event.get("message")
    kind = one_line(kind, 20) if isinstance(kind, str) and kind.strip() else "warning"
    kind = "warning" if kind in _SWITCH else kind  # a warning never passes for a change of state
    words = one_line(message, 200) if isinstance(message, str) else ""
    return Alert("warning", run, f"{one_line(run, 40)}: {words or 'a warning without words.'}", kind)


def _together(newest: Alert, count: int, *, since: bool) -> Alert:
    """One alert for `count` of one run and kind, of which this is the newest; `since`: one was told a minute ago."""
    if count == 1:
        return newest
    one, many = _WORDS.get(newest.kind, (f"warning ({newest.kind})", f"warnings ({newest.kind})"))
    if since:
        name = one_line(newest.run, 40)
        words = f"{name}: {count} more {many} since; the last: {newest.words.removeprefix(f'{name}: ')}"
    else:
        words = f"{newest.words} ({count - 1} more {one if count == 2 else many} before it)"
    return Alert(newest.level, newest.run, words, newest.kind)
