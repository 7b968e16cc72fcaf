"""What a writer wants of the words to come, and how far a story has fulfilled it. Plain data; knows no Textual."""

from __future__ import annotations

from dataclasses import dataclass

from engine.settings import SamplingSettings
from engine.text_stream import mentions
from tinytales_tui.fields import parse_words

_BAR = "|"
"""Divides stop texts, which may have commas in them."""


@dataclass(frozen=True)
class Steering:
    """As it stands in the fields; all of it empty: nothing is steered."""

    banned: tuple[str, ...] = ()
    favoured: tuple[str, ...] = ()
    mention: tuple[str, ...] = ()
    """Words that the story must have somewhere."""
    stop: tuple[str, ...] = ()
    favour: float = 3.0
    """What is added to the logits of favoured words, and of those that must be mentioned until they are."""

    @classmethod
    def of_fields(cls, banned: str, favoured: str, mention: str, stop: str, favour: float) -> Steering:
        """From what was typed: words between commas, stop texts between bars, with `\\n` for the end of a line."""
        stops = (part.strip(" ").replace("\\n", "\n") for part in stop.split(_BAR))
        return cls(parse_words(banned), parse_words(favoured), parse_words(mention), tuple(filter(None, stops)), favour)

    @property
    def any(self) -> bool:
        return bool(self.banned or self.favoured or self.mention or self.stop)

    def apply(self, sampling: SamplingSettings) -> SamplingSettings:
        """The settings of the sliders with what is steered."""
        if not self.any:
            return sampling
        return sampling.with_changes(
            banned_words=tuple(dict.fromkeys((*sampling.banned_words, *self.banned))),
            favoured_words=tuple(dict.fromkeys((*sampling.favoured_words, *self.favoured))),
            must_mention=tuple(dict.fromkeys((*sampling.must_mention, *self.mention))),
            stop=tuple(dict.fromkeys((*sampling.stop, *self.stop))),
            favour=self.favour,
        )

    def mentioned(self, text: str) -> list[tuple[str, bool]]:
        """Of each word that must be mentioned, whether it is."""
        return [(word, mentions(text, word)) for word in self.mention]
