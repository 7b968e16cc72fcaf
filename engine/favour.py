"""Words that are made likelier while a story is written: which tokens begin them, or go on with what has begun. Knows no torch.

`WordFavour` knows the words as tokens, `Wanted` what one story still wants. Only the pieces are raised into which the tokenizer cuts a
word, or the longest that fits where it was begun otherwise: raising every beginning of it would raise " a" for the sake of "apple".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.settings import SamplingSettings
from engine.text_stream import lower, mentions, pieces
from engine.tokenizer import Tokenizer

AGAIN_AFTER = 40
"""Words after which one that has come is favoured again: about three sentences, so that it does not come in each of them."""
GROWS_OVER = 40
"""Tokens in which what must be mentioned is raised by as much again, up to `MOST_TIMES` as much."""
MOST_TIMES = 4.0
_UNDER_WAY = re.compile(r"[^\W_]+$")
"""A word at the very end, which may still grow into another."""
_OPENING = "\"'“‘«([{—-"
"""After these a word may begin without a space."""


class WordFavour:
    """Which tokens begin a word at the present end of a text, or complete what has begun of it.

    Words are meant whole and whatever their case, wherever a word may begin; after the whole word nothing is raised. A word of several
    tokens has its first one raised, and after that the next.
    """

    def __init__(self, words: Iterable[str], tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._next: dict[str, dict[int, set[bytes]]] = {word: self._cut(word) for word in words}
        self._longest = max((len(_bytes(word)) for word in self._next), default=0)
        self._pieces = pieces(tokenizer) if self._next else {}

    def _cut(self, word: str) -> dict[int, set[bytes]]:
        """The pieces by the place in the word, in bytes, at which each begins; -1 for one with the space before the word."""
        found: dict[int, set[bytes]] = {}
        typed = " ".join(word.split())
        for text in {f" {typed}", f" {typed.lower()}", typed, typed.lower()}:
            parts = [self._tokenizer.token_bytes(token) for token in self._tokenizer.encode(text)]
            place = len(text.lstrip().encode("utf-8", "replace")) - sum(map(len, parts))
            for part in parts:
                if place >= -1 and place + len(part) > 0:
                    found.setdefault(place, set()).add(lower(part))
                place += len(part)
        return found

    def tokens(self, text: bytes, words: Iterable[str]) -> set[int]:
        """The tokens that are raised after `text`, the UTF-8 bytes of the story's end, for these of the words."""
        tail = lower(text[-self._longest - 4 :])
        last = tail.decode("utf-8", "replace")[-1:]
        raised: set[int] = set()
        for word in words:
            data = _bytes(word)
            places = [0] if not last or last.isspace() else [-1, 0] if last in _OPENING else [-1]
            for begun in range(len(data) - 1, 0, -1):
                before = tail[: len(tail) - begun].decode("utf-8", "replace")[-1:]
                if tail.endswith(data[:begun]) and not before.isalnum():
                    places.append(begun)
                    break
            for place in places:
                raised.update(token for part in self._parts(word, data, place) for token in self._pieces.get(part, ()))
        return raised

    def _parts(self, word: str, data: bytes, place: int) -> Iterable[bytes]:
        if found := self._next[word].get(place):
            return found
        rest = b" " + data if place < 0 else data[place:]
        least = 2 if place < 0 else 1
        return next(([rest[:size]] for size in range(len(rest), least - 1, -1) if rest[:size] in self._pieces), [])


class Wanted:
    """What one story wants: the favoured words that have not come lately, and those it must mention and has not yet.

    The longer the story gets without a word that it must mention, the more that is raised, so that it comes at the first place where it
    fits. Measured with the shipped model, topic "a lost dog", favour 3, within 250 tokens: "umbrella" and "kite" came in 8 stories of 8,
    "dragon" and "boat" both in 6 of 8; at the same strength throughout "umbrella" came in none of 6. A name of four tokens, unknown to
    the model ("Zoltan"), came in 1 of 8.
    """

    def __init__(self, favour: WordFavour, settings: SamplingSettings, given: bytes) -> None:
        self._favour, self._favoured, self._amount = favour, settings.favoured_words, settings.favour
        text = given.decode("utf-8", "replace")
        self._missing = [word for word in settings.must_mention if not mentions(text, word)]

    def raised(self, text: bytes, length: int) -> dict[int, float]:
        """By how much which tokens are raised after `text`, the end of a story of `length` tokens; asked once a token."""
        end = text.decode("utf-8", "replace")
        over = _UNDER_WAY.sub("", end) if self._missing else ""
        self._missing = [word for word in self._missing if not mentions(over, word)]
        lately = " ".join(end.split()[-AGAIN_AFTER:])
        found: dict[int, float] = {}
        more = min(1.0 + length / GROWS_OVER, MOST_TIMES)
        for words, amount in ((self._favoured, self._amount), (self._missing, self._amount * more)):
            wanted = [word for word in words if not mentions(lately, word, begun=True)]
            found.update(dict.fromkeys(self._favour.tokens(text, wanted), amount))
        return found


def _bytes(word: str) -> bytes:
    return " ".join(word.split()).lower().encode("utf-8", "replace")
