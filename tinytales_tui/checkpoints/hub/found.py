"""The list of models on the Hub: the known story models first, marked, then what a search found."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.style import Style
from rich.text import Text
from textual.binding import Binding

from engine.hub.search import Model
from tinytales_tui.figures import short_count, size
from tinytales_tui.text import one_line
from tinytales_tui.widgets.columns import Column
from tinytales_tui.widgets.table import Table


def access_words(model: Model) -> str:
    """`gated`, `private`, or empty for one that anybody may fetch."""
    return "gated" if model.gated else "private" if model.private else ""


COLUMNS: tuple[Column[Model], ...] = (
    Column("model", 20, lambda model: model.source, left=True),
    Column("what it is", 24, lambda model: model.title, 7, left=True, tone=lambda model: "muted"),
    Column("family", 14, lambda model: model.family, 6, left=True, tone=lambda model: "muted"),
    Column("params", 6, lambda model: short_count(model.parameters) if model.parameters else "", 4, must=False),
    Column("size", 9, lambda model: size(model.size) if model.size else "", 1, must=False),
    Column("downloads", 9, lambda model: short_count(model.downloads) if model.downloads is not None else "", 5, must=False),
    Column("licence", 12, lambda model: model.licence or "", 3, left=True, tone=lambda model: "muted", must=False),
    Column("access", 7, access_words, 2, left=True, tone=lambda model: "odd", must=False),
)


class ModelList(Table[Model]):
    """What the Hub has; `states` says by source what is here of it already."""

    KEYS_HELP = ("In the list of models on the Hub", ())
    BINDINGS = [
        Binding("enter", "open", "Download", id="models.open", tooltip="Download this model; shows what will be fetched first")
    ]

    def __init__(self, id: str | None = None) -> None:
        here = Column[Model](
            "here", 9, lambda model: self.states.get(model.source, ""), 1, left=True, must=False, tone=lambda model: "good"
        )
        super().__init__([*COLUMNS, here], id)
        self.states: Mapping[str, str] = {}

    def _state_of(self, model: Model) -> str:
        return self.states.get(model.source, "")

    def key(self, item: Model) -> str:
        return item.source

    def front(self, item: Model) -> tuple[str, str]:
        return ("★ " if item.curated else "  "), "note"

    def action_open(self) -> None:
        if self.highlighted is not None:
            self.post_message(self.Opened(self))


def about(model: Model, width: int, muted: Style) -> list[Text]:
    """Two lines on the model under the cursor: what it is, and what stands in the way of having it."""
    gated = "Its owner asks you to accept conditions on its page first." if model.gated else ""
    first = [one_line(part, 200) for part in (model.source, model.title, model.family) if part]
    if model.modified:
        first.append(f"changed {time.strftime('%d %b %Y', time.localtime(min(max(model.modified, 0), 4e9)))}")
    return [Text(one_line(" · ".join(first), width)), Text(one_line(model.trouble or gated, width), muted)]
