"""How the Write pane is steered: the panel, what it does to a request, and what is told of the story meanwhile. A part of the pane's
screen, in a file of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual.binding import Binding

from engine.errors import TinyTalesError

if TYPE_CHECKING:
    from engine.settings import SamplingSettings
    from tinytales_tui.write.screen import WriteScreen
    from tinytales_tui.write.steering.panel import SteeringPanel
    from tinytales_tui.write.steering.standing import Judge, Standing
    from tinytales_tui.write.steering.steering import Steering

STEERING_BINDINGS = [
    Binding("f9", "steer", "Steer", id="write.steer", tooltip="Words that must not, should and must come; what ends the story"),
]  # fmt: skip
LOOK_S = 1.0
"""Between two looks at where the story stands."""


class Steered:
    """What is steered, and what came of it."""

    _judge: Judge | None = None
    _judged: tuple[str, Standing | None] = ("", None)
    _judging = False

    _steering_panel: SteeringPanel | None = None
    """Made when it is first wanted: the first picture need not wait for it."""

    @property
    def steering(self: WriteScreen) -> Steering | None:
        """What is steered; None where nothing ever was."""
        return self._steering_panel.steering if self._steering_panel is not None else None

    def _sampling(self: WriteScreen) -> SamplingSettings:
        """What the sliders and the steering say, without a seed."""
        sampling = self.panel.settings()
        return self.steering.apply(sampling) if self.steering is not None else sampling

    async def action_steer(self: WriteScreen) -> None:
        """Open the panel of steering in the place of the sliders; once more closes it."""
        if self.has_class("-steer"):
            self._close_steering()
            return
        self.add_class("-steer")
        if self.has_class("-narrow"):
            self.remove_class("-panel-over")
        if self._steering_panel is None:
            from tinytales_tui.write.steering.panel import SteeringPanel

            panel = SteeringPanel(cursor_blink=not self.app.low_bandwidth, id="steering")
            await self.query_one("#desk").mount(panel)
            self._steering_panel = panel
        self._show_steering()
        self._steering_panel.focus_first()

    def _close_steering(self: WriteScreen) -> None:
        self.remove_class("-steer")
        if self.focused is None or self._steering_panel in self.focused.ancestors:
            self.page.focus()
        self._consider_next()

    def on_steering_panel_changed(self: WriteScreen) -> None:
        self._show_steering()
        self._consider_next()
        self._refresh()

    # Where the story stands

    def _watch_story(self: WriteScreen) -> None:
        """Called now and then: the judge looks at the story in front, in a thread, if it is another than before."""
        text = self.desk.text
        if self._judging or text == self._judged[0] or not self.is_mounted:
            return
        self._judging = True
        self.run_worker(self._look_where(text), group="standing")

    async def _look_where(self: WriteScreen, text: str) -> None:
        from tinytales_tui.write.steering.standing import Judge

        self._judge = self._judge or Judge()
        try:
            standing = await asyncio.to_thread(self._judge.standing, text)
        except TinyTalesError as error:
            standing = None
            self.app.say(str(error), "warning")
        finally:
            self._judging = False
        self._judged = text, standing
        self._show_steering()
        self._refresh()

    @property
    def standing(self: WriteScreen) -> Standing | None:
        """Where the story in front stands; None while that is not known, or not sure enough."""
        text = self.desk.text
        judged, standing = self._judged
        return standing if standing is not None and text and text.startswith(judged) else None

    def _show_steering(self: WriteScreen) -> None:
        if self._steering_panel is not None and self.has_class("-steer"):
            record = self.desk.record
            self._steering_panel.show_story(self.desk.text, record.ending if record else None, self.standing)
