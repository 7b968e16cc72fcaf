"""One line that says what the marks of a page mean, and how surprising the text was as a whole."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from tinytales_tui.write.page.marks import LEVELS, Marking, Surprise


def surprise_words(what: str, surprise: Surprise | None) -> str:
    """`the model's words: perplexity 5.9, 2.6 bits a token`."""
    if surprise is None:
        return f"{what}: not known"
    return f"{what}: perplexity {surprise.perplexity:,.1f}, {surprise.bits:.1f} bits a token"


class Legend(Widget):
    """Hidden while nothing is marked. Each word in the very style that it explains, which `styles_of` asks of the page."""

    COMPONENT_CLASSES = {"legend--words"}
    DEFAULT_CSS = """
    Legend {
        height: 1;
        background: $surface;
        & .legend--words { color: $text-muted; }
    }
    """

    def __init__(self, *, page: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._page = page
        """Selector of the page whose marks these are."""
        self._marking: Marking = "none"
        self._words = ""

    def on_mount(self) -> None:
        self.display = self._marking != "none"

    def show(self, marking: Marking, words: str) -> None:
        if (marking, words) != (self._marking, self._words):
            self._marking, self._words = marking, words
            self.display = marking != "none"
            self.refresh()

    def render_line(self, y: int) -> Strip:
        base, quiet = self.rich_style, self.get_component_rich_style("legend--words")
        page = self.screen.query_one(self._page)

        def style(kind: str):
            return page.get_component_rich_style(f"page--{kind}")

        if self._marking == "authors":
            parts = [Segment("yours", style("writer")), Segment("  ", base), Segment("the model's", style("model"))]
        else:
            parts = [Segment("Probability ", quiet)]
            for level, (_, name) in enumerate(LEVELS):
                parts += [Segment(name, style(f"surprise-{level}")), Segment("  ", base)]
        used = sum(cell_len(part.text) for part in parts) + 1
        room = self.size.width - used - 1
        shorter = (self._words, self._words.rpartition(", ")[0], self._words.rpartition(", ")[0].rpartition(": ")[2], "")
        rest = next(words for words in shorter if cell_len(words) <= room)
        parts = [Segment(" ", base), *parts, Segment(" " * max(room - cell_len(rest), 0), base), Segment(rest, quiet)]
        return Strip(parts).crop_extend(0, self.size.width, base)
