"""The keys that do something to runs: stop, pause, checkpoint, sample, go on, export, delete, start another, write with one.

A part of the pane's screen, in a file of its own. What may be done and how it went is said by `steering`; here it is asked for, and
what has to be confirmed is confirmed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.binding import Binding

from engine.run_view import CheckpointInfo, RunView
from engine.watching.feed import Feed
from tinytales_tui import paths
from tinytales_tui.text import one_line
from tinytales_tui.train.steer.checkpoint_rows import validation_notes
from tinytales_tui.train.steer.questions import needs_confirmation
from tinytales_tui.train.steer.steering import Action, asking, available, more_steps, perform_all, toggled, told

if TYPE_CHECKING:
    from tinytales_tui.train.screen import TrainScreen

STEERING_BINDINGS = [
    Binding("ctrl+n", "new_run", "New", id="train.new", tooltip="Start a training run"),
    Binding("w", "write_with", "Write", id="train.write", tooltip="Write stories with the run's best checkpoint"),
    Binding("W", "choose_write", "Choose", show=False, id="train.write_which", tooltip="Write with another of its checkpoints"),
    Binding("p", "steer('pause')", "Pause", id="train.pause", tooltip="Pause the run after its step, or let it go on"),
    Binding("x", "steer('stop')", "Stop", id="train.stop", tooltip="Stop the run after its step, with a checkpoint; asks first"),
    Binding(
        "u",
        "steer('resume')",
        "Go on",
        show=False,
        id="train.resume",
        tooltip="Go on with a run that has ended",
    ),
    Binding("c", "steer('checkpoint')", "Checkpoint", show=False, id="train.checkpoint", tooltip="Write a checkpoint now"),
    Binding("t", "steer('sample')", "Sample", show=False, id="train.sample", tooltip="Write sample stories now"),
    Binding("e", "export", "Export", show=False, id="train.export", tooltip="Copy a checkpoint to a folder of its own"),
    Binding(
        "D",
        "steer('delete')",
        "Delete",
        show=False,
        id="train.delete",
        tooltip="Delete the run (in the list: all marked ones); asks first",
    ),
]


class SteeringKeys:
    """What these keys do."""

    _cancel: threading.Event

    def targets(self: TrainScreen) -> list[Feed]:
        """What an action is for: in the list the marked runs or the one under the cursor, elsewhere the run that is shown."""
        if self.view == "runs":
            return self.run_list.chosen
        return [self.opened] if self.opened is not None else []

    def _own(self: TrainScreen) -> list[Feed]:
        """The targets that are runs of our own; says so where there is none."""
        targets = self.targets()
        found = [feed for feed in targets if feed.steerable]
        if not targets:
            self.app.say("There is no run to do this to.", "warning")
        elif not found:
            self.app.say(
                f"{one_line(targets[0].name, 60)} is a log of another program: it can be looked at, not steered.", "warning"
            )
        return found

    def _one(self: TrainScreen) -> list[Feed]:
        """The one run that is meant, where only one can be; says so where several are marked."""
        feeds = self._own()
        if len(feeds) > 1:
            self.app.say(f"{len(feeds)} runs are marked, and this takes one: press Esc to take the marks away.", "warning")
            return []
        return feeds

    def action_steer(self: TrainScreen, action: Action) -> None:
        # What the follower last saw says whether it makes sense; `perform_all` looks again, in its thread, before it does anything.
        feeds = self._own()
        if not feeds:
            return
        if self.readonly:
            self.app.say(available(action, feeds[0].status, True) or "", "warning")
            return
        if len(feeds) == 1:
            status, name = feeds[0].status, feeds[0].name
            if action == "pause":
                action = toggled(status)
            if why := available(action, status, name=name):
                suggested = more_steps(status) if action == "resume" else None
                if suggested is None:
                    self.app.say(why, "warning")
                else:
                    self.run_worker(self._more_steps(feeds[0], suggested), group="steering")
                return
        self.run_worker(self._steer(action, [RunView(feed.path) for feed in feeds]), group="steering")

    async def _more_steps(self: TrainScreen, feed: Feed, suggested: int) -> None:
        from tinytales_tui.train.steer.dialogs import MoreStepsDialog

        steps = await self.app.push_screen_wait(MoreStepsDialog(feed.name, feed.status.step or 0, suggested))
        if steps is not None:
            await self._steer("resume", [RunView(feed.path)], steps=steps)

    async def _steer(self: TrainScreen, action: Action, runs: Sequence[RunView], **details: Any) -> None:
        question = await asyncio.to_thread(needs_confirmation, action, runs, self.readonly)
        if question is None and action in ("stop", "delete"):
            self.app.say(f"There is nothing to {action} any more.", "warning")
            return
        if question is not None:
            from tinytales_tui.widgets.confirm import ConfirmDialog

            dialog = ConfirmDialog(question.title, question.sentences, question.verb, typed=question.typed)
            if not await self.app.push_screen_wait(dialog):
                return
            runs = question.runs
        self.app.say(asking(action, runs))
        outcome = told(await asyncio.to_thread(perform_all, action, runs, readonly=self.readonly, cancel=self._cancel, **details))
        if self._cancel.is_set():
            return
        self.app.say(outcome.words, outcome.severity)
        if action == "delete":
            self.run_list.unmark()
        self.follower.look_now()

    def action_export(self: TrainScreen) -> None:
        feeds = self._one()
        if feeds and (why := available("export", feeds[0].status, self.readonly, name=feeds[0].name)):
            self.app.say(why, "warning")
        elif feeds:
            self.run_worker(self._export(RunView(feeds[0].path)), group="steering")

    async def _export(self: TrainScreen, run: RunView) -> None:
        from tinytales_tui.train.steer.export_dialog import ExportDialog

        path = await self.app.push_screen_wait(ExportDialog(run, await self._notes(run)))
        if path is not None:
            self.app.say(f"Copied to {paths.shown(path)}")

    async def _notes(self: TrainScreen, run: RunView) -> dict[int, str]:
        def read() -> dict[int, str]:
            return validation_notes(row for row in RunView(run.path).metrics() if "val_loss" in row)

        return await asyncio.to_thread(read)

    # Writing with a run

    def action_write_with(self: TrainScreen) -> None:
        for feed in self._one():
            self.run_worker(self._write_with_best(RunView(feed.path)), group="steering")

    async def _write_with_best(self: TrainScreen, run: RunView) -> None:
        found = await asyncio.to_thread(run.checkpoints)
        best = next((info for info in found if info.best), found[-1] if found else None)
        if best is None:
            self.app.say(f"{one_line(run.name, 60)} has no checkpoint yet.", "warning")
        else:
            self._write_with(run, best)

    def action_choose_write(self: TrainScreen) -> None:
        for feed in self._one():
            self.run_worker(self._choose(RunView(feed.path)), group="steering")

    async def _choose(self: TrainScreen, run: RunView) -> None:
        from tinytales_tui.train.steer.dialogs import CheckpointDialog

        chosen = await self.app.push_screen_wait(CheckpointDialog(run, await self._notes(run)))
        if chosen is not None:
            self._write_with(run, chosen)

    def _write_with(self: TrainScreen, run: RunView, info: CheckpointInfo) -> None:
        at = f" of step {info.step:,}" if info.step is not None else ""
        self.app.write_with(info.path, f"{one_line(run.name, 60)}: the {'best checkpoint' if info.best else 'checkpoint'}{at}")

    # Another run

    def action_new_run(self: TrainScreen) -> None:
        if self.readonly:
            self.app.say("This view is read-only (--readonly), so it cannot start a run; open it without that.", "warning")
            return
        self.run_worker(self._new_run(), group="steering")

    async def _new_run(self: TrainScreen) -> None:
        from tinytales_tui.train.new_run.screen import NewRunScreen

        name = await self.app.push_screen_wait(NewRunScreen())
        if name is not None:
            self.app.say(f"{one_line(name, 60)} trains in the background and goes on when this terminal closes.")
            self.open_when_there(Path(paths.runs_folder()) / name)
