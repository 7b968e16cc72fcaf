"""One measurement of the app in a process of its own, for `library.py`: `library_pane.py start|pane` in the data folder that
`$TINYTALES_HOME` names, with the time at which the process was started in `$BEGAN`. Prints one JSON object, times in milliseconds.

The app draws every picture as if there were a terminal; a time ends when what is waited for is in the bytes of a picture. The engine's
worker is the scripted one of the tests, so that nothing but the app and its library is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from textual import events
from textual.drivers.headless_driver import HeadlessDriver

from tinytales_tui import paths
from tinytales_tui.app import TinyTalesApp
from tinytales_tui.library.finding import Wanted
from tinytales_tui.library.store import Library
from tinytales_tui.options import AppOptions

WORKER = Path(__file__).parents[1] / "terminal" / "scripted_worker.py"


class WatchedDriver(HeadlessDriver):
    """Takes every picture, and notes when a text stood in one."""

    is_headless = False  # type: ignore[assignment]
    wanted = "tinytales"
    seen_at = 0.0

    def write(self, data: str) -> None:
        if not WatchedDriver.seen_at and WatchedDriver.wanted in data:
            WatchedDriver.seen_at = time.time()


async def seen(wanted: str, since: float) -> float:
    """Milliseconds from `since` until the text was in a picture."""
    async with asyncio.timeout(30):
        while not WatchedDriver.seen_at:
            await asyncio.sleep(0.001)
    return 1000 * (WatchedDriver.seen_at - since)


async def press(app: TinyTalesApp, key: str, wanted: str) -> float:
    """Milliseconds from a key to a picture with this text."""
    WatchedDriver.wanted, WatchedDriver.seen_at = wanted, 0.0
    began = time.time()
    app.post_message(events.Key(key, key if len(key) == 1 else " " if key == "space" else None))
    return await seen(wanted, began)


async def measure(what: str) -> dict[str, Any]:
    app = TinyTalesApp(AppOptions(worker_command=(sys.executable, str(WORKER)), warm=False))
    app._build_driver = lambda headless, inline, mouse, size: WatchedDriver(app, debug=False, mouse=mouse, size=size)  # type: ignore[method-assign]
    found: dict[str, Any] = {}
    async with app.run_test(size=(120, 40)) as pilot:
        found["start"] = await seen("tinytales", float(os.environ["BEGAN"]))
        if what == "start":
            return found
        await pilot.pause(1.0)
        found["memory_before"] = psutil.Process().memory_info().rss / 1e6
        with Library.open(paths.library_file()) as library:
            total = library.count()
            rare = next((line.topic.split()[1] for line in library.listing(most=9) if line.topic.startswith("a ")), "")
            counts = {words: library.count(Wanted(words)) for words in ("t", *(rare[:end] for end in range(1, len(rare) + 1)))}
            last = library.lines(library.ids()[-1:])
        found["open"] = await press(app, "f6", f"{total:,} stories")
        if not total:
            return found
        await pilot.pause(0.5)
        await press(app, "f2", "About")
        await pilot.pause(0.5)
        found["again"] = await press(app, "f6", f"{total:,} stories")
        await pilot.pause(0.5)
        found["end"] = await press(app, "end", last[0].name[:12])
        await pilot.pause(0.5)
        await pilot.press("slash")
        await pilot.pause(0.3)
        found["every_story"] = await press(app, "t", f"{counts['t']:,} of {total:,}")
        await pilot.press("backspace")
        found["letters"], before = [], -1
        for end, letter in enumerate(rare, 1):
            await pilot.pause(0.3)
            count = counts[rare[:end]]
            if count == before:  # the same picture as before, so there is nothing to wait for
                await pilot.press(letter)
            else:
                found["letters"].append(await press(app, letter, f"{count:,} of {total:,}"))
            before = count
        found["all_again"] = await press(app, "escape", f"{total:,} stories")
        found["orders"] = []
        for order in ("newest first", "by name", "longest first", "best rated first"):
            await pilot.pause(0.5)
            found["orders"].append(await press(app, "s", order))
        found["memory"] = psutil.Process().memory_info().rss / 1e6
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1]))))
