"""Trying one checkpoint below the list (`t`), and comparing two (`m`). A part of the pane's screen, in a file of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.binding import Binding

from engine import protocol
from engine.catalog.entries import Entry
from tinytales_tui import paths
from tinytales_tui.checkpoints.trial.bench import Bench
from tinytales_tui.checkpoints.trial.compare import CompareScreen
from tinytales_tui.checkpoints.trial.panel import Sample
from tinytales_tui.checkpoints.trial.probe import OPENING, TOPIC, Attempt, Probe
from tinytales_tui.chosen import chosen
from tinytales_tui.engine_client import Deliver, EngineClient
from tinytales_tui.text import one_line

if TYPE_CHECKING:
    from tinytales_tui.checkpoints.screen import CheckpointsScreen

KEEP_ENGINE_S = 120.0
"""How long the second engine stays after its last sample; its model takes memory."""
TRYING_BINDINGS = [
    Binding("t", "try", "Try", id="checkpoints.try", tooltip="Let it write one sample here; again: another one"),
    Binding("m", "compare", "Compare", show=False, id="checkpoints.compare", tooltip="Mark it for comparison; the second one begins it"),
]  # fmt: skip
TRYING_ACTIONS = {"try": ("list", "details"), "compare": ("list", "details")}


class TryingKeys:
    """What `t` and `m` do."""

    _bench: Bench | None = None
    _tried_at: float = 0.0
    _probe: Probe = Probe()

    @property
    def bench(self: CheckpointsScreen) -> Bench:
        """The second engine; it starts with the first try."""
        if self._bench is None:
            self._bench = Bench(self._make_client, self._on_attempt)
        return self._bench

    def _make_client(self: CheckpointsScreen, deliver: Deliver, load: protocol.Load) -> EngineClient:
        options = self.app.options
        # One kind of step for both that are compared, however long the engine has been there.
        step = options.step or ("plain" if options.precision == "auto" else None)
        load = dataclasses.replace(load, device=options.device, precision=options.precision, threads=options.threads, step=step)
        return EngineClient(
            deliver, load, command=options.worker_command, log=paths.worker_log(), interval=self.app.engine.interval
        )

    @property
    def trial_shown(self: CheckpointsScreen) -> bool:
        return bool(self.query_one("#trial").display)

    def action_try(self: CheckpointsScreen) -> None:
        entry = self._to_try()
        if entry is None:
            return
        again = self.trial_shown and self.bench.attempts and self.bench.attempts[0].source == entry.source
        self._probe = self._question(self._probe.seed + 1 if again else 7)
        self._tried_at = time.monotonic()
        self.run_worker(self._try_one(entry), group="trying")

    async def _try_one(self: CheckpointsScreen, entry: Entry) -> None:
        place = self.query_one("#trial")
        if not place.query(Sample):
            await place.mount(Sample(half_pages=self.app.low_bandwidth))
        place.display = True
        await self.bench.run([self._attempt(entry)], self._probe)

    def action_compare(self: CheckpointsScreen) -> None:
        entry = self._to_try()
        if entry is None:
            return
        first = next((one for one in self.entries if one.key == self.list.compared), None)
        if first is None:
            self.list.compared = entry.key
            self.app.say(f"{entry.name} is marked; m on another one compares the two.")
        elif first.key == entry.key:
            self.list.compared = ""
            self.app.say(f"{entry.name} is marked no more.")
        else:
            self.list.compared = ""
            self._open_comparison((first, entry))
        self.list.refresh()

    def _open_comparison(self: CheckpointsScreen, pair: Sequence[Entry]) -> None:
        self.close_trial()
        attempts = [self._attempt(entry) for entry in pair]
        styles = [attempt.choices.prompt_style or entry.facts.prompt_style for attempt, entry in zip(attempts, pair, strict=True)]
        probe = dataclasses.replace(self._question(7), plainly=any(style in ("", "plain") for style in styles))

        def answered(entry: Entry | None) -> None:
            self._tried_at = time.monotonic()
            if entry is not None:
                self.app.write_with(entry.source, entry.name)

        self._tried_at = time.monotonic()
        self.app.push_screen(CompareScreen(self.bench, pair, attempts, probe), answered)

    def _to_try(self: CheckpointsScreen) -> Entry | None:
        """The checkpoint under the cursor, if it can be opened; else it is said why not."""
        entry = self.list.highlighted
        if entry is None:
            return None
        if entry.obstacle:
            self.app.say(one_line(entry.obstacle, 300), "warning")
            return None
        return entry

    def _attempt(self: CheckpointsScreen, entry: Entry) -> Attempt:
        which = chosen(entry.source)
        return Attempt(entry.source, entry.name, which.choices)

    def _question(self: CheckpointsScreen, seed: int) -> Probe:
        """What stands in the fields of the Write pane, else a question of our own."""
        asked = self.app.asked_in_write()
        ending = asked.ending if asked.ending in ("happy", "sad") else "happy"
        return Probe(asked.topic or TOPIC, ending, asked.opening.strip() or OPENING, seed)  # type: ignore[arg-type]

    def _on_attempt(self: CheckpointsScreen) -> None:
        self._tried_at = time.monotonic()
        if isinstance(self.app.screen, CompareScreen):
            self.app.screen.show_attempts()
        elif self.trial_shown and len(self.bench.attempts) == 1:
            for sample in self.query(Sample):
                sample.show(self.bench.attempts[0], self._probe, "" if self.bench.running else "t writes another · Esc closes")

    def close_trial(self: CheckpointsScreen) -> bool:
        """Take the sample away and end it; returns whether there was one."""
        if not self.trial_shown:
            return False
        self.query_one("#trial").display = False
        self.run_worker(self.bench.stop(), group="stopping")
        return True

    async def rest_bench(self: CheckpointsScreen, now: bool = False) -> None:
        """End the second engine where nothing was tried for a while."""
        bench = self._bench
        if bench is not None and (now or (not bench.running and time.monotonic() - self._tried_at > KEEP_ENGINE_S)):
            self._bench = None
            await asyncio.shield(bench.close())
