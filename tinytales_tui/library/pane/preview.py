"""The story under the cursor as it reads, below its facts; the words of a search stand out. It shows plain text and knows no library."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.binding import Binding
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tinytales_tui.library.pane.asking import places
from tinytales_tui.library.pane.telling import Toned
from tinytales_tui.text import safe_text
from tinytales_tui.widgets.wrap import WrappedText, plain_cells

MEASURE = 72
"""Widest line in columns."""


class Preview(ScrollView, can_focus=True):
    """`show(paragraphs, text, words)`; only the lines in sight are drawn."""

    KEYS_HELP = ("On the preview", ())
    BINDINGS = [
        Binding("up,k", "scroll_lines(-1)", "Up", show=False, id="preview.up", tooltip="Scroll up"),
        Binding("down,j", "scroll_lines(1)", "Down", show=False, id="preview.down", tooltip="Scroll down"),
        Binding("pageup", "scroll_page(-1)", "Page up", show=False, id="preview.page_up", tooltip="A page up"),
        Binding("pagedown", "scroll_page(1)", "Page down", show=False, id="preview.page_down", tooltip="A page down"),
        Binding("home,g", "scroll_lines(-1000000)", "Top", show=False, id="preview.top", tooltip="To the beginning"),
        Binding("end,G", "scroll_lines(1000000)", "Bottom", show=False, id="preview.bottom", tooltip="To the end"),
    ]
    COMPONENT_CLASSES = {
        "preview--heading", "preview--muted", "preview--warning", "preview--text", "preview--found",
        "preview--excerpt",
    }  # fmt: skip
    DEFAULT_CSS = """
    Preview {
        overflow-x: hidden;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        & .preview--heading { color: $primary; text-style: bold; }
        & .preview--muted, & .preview--excerpt { color: $text-muted; }
        & .preview--warning { color: $text-warning; }
        & .preview--text { color: $foreground; }
        & .preview--found { color: $text-accent; text-style: bold underline; }
    }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: tuple[tuple[Toned, ...], str, str] = ((), "", "")
        self.of = ""
        """What was shown last, as its caller calls it."""
        self._rows: list[list[Toned]] = []
        self._width = 0
        self._found = 0
        """The first row of the text in which a word of the search stands."""

    def show(self, paragraphs: Sequence[Toned], text: str = "", words: str = "", of: str = "") -> None:
        """Show these; the place stays where they are `of` the same and searched for the same, else the first word found is in sight."""
        shown, other = (tuple(paragraphs), text, words), of != self.of or words != self._shown[2]
        self.of = of
        if shown != self._shown:
            self._shown = shown
            self._lay()
        if other:
            self.scroll_to(y=max(0, self._found - self.size.height // 2), animate=False)

    def _lay(self) -> None:
        paragraphs, text, words = self._shown
        self._width = max(1, min(MEASURE, self.scrollable_content_region.width))
        self._rows, self._found = [], 0
        for tone, paragraph in paragraphs:
            sought = words if tone == "excerpt" else ""
            self._rows += _wrapped(plain_cells(safe_text(paragraph)), self._width, tone, sought)
        text = plain_cells(safe_text(text)).strip()
        if text:
            self._rows.append([])
            before = len(self._rows)
            self._rows += _wrapped(text, self._width, "text", words)
            found = (at for at, row in enumerate(self._rows[before:], before) if any(tone == "found" for tone, _ in row))
            self._found = next(found, 0)
        self.virtual_size = Size(self._width, len(self._rows))
        self.refresh()

    def on_resize(self) -> None:
        if max(1, min(MEASURE, self.scrollable_content_region.width)) != self._width:
            self._lay()

    def action_scroll_lines(self, lines: int) -> None:
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def action_scroll_page(self, pages: int) -> None:
        self.action_scroll_lines(pages * max(1, self.size.height - 1))

    def render_line(self, y: int) -> Strip:
        at, width = y + round(self.scroll_offset.y), self.scrollable_content_region.width
        row = self._rows[at] if at < len(self._rows) else []
        segments = [Segment(words, self.get_component_rich_style(f"preview--{tone}")) for tone, words in row]
        return Strip(segments).adjust_cell_length(width, self.rich_style)


def _wrapped(text: str, width: int, tone: str, words: str = "") -> list[list[Toned]]:
    """The rows of a text, cut where a word of the search begins or ends."""
    found, wrapped = places(text, words), WrappedText(width)
    wrapped.set_text(text)
    rows: list[list[Toned]] = []
    first = 0
    for line in wrapped.lines:
        row: list[Toned] = []
        at = line.start
        while first < len(found) and found[first][0] < line.end:
            start, end = max(found[first][0], at), min(found[first][1], line.end)
            if start > at:
                row.append((tone, text[at:start]))
            if end > start:
                row.append(("found", text[start:end]))
                at = end
            if found[first][1] > line.end:
                break  # it goes on in the next row
            first += 1
        rows.append([*row, (tone, text[at : line.end])] if at < line.end else row)
    return rows
