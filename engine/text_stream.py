"""From tokens to text while a story is being written: whole characters only, nothing of a stop string, no banned word, no loops.

Each class follows one story and is fed its tokens or text as they come. Knows no torch.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from engine.tokenizer import Tokenizer


class CharacterStream:
    """Bytes in, whole characters out: what a token splits is held back until the rest has come."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> str:
        return self._decoder.decode(data)

    def flush(self) -> str:
        """A character that never became whole, as U+FFFD."""
        return self._decoder.decode(b"", final=True)


class StopMatcher:
    """Lets text through except for what may still become a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.matched = False

    def feed(self, text: str) -> str:
        """What can be shown now; once a stop string has come whole, `matched` is set and nothing from it on is ever shown."""
        if self.matched:
            return ""
        if not self._stops:
            return text
        pending = self._held + text
        found = [at for stop in self._stops if (at := pending.find(stop)) >= 0]
        if found:
            self.matched, self._held = True, ""
            return pending[: min(found)]
        hold = max(_overlap(pending, stop) for stop in self._stops)
        self._held = pending[len(pending) - hold :]
        return pending[: len(pending) - hold]

    def flush(self) -> str:
        """What was held back and is part of the story after all."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


class WordBan:
    """Which tokens would complete a banned word at the present end of a text.

    Words are matched whole and whatever their case, however they are cut into tokens: where the text ends in the beginning of a
    banned word, the token that holds just its rest is banned. A token that goes on past the word ("catch" for "cat") is not.
    """

    def __init__(self, words: Iterable[str], tokenizer: Tokenizer) -> None:
        self._words = [word.strip().lower().encode("utf-8", "replace") for word in words]
        self._tokens: dict[bytes, list[int]] = {}
        if self._words:
            for token in range(tokenizer.vocab_size):
                self._tokens.setdefault(_lower(tokenizer.token_bytes(token)), []).append(token)

    def tokens(self, text: bytes) -> list[int]:
        """The tokens that may not follow `text`, the UTF-8 bytes of the story's end."""
        if not self._words:
            return []
        tail = _lower(text[-max(map(len, self._words)) - 4 :])
        banned: list[int] = []
        for word in self._words:
            banned += self._tokens.get(b" " + word, [])
            for begun in range(len(word)):
                before = tail[: len(tail) - begun].decode("utf-8", "replace")[-1:]
                if tail.endswith(word[:begun]) and not before.isalnum():
                    banned += self._tokens.get(word[begun:], [])
        return banned


def _lower(data: bytes) -> bytes:
    """Lower case where the bytes are whole characters; half of one stays as it is."""
    try:
        return data.decode().lower().encode()
    except UnicodeDecodeError:
        return data.lower()


class LoopDetector:
    """Notices a story that has begun to repeat itself: the same run of up to 64 tokens three times in a row, 24 tokens at least."""

    LONGEST, TIMES, LEAST = 64, 3, 24

    def __init__(self) -> None:
        self._ids: list[int] = []

    def feed(self, token: int) -> bool:
        """Whether the story loops, now that `token` has come."""
        ids = self._ids
        ids.append(token)
        size = len(ids)
        for period in range(1, min(self.LONGEST, size // self.TIMES) + 1):
            if ids[-1 - period] != token:
                continue
            span = max(self.TIMES * period, self.LEAST)
            if span <= size and ids[size - span : size - period] == ids[size - span + period :]:
                return True
        return False
