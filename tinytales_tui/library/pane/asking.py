"""What a person wants to see of the library: the line they search with, as `Wanted`, and the words for orders. Knows no Textual."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinytales_tui.library import index
from tinytales_tui.library.finding import Order, Wanted

ORDER_WORDS: dict[Order, str] = {
    "changed": "last changed first",
    "created": "newest first",
    "name": "by name",
    "words": "longest first",
    "rating": "best rated first",
}
_TAG = re.compile(r'(?<!\S)(?:tag:|#)(?:"([^"]*)"?|(\S*))', re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """What is asked of the list."""

    search: str = ""
    """As it was typed: words, "phrases in quotes", `tag:bedtime` or `#bedtime`, `tag:"two words"`."""
    favourites: bool = False
    trash: bool = False
    order: Order = "changed"

    @property
    def words(self) -> str:
        """The search without its tags."""
        return _TAG.sub(" ", self.search).strip()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags in the search; one that has only been begun with `tag:` is none yet."""
        return tuple(tag for quoted, word in _TAG.findall(self.search) if (tag := (quoted or word).strip()))

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.words, self.tags, self.favourites, self.trash)

    @property
    def narrowed(self) -> bool:
        """Whether anything but the trash is asked for."""
        return bool(self.words or self.tags or self.favourites)


def with_tag(search: str, tag: str) -> str:
    """The search narrowed to a tag, and to no other; empty takes the tags out."""
    words = " ".join(_TAG.sub(" ", search).split())
    named = f'tag:"{tag}"' if " " in tag else f"tag:{tag}"
    return f"{named} {words}".strip() if tag else words


def places(text: str, words: str) -> list[tuple[int, int]]:
    """Where the words of a search stand in a text, from the first letter of a word on, as (start, end)."""
    patterns = [
        (r"(?<!\w)" if piece[0].isalnum() else "") + re.escape(piece) for piece in map(str.strip, index.pieces(words)) if piece
    ]
    if not patterns:
        return []
    return [match.span() for match in re.finditer("|".join(patterns), text, re.IGNORECASE)]
