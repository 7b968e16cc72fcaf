"""The Textual app: what all panes share. It holds the settings, the engine's client, the themes and the keys that work anywhere.

Each pane is a folder with a screen; `PANES` is the list of them and the only thing to add to for another. This file must not
import torch, directly or through anything it imports.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import App, ScreenStackError, SystemCommand
from textual.binding import Binding
from textual.filter import LineFilter, NoColor
from textual.screen import Screen
from textual.signal import Signal

from engine import protocol
from engine.errors import UsageError
from tinytales_tui import clipboard, paths, settings
from tinytales_tui.chosen import SHIPPED, absolute, chosen, end_use, remember_use
from tinytales_tui.engine_client import ClientEvent, EngineClient, EngineUnavailable
from tinytales_tui.options import AppOptions
from tinytales_tui.text import one_line
from tinytales_tui.theme import DARK, THEMES
from tinytales_tui.widgets.plain_filters import AsciiFilter
from tinytales_tui.write.asking import Asked
from tinytales_tui.write.screen import WriteScreen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinytales_tui.library.story import Story


@dataclass(frozen=True)
class Pane:
    """One pane of the app."""

    id: str
    words: str
    key: str
    screen: Callable[[], Screen]


_NO_COMMANDS = {"write.leave", "write.page_up", "write.page_down"}
"""Bindings that only make sense as a key."""


def _train_screen() -> Screen:
    from tinytales_tui.train.screen import TrainScreen  # with numpy: nobody waits for it before the pane is opened

    return TrainScreen()


def _checkpoints_screen() -> Screen:
    from tinytales_tui.checkpoints.screen import CheckpointsScreen

    return CheckpointsScreen()


def _library_screen() -> Screen:
    from tinytales_tui.library.pane.screen import LibraryScreen

    return LibraryScreen()


PANES = (
    Pane("write", "Write", "f2", WriteScreen),
    Pane("train", "Train", "f3", _train_screen),
    Pane("checkpoints", "Checkpoints", "f4", _checkpoints_screen),
    Pane("library", "Library", "f6", _library_screen),
)
"""The panes, in the order of their keys."""


class TinyTalesApp(App[None]):
    """Write, and later train and look after, tiny story models."""

    TITLE = "tinytales"
    CSS_PATH = "app.tcss"
    MODES = {pane.id: pane.screen for pane in PANES}
    DEFAULT_MODE = PANES[0].id
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (72, "-normal"), (110, "-wide")]
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS = [
        Binding("f1", "help", "Help", id="app.help", priority=True, tooltip="Show these keys"),
        Binding("ctrl+q", "quit", "Quit", id="app.quit", priority=True, tooltip="Quit; the story is kept and offered again"),
        Binding("ctrl+p", "command_palette", "Commands", show=False, id="app.commands", priority=True),
        *(
            Binding(pane.key, f"pane('{pane.id}')", pane.words, show=False, id=f"app.{pane.id}", tooltip=f"Go to {pane.words}")
            for pane in PANES
        ),
    ]

    def __init__(self, options: AppOptions | None = None) -> None:
        self.options = options or AppOptions()
        loaded = settings.load()
        self.ui = loaded.settings
        self._notice = loaded.notice
        looks = settings.looks(self.options, self.ui)
        self.ascii = looks.ascii
        self.low_bandwidth = looks.low_bandwidth
        self._plain: list[LineFilter] = []
        if self.options.pane is not None:
            self.DEFAULT_MODE = self.options.pane
        super().__init__()
        if self.no_color:
            self._plain.append(NoColor())
        if self.ascii:
            self._plain.append(AsciiFilter())
        if self.low_bandwidth:
            self.animation_level = "none"
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self._theme_to_start_with()
        self._chosen = chosen(self.options.checkpoint, self.options.choices)
        self.engine_events: Signal[list[ClientEvent]] = Signal(self, "engine")
        """Batches of what the engine said, for the panes."""
        self.engine = EngineClient(
            self.engine_events.publish,
            protocol.Load(
                0,
                absolute(self._chosen.source),
                self.options.device,
                self.options.precision,
                self.options.threads,
                self._chosen.choices,
                self.options.step,
            ),
            command=self.options.worker_command,
            log=paths.worker_log(),
            warm=paths.warm_socket() if self.options.warm else None,
            interval=0.1 if self.low_bandwidth else 0.05,
        )
        self._settings_saved = self.ui
        self._settings_trouble = False

    @property
    def pane_names(self) -> Sequence[tuple[str, str, str]]:
        """(id, words, key) a pane, for the line at the top."""
        return [(pane.id, pane.words, pane.key.upper()) for pane in PANES]

    def clear_selection(self) -> None:
        # A field of the first screen asks for this while it is mounted, which on Python 3.13 comes before the screen is on its stack.
        with contextlib.suppress(ScreenStackError):
            super().clear_selection()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), *self._plain]

    # Start and end

    def on_mount(self) -> None:
        self.set_class(self.ascii, "-ascii")
        self.theme_changed_signal.subscribe(self, self._on_theme)
        self.engine_events.subscribe(self, self._on_engine)
        self._listen_to_signals()
        if self._notice:
            self.say(self._notice, "warning")
        self.call_after_refresh(self._let_collector_go)

    def start_engine(self) -> None:
        """Have the engine ready soon; for the pane that writes, since whoever only watches runs has no use for a model in memory."""

        async def start() -> None:
            try:
                await self.engine.ready()
            except EngineUnavailable as error:  # the event that comes with it is shown
                if self._chosen.standing and self.engine.pid is not None:
                    self.say(f"{self._chosen.source} cannot be opened, so the model of the program writes. {error}", "warning")
                    with contextlib.suppress(EngineUnavailable):
                        await self.engine.hold(None, chosen(SHIPPED).choices)

        self.run_worker(start(), group="engine")

    def _on_engine(self, batch: list[ClientEvent]) -> None:
        for event in batch:
            if isinstance(event, protocol.Loaded):
                threading.Thread(target=remember_use, args=(event.checkpoint, "the Write pane"), daemon=True).start()

    def _let_collector_go(self) -> None:
        if not gc.isenabled():
            # Whoever starts the app may hold the collector back until the first picture: it saves a sixth of the way there, as
            # nothing of what is imported is garbage. Freezing spares later collections from looking at all of it again.
            gc.freeze()
            gc.enable()

    def _listen_to_signals(self) -> None:
        """A closed terminal or a polite kill keeps the story first."""
        if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        self._keep_everything()
        # With the terminal gone, tidying up the screen may never come to an end.
        last = threading.Timer(3.0, os._exit, (128 + number,))
        last.daemon = True
        last.start()
        self.exit(return_code=128 + number)

    def _keep_everything(self) -> str | None:
        trouble = self._save_settings()
        for screen in self._write_screens():
            trouble = screen.keep_now() or trouble
        return trouble

    def _write_screens(self) -> Iterable[WriteScreen]:
        for stack in self._screen_stacks.values():
            for screen in stack:
                if isinstance(screen, WriteScreen):
                    yield screen

    async def action_quit(self) -> None:
        trouble = self._keep_everything() or self._under_way()
        if trouble and not getattr(self, "_warned", False):
            self._warned = True
            self.say(f"{trouble} Press ctrl+q again to quit nevertheless.", "error")
            return
        self.exit()

    def _under_way(self) -> str:
        """What would be cut off by quitting, in one sentence."""
        coming = [
            name for stack in self._screen_stacks.values() for screen in stack for name in getattr(screen, "downloading", ())
        ]
        if not coming:
            return ""
        what = f"{coming[0]} is" if len(coming) == 1 else f"{len(coming)} models are"
        return f"{what} being downloaded, and a file that is cut off begins anew."

    async def on_unmount(self) -> None:
        await self.engine.close()
        end_use()

    # Settings and themes

    def change_settings(self, **changes: object) -> None:
        """Remember another setting; it reaches the disk shortly after."""
        changed = dataclasses.replace(self.ui, **changes)
        if changed != self.ui:
            self.ui = changed
            self.set_timer(0.5, self._save_settings)

    def _save_settings(self) -> str | None:
        if self.ui == self._settings_saved:
            return None
        try:
            settings.save(self.ui)
        except OSError as error:
            if not self._settings_trouble:  # said once
                self._settings_trouble = True
                where = paths.shown(paths.settings_file())
                self.say(f"The settings cannot be saved in {where}: {paths.reason(error)}.", "warning")
            return None
        self._settings_saved = self.ui
        return None

    def _theme_to_start_with(self) -> str:
        for name in (self.options.theme, self.ui.theme):
            if name and name in self.available_themes:
                return name
        return DARK.name

    def _on_theme(self, theme: object) -> None:
        if self.theme != self.options.theme:
            self.change_settings(theme=self.theme)

    # Keys and commands that work everywhere

    def action_pane(self, name: str) -> None:
        if self.current_mode != name:
            self.switch_mode(name)
        elif isinstance(self.screen, WriteScreen):
            self.screen.page.focus()

    def write_with(self, source: Path | str, words: str) -> None:
        """Hold another checkpoint from now on, and go to where stories are written."""
        self.switch_mode("write")
        which = chosen(str(source))

        async def load() -> None:
            self.say(f"Writing with {words}.")
            with contextlib.suppress(EngineUnavailable):  # the event that comes with it is shown
                await self.engine.hold(absolute(which.source), which.choices)

        self.run_worker(load(), group="engine")

    def open_story(self, story: Story) -> None:
        """Bring a story of the library to the front of the Write pane."""
        self.switch_mode("write")

        def show() -> None:
            for screen in self._write_screens():
                screen.open_story(story)

        self.call_after_refresh(show)  # the pane may only now be made

    async def hold_again(self) -> None:
        """Load the checkpoint that is held once more, since something else was chosen about it."""
        which = chosen(self.engine.load.source or SHIPPED)
        with contextlib.suppress(EngineUnavailable):  # the event that comes with it is shown
            await self.engine.hold(absolute(which.source), which.choices)

    def asked_in_write(self) -> Asked:
        """What stands in the fields of the Write pane; nothing where it was never opened."""
        return next((screen.composer.kept() for screen in self._write_screens() if screen.is_mounted), Asked())

    def action_help(self) -> None:
        from tinytales_tui.widgets.help_screen import HelpScreen, sections_for

        pane = next((pane.words for pane in PANES if pane.id == self.current_mode), "")
        if isinstance(self.screen, HelpScreen):
            self.screen.dismiss()
        else:
            self.push_screen(HelpScreen(sections_for(self.screen, pane)))

    def get_system_commands(self, screen: Screen) -> Iterable[SystemCommand]:
        seen = set()
        for _, binding, enabled, tooltip in screen.active_bindings.values():
            name = binding.id or ""
            if enabled and name.startswith(f"{self.current_mode}.") and name not in seen | _NO_COMMANDS:
                seen.add(name)
                words = tooltip or binding.tooltip or binding.description
                yield SystemCommand(binding.description, words, partial(self._run, screen, binding.action))
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        yield SystemCommand("Help", "Show the keys of where you are", self.action_help)
        yield SystemCommand("Quit", "Quit; the story is kept and offered again", self.action_quit)

    def _run(self, screen: Screen, action: str) -> None:
        self.call_later(screen.run_action, action)

    def say(self, words: str, severity: str = "information") -> None:
        """A sentence in the corner, read as plain text."""
        words = one_line(words, 600)
        if any(shown.message == words for shown in self._notifications):
            return  # it stands there still
        timeout = 4 if severity == "information" else 10
        self.notify(words, severity=severity, timeout=timeout, markup=False)  # type: ignore[arg-type]

    def copy_to_clipboard(self, text: str) -> None:
        self._clipboard = text

        def write(sequence: str) -> None:
            if self._driver is not None:
                self.call_from_thread(self._driver.write, sequence)

        async def copy() -> None:
            result = await asyncio.to_thread(clipboard.copy, text, write)
            self.say(result.message, "information" if result.ok else "error")

        self.run_worker(copy(), group="copying")


def run_app(options: AppOptions | None = None) -> int:
    """Run the app until it is quit; returns the exit code. Call `terminal.prepare_environment` before importing this module."""
    app = TinyTalesApp(options)
    if app.options.theme and app.options.theme not in app.available_themes:
        raise UsageError(f"There is no theme {app.options.theme!r}; choose {', '.join(sorted(app.available_themes))}.")
    app.run(mouse=app.options.mouse)
    return app.return_code or 0
