"""The first line of every pane: the program's name, which pane this is among those there are, and the model that is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from tinytales_tui.text import one_line


class TopBar(Widget):
    """Names of the panes, the present one marked; (id, words, key) a pane."""

    COMPONENT_CLASSES = {"top-bar--name", "top-bar--here", "top-bar--other"}
    DEFAULT_CSS = """
    TopBar {
        height: 1;
        background: $panel;
        & .top-bar--name { color: $primary; text-style: bold; }
        & .top-bar--here { color: $foreground; }
        & .top-bar--other { color: $text-muted; }
    }
    """

    def __init__(self, panes: Sequence[tuple[str, str, str]], here: str, help_from: int = 78) -> None:
        super().__init__()
        self._help_from = help_from
        """Columns from which the footer has room for the way to the help."""
        self._panes = list(panes)
        self._here = here
        self._model = ""

    def show_model(self, words: str) -> None:
        """Which model is loaded, in a few words."""
        if words != self._model:
            self._model = words
            self.refresh()

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        parts = [Segment(" tinytales ", self.get_component_rich_style("top-bar--name"))]
        for name, words, key in self._panes:
            is_here = name == self._here
            style = self.get_component_rich_style("top-bar--here" if is_here else "top-bar--other")
            shown = words if len(self._panes) == 1 else f"{key} {words}"
            parts.append(Segment(f" {shown} ", style))
        used = sum(len(part.text) for part in parts)
        # Where the footer has no room for it, the way to all the keys stands here.
        room = max(self.size.width - used - 1, 0)
        way = "" if self.size.width >= self._help_from else "F1 help"
        model = one_line(self._model, room - len(way) - 3) if way and room > len(way) + 8 else "" if way else self._model
        hint = one_line(" · ".join(filter(None, (model, way))), room) + " "
        parts.append(Segment(" " * max(self.size.width - used - len(hint), 0), base))
        parts.append(Segment(hint, self.get_component_rich_style("top-bar--other")))
        return Strip(parts).crop_extend(0, self.size.width, base)
