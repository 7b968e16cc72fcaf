"""What the desk is made of: a story on it, the request under way, the last edit. Plain data."""

from __future__ import annotations

from dataclasses import dataclass

from engine.settings import GenerationRequest
from tinytales_tui.library.story import Story
from tinytales_tui.library.tree import Edit, Tree
from tinytales_tui.story import StoryRecord
from tinytales_tui.text import one_line

GO_S = 2.0
"""Typing that pauses for longer is undone in two steps."""
NOTHING = Tree()


@dataclass(frozen=True)
class Draft:
    """A story on the desk."""

    tree: Tree
    origin: Story | None = None
    """As it was when it was taken from the library; None: it was begun here."""


@dataclass
class Writing:
    """The request under way."""

    id: int
    story: int
    """The desk's number of its story."""
    nodes: tuple[int, ...]
    """The node of each of its stories."""
    noted: tuple[int, int]
    """Size of the history when it went out: while it is the same, nothing else was done."""
    sent: bool = False
    """The engine has been asked; before that the request waits for an engine."""
    started: bool = False


@dataclass(frozen=True)
class Go:
    """The last edit."""

    story: int
    node: int | None
    place: int
    """Where the cursor was after it."""
    inserts: bool
    at: float

    def goes_on(self, story: int | None, node: int | None, edit: Edit, now: float) -> bool:
        """Whether another edit belongs to the same burst of typing, so that both are undone at once."""
        same = (self.story, self.node, self.inserts) == (story, node, edit.start == edit.end)
        return same and now - self.at < GO_S and self.place in (edit.start, edit.end) and "\n" not in edit.text


def given_words(request: GenerationRequest) -> str:
    """The words that a story of this request begins with and that the model does not write."""
    return request.opening or (request.topic if request.ending is None else "")


def heading(record: StoryRecord) -> str:
    """What stands above a story: what was asked for, where the story itself does not begin with it."""
    if record.ending is None:
        return ""
    fields = (", ".join((*record.words, *record.features)), record.sentence)
    about = one_line(record.prompt or " · ".join(filter(None, fields)), 200)
    return f"{about}, with a {record.ending} ending"
