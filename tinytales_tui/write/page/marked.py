"""A story with its words told apart, by their author or by their surprise, and stretches of it painted over. Only shows.

Offsets are those of the story's own text, to the letter: one sign on the screen for each sign of the text.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tinytales_tui.library.runs import Run
from tinytales_tui.text import same_length
from tinytales_tui.widgets.story_view import StoryView
from tinytales_tui.write.page.marks import Marking, Spans, spans_of


class MarkedView(StoryView):
    """`marking` says how the words are told apart."""

    COMPONENT_CLASSES = {
        "page--writer",
        "page--model",
        "page--surprise-0",
        "page--surprise-1",
        "page--surprise-2",
        "page--surprise-3",
        "page--surprise-4",
    }
    DEFAULT_CSS = """
    MarkedView {
        & .page--writer { color: $text-accent; text-style: underline; }
        & .page--model { color: $foreground; }
        & .page--surprise-0 { color: $text-muted; }
        & .page--surprise-1 { color: $foreground; }
        & .page--surprise-2 { color: $text-warning; }
        & .page--surprise-3 { color: $text-error; }
        & .page--surprise-4 { color: $background; background: $text-error; }
        &:nocolor .page--surprise-0 { text-style: dim; }
        &:nocolor .page--surprise-2 { text-style: underline; }
        &:nocolor .page--surprise-3 { text-style: bold underline; }
        &:nocolor .page--surprise-4 { text-style: reverse; }
    }
    """

    def __init__(self, *, half_pages: bool = False, id: str | None = None) -> None:
        super().__init__(half_pages=half_pages, id=id)
        self.marking: Marking = "none"
        self._lead = 0
        """Blanks at the beginning of the story that are not shown."""
        self._spans = Spans()

    def show_marked(self, heading: str, text: str, spans: Spans) -> None:
        """Put a story on the page."""
        self._lead, self._spans = 0, spans
        self.show_story(heading, "", text)

    def mark_as(self, marking: Marking, runs: Sequence[Run]) -> None:
        """Tell the words of what is shown apart in this way from now on."""
        self.marking = marking
        self._spans = spans_of(runs, marking)
        self.refresh()

    def showable(self, text: str) -> str:
        return same_length(text)

    def _without_lead(self, text: str, strip: bool) -> str:
        if strip:
            kept = text.lstrip(" ") if text.strip() else text
            self._lead += len(text) - len(kept)
            return kept
        return text

    def _pieces(self, start: int, text: str, rest: str) -> list[Segment]:
        plain = self._style("story-view--written")
        low, high = start + self._lead, start + self._lead + len(text)
        segments = [
            Segment(text[first - low : last - low], self._style(f"page--{kind}") if kind else plain)
            for first, last, kind in self._spans.within(low, high)
        ]
        if segments and segments[-1].style == plain:
            segments[-1] = Segment(segments[-1].text + rest, plain)
        else:
            segments.append(Segment(rest, plain))
        return segments

    # Painting over

    def _painted_range(self, strip: Strip, line: int, low: int, high: int, style: Style) -> Strip:
        """Line number `line` of the story with what of `text[low:high]` (offsets in what is shown) stands on it in this style."""
        if not 0 <= line < len(self._page.lines):
            return strip
        bounds = self._page.lines[line]
        low, high = max(low, bounds.start), min(high, bounds.end)
        if low >= high:
            return strip
        first = self.margin + cell_len(self._page.text[bounds.start : low])
        last = first + sum(get_character_cell_size(letter) for letter in self._page.text[low:high])
        return self._painted(strip, first, last, style)

    def _selection_style(self) -> Style:
        background = self.screen.get_component_rich_style("screen--selection").bgcolor
        return Style(bgcolor=background) if background and not self.app.no_color else Style(reverse=True)

    @staticmethod
    def _painted(strip: Strip, first: int, last: int, style: Style) -> Strip:
        cells = [Segment(text, (old or Style()) + style) for text, old, _ in strip.crop(first, last)]
        middle = Strip(cells, max(last - first, 0))
        return Strip.join([strip.crop(0, first), middle, strip.crop(last, strip.cell_length)])
