"""From what feeds say to what a person hears of it: news of all runs, told as the settings have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.watching.feed import Feed
from tinytales_tui.train.alerts.alerts import AlertWatch
from tinytales_tui.train.alerts.dialog import tell

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp


class Alerting:
    """`see(feeds)` at every look."""

    def __init__(self, app: TinyTalesApp) -> None:
        self._app = app
        self._watch = AlertWatch(app.ui)
        self._known: set[str] = set()

    def see(self, feeds: Sequence[Feed]) -> None:
        """Tell what is new."""
        self._watch.settings = self._app.ui
        known = {feed.key for feed in feeds}
        for gone in self._known - known:
            self._watch.forget(gone)
        self._known = known
        news = [
            alert
            for feed in feeds
            if feed.kind == "run"
            for alert in self._watch.see(feed.name, feed.status, feed.events, key=feed.key)
        ]
        if news:
            tell(self._app, news)
