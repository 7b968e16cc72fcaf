"""A story of the library: its tree and what a person noted about it; and how it stands in a list."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import TinyTalesError
from tinytales_tui.library.tree import Tree
from tinytales_tui.text import one_line

NAME_LETTERS = 80


class LibraryError(TinyTalesError):
    """The library cannot do what was asked; one sentence."""


class StoryChanged(LibraryError):
    """Another process has written on in the story since it was read."""


@dataclass(frozen=True)
class Story:
    """One story as it was read or last saved."""

    id: str
    """Eight letters and digits."""
    tree: Tree
    title: str = ""
    """What a person called it; mostly nothing."""
    tags: tuple[str, ...] = ()
    """In the order of the alphabet."""
    favourite: bool = False
    created: float = 0.0
    """Unix seconds, as the two below."""
    changed: float = 0.0
    trashed: float | None = None
    """When it was put into the trash; None: it is not there."""
    revision: int = 0
    """Goes up with every change of its tree in the store."""

    @property
    def text(self) -> str:
        """How the story reads at the node in front."""
        return self.tree.text(self.tree.current)

    @property
    def topic(self) -> str:
        return topic_of(self.tree)[0]

    @property
    def ending(self) -> str | None:
        return topic_of(self.tree)[1]

    @property
    def name(self) -> str:
        """Its title, else its topic, else its first words."""
        return name_of(self.title, self.topic, self.text)


@dataclass(frozen=True)
class Listed:
    """A line of the list."""

    id: str
    name: str
    title: str
    topic: str
    ending: str | None
    begins: str
    """The first words of the story as it reads at the node in front."""
    words: int
    """Of the story as it reads there."""
    nodes: int
    rating: int
    """The highest that a node on the way there was given; 0: none."""
    checkpoint: str
    """What wrote the newest generation on the way there."""
    tags: tuple[str, ...]
    favourite: bool
    created: float
    changed: float
    trashed: float | None
    excerpt: str = ""
    """Where it says what was searched for; empty in a list without a search."""


def topic_of(tree: Tree) -> tuple[str, str | None]:
    """What was asked for first, with the ending: of the generations on the way to the node in front, else of any."""
    ways = (tree.path(tree.current), tree.nodes.values())
    first = next((node.recipe for nodes in ways for node in nodes if node.recipe is not None), None)
    if first is None or first.ending is None:
        return "", None
    return first.topic or " ".join((*first.words, *first.features, first.sentence)).strip(), first.ending


def name_of(title: str, topic: str, begins: str) -> str:
    """What stands for a story where there is room for a line."""
    return one_line(title, NAME_LETTERS) or one_line(topic, NAME_LETTERS) or one_line(begins, NAME_LETTERS) or "An empty page"
