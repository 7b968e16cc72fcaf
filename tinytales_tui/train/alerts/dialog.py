"""How news of training runs is told: in the corner of the screen, by the terminal's bell, by a notification of the desktop.

`tell` does it, and `AlertsDialog` lets a person choose, and try whether the terminal at hand plays along. What is news is decided in
`tinytales_tui.train.alerts.alerts`, what is written to the terminal in `tinytales_tui.notify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tinytales_tui import notify
from tinytales_tui.settings import ALERT_KINDS, UiSettings
from tinytales_tui.train.alerts.alerts import Alert
from tinytales_tui.widgets.choice import Choice

if TYPE_CHECKING:
    from tinytales_tui.app import TinyTalesApp

_SWITCH = [("on", "on"), ("off", "off")]
_KINDS = {"failed": "Failed", "stale": "No sign of life", "finished": "Finished", "warning": "Warnings"}
_WIDTH = 15


def tell(app: TinyTalesApp, alerts: Sequence[Alert]) -> None:
    """Tell these as the settings have it: each in the corner, one ring and one notification for all of them together."""
    if app.ui.alert_toast:
        for alert in alerts:
            app.say(alert.words, alert.level)
    if loud := [alert.words for alert in alerts if alert.loud]:
        more = f" (and {len(loud) - 1} more)" if len(loud) > 1 else ""
        _write(app, notify.sequence(loud[0] + more, app.ui))


class AlertsDialog(ModalScreen[None]):
    """What is chosen counts at once; there is nothing to confirm."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "Close", id="alerts.close", tooltip="Close"),
        Binding("t", "try", "Try it", id="alerts.try", tooltip="Ring and notify now, to see whether this terminal does"),
    ]
    DEFAULT_CSS = """
    AlertsDialog {
        & #alerts-note { color: $text-muted; margin: 0 0 1 2; }
        & #alerts-tried { margin: 1 0 0 2; }
    }
    """
    app: TinyTalesApp

    def compose(self) -> ComposeResult:
        ui = self.app.ui
        with Vertical(classes="dialog"):
            yield Static("Tell me about my training runs", classes="dialog-title")
            yield Choice("In the corner", _SWITCH, _on(ui.alert_toast), label_width=_WIDTH, id="alert_toast")
            yield Choice("Bell", _SWITCH, _on(ui.alert_bell), label_width=_WIDTH, id="alert_bell")
            options = [("auto", "auto"), *_SWITCH]
            yield Choice("Notification", options, ui.alert_notification, label_width=_WIDTH, id="alert_notification")
            yield Static(notify.advice(ui), id="alerts-note", markup=False)
            for kind in ALERT_KINDS:
                yield Choice(_KINDS[kind], _SWITCH, _on(kind in ui.alert_kinds), label_width=_WIDTH, id=f"kind-{kind}")
            yield Static("", id="alerts-tried", markup=False)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Try it", id="try", compact=True)
                yield Button("Close", id="close", compact=True)

    def on_mount(self) -> None:
        self.query_one("#alerts-tried").display = False
        self.query_one("#alert_toast").focus()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        name, on = event.choice.id or "", event.value == "on"
        if name.startswith("kind-"):
            kinds = set(self.app.ui.alert_kinds) - {name[5:]} | ({name[5:]} if on else set())
            self.app.change_settings(alert_kinds=tuple(kind for kind in ALERT_KINDS if kind in kinds))
        else:
            self.app.change_settings(**{name: event.value if name == "alert_notification" else on})
        self.query_one("#alerts-note", Static).update(notify.advice(self.app.ui))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "try":
            self.action_try()
        else:
            self.dismiss(None)

    def action_try(self) -> None:
        """Tell something that is no news, and say what should have been heard and seen."""
        tell(self.app, [Alert("information", "", "This is how you will be told about your training runs.", "warning")])
        tried = self.query_one("#alerts-tried", Static)
        tried.update(_expected(self.app.ui))
        tried.display = True
        self.call_after_refresh(tried.scroll_visible, animate=False)


def _on(value: bool) -> str:
    return "on" if value else "off"


def _write(app: TinyTalesApp, sequence: str) -> None:
    """Past the screen to the terminal; nothing is drawn and the cursor stays where it is."""
    driver = app._driver
    if sequence and driver is not None:
        driver.write(sequence)
        driver.flush()


def _expected(ui: UiSettings) -> str:
    ways = []
    if ui.alert_toast:
        ways.append("a message in the corner")
    if ui.alert_bell:
        ways.append("the bell")
    if "\x1b]9;" in notify.sequence("x", ui):
        ways.append("a notification (if the terminal shows them)")
    if not ways:
        return "All three are off, so nothing happens."
    words = ", ".join(ways[:-1]) + " and " + ways[-1] if len(ways) > 1 else ways[0]
    return f"Sent just now: {words}."
