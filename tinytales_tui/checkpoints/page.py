"""A page of plain lines, wrapped and scrolled: what is known of a checkpoint, its configuration, its model card."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.segment import Segment
from textual.binding import Binding
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tinytales_tui.checkpoints.card import Line
from tinytales_tui.text import safe_text
from tinytales_tui.widgets.wrap import WrappedText, plain_cells

_HANGING = re.compile(r" {0,8}(?:•|\d{1,4}[.)]) |[a-z][a-z ]{0,23}?  +(?=\S)")
"""What the following lines of a paragraph stand below: the mark of a list's item, or a name before its value."""


def wrap(text: str, width: int) -> list[str]:
    """The lines of a paragraph; those after the first are set in where it begins with a mark or a name."""
    mark = _HANGING.match(text)
    inset = mark.end() if mark and mark.end() <= width // 2 else 0
    found = WrappedText(width - inset)
    found.set_text(text[inset:])
    pieces = [found.text[line.start : line.end] for line in found.lines] or [""]
    return [text[:inset] + pieces[0], *(" " * inset + piece for piece in pieces[1:])]


class Page(ScrollView, can_focus=True):
    """`show(lines)`; what they say is never read as markup, and only the lines in sight are drawn."""

    KEYS_HELP = ("On this page", ())
    BINDINGS = [
        Binding("up,k", "scroll(-1)", "Up", show=False, id="page.up", tooltip="Scroll up"),
        Binding("down,j", "scroll(1)", "Down", show=False, id="page.down", tooltip="Scroll down"),
        Binding("pageup", "scroll_page(-1)", "Page up", show=False, id="page.page_up", tooltip="A page up"),
        Binding("pagedown", "scroll_page(1)", "Page down", show=False, id="page.page_down", tooltip="A page down"),
        Binding("home,g", "scroll(-1000000)", "Top", show=False, id="page.top", tooltip="To the top"),
        Binding("end,G", "scroll(1000000)", "Bottom", show=False, id="page.bottom", tooltip="To the end"),
        Binding("right,l", "section(1)", "Next part", show=False, id="page.next", tooltip="To the next heading"),
        Binding("left,h", "section(-1)", "Part before", show=False, id="page.before", tooltip="To the heading before"),
    ]
    COMPONENT_CLASSES = {"page--heading", "page--text", "page--code", "page--muted", "page--warning", "page--good"}
    DEFAULT_CSS = """
    Page {
        overflow-x: hidden;
        scrollbar-gutter: stable; /* the text is wrapped once, not again when it has grown too long */
        scrollbar-size-vertical: 1;
        & .page--heading { color: $primary; text-style: bold; }
        & .page--text { color: $foreground; }
        & .page--code { color: $secondary; }
        & .page--muted { color: $text-muted; }
        & .page--warning { color: $text-warning; }
        & .page--good { color: $text-success; }
    }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: tuple[Line, ...] = ()
        self._wrapped: list[Line] = []
        self._width = 0

    def show(self, lines: Sequence[Line], top: bool = False) -> None:
        """Show these lines; the place stays, unless `top` says that they are about something else."""
        if tuple(lines) != self.lines:
            self.lines = tuple(lines)
            self._wrap()
        if top:
            self.scroll_to(y=0, animate=False)

    def _wrap(self) -> None:
        self._width = max(1, self.scrollable_content_region.width)
        wrapped: list[Line] = []
        for tone, text in self.lines:
            wrapped += [(tone, piece) for piece in wrap(plain_cells(safe_text(text)), self._width)]
        self._wrapped = wrapped
        self.virtual_size = Size(self._width, len(wrapped))
        self.refresh()

    def on_resize(self) -> None:
        if self.scrollable_content_region.width != self._width:
            self._wrap()

    def action_scroll(self, lines: int) -> None:
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def action_scroll_page(self, pages: int) -> None:
        self.action_scroll(pages * max(1, self.size.height - 1))

    def action_section(self, steps: int) -> None:
        top = round(self.scroll_offset.y)
        heads = [at for at, (tone, _) in enumerate(self._wrapped) if tone == "heading"]
        found = [at for at in heads if at > top] if steps > 0 else [at for at in reversed(heads) if at < top]
        self.scroll_to(y=found[0] if found else (0 if steps < 0 else self.scroll_offset.y), animate=False)

    def render_line(self, y: int) -> Strip:
        at = y + round(self.scroll_offset.y)
        if at >= len(self._wrapped):
            return Strip.blank(self._width, self.rich_style)
        tone, text = self._wrapped[at]
        style = self.get_component_rich_style(f"page--{tone}")
        return Strip([Segment(text, style)]).adjust_cell_length(self._width, self.rich_style)
