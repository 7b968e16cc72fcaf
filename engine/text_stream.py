"""From tokens to text while a story is being written: whole characters only, nothing of a stop string, no banned word, no loops.

Each class follows one story and is fed its tokens or text as they come. `mentions` is asked by the engine and by the terminal. Knows no
torch.
"""

from __future__ import annotations

import codecs
import functools
import re
import weakref
from collections.abc import Iterable, Mapping, Sequence

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
        self.matched = ""
        """The stop string that has come."""

    def feed(self, text: str) -> str:
        """What can be shown now; once a stop string has come whole, `matched` is it and nothing from it on is ever shown."""
        if self.matched:
            return ""
        if not self._stops:
            return text
        pending = self._held + text
        found = [(at, stop) for stop in self._stops if (at := pending.find(stop)) >= 0]
        if found:
            at, self.matched = min(found, key=lambda one: one[0])
            self._held = ""
            return pending[:at]
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
        self._tokens = pieces(tokenizer) if self._words else {}

    def tokens(self, text: bytes) -> list[int]:
        """The tokens that may not follow `text`, the UTF-8 bytes of the story's end."""
        if not self._words:
            return []
        tail = lower(text[-max(map(len, self._words)) - 4 :])
        banned: list[int] = []
        for word in self._words:
            banned += self._tokens.get(b" " + word, [])
            for begun in range(len(word)):
                before = tail[: len(tail) - begun].decode("utf-8", "replace")[-1:]
                if tail.endswith(word[:begun]) and not before.isalnum():
                    banned += self._tokens.get(word[begun:], [])
        return banned


_pieces: weakref.WeakKeyDictionary[Tokenizer, Mapping[bytes, Sequence[int]]] = weakref.WeakKeyDictionary()


def pieces(tokenizer: Tokenizer) -> Mapping[bytes, Sequence[int]]:
    """The tokens by their bytes in lower case; made once a tokenizer, as a large vocabulary takes a while."""
    if (found := _pieces.get(tokenizer)) is None:
        made: dict[bytes, list[int]] = {}
        for token in range(tokenizer.vocab_size):
            made.setdefault(lower(tokenizer.token_bytes(token)), []).append(token)
        _pieces[tokenizer] = found = made
    return found


def lower(data: bytes) -> bytes:
    """Lower case where the bytes are whole characters; half of one stays as it is."""
    try:
        return data.decode().lower().encode()
    except UnicodeDecodeError:
        return data.lower()


def mentions(text: str, word: str, begun: bool = False) -> bool:
    """Whether a word, or a few of them, stands in the text: whole, in any case, with whatever space between them.

    With `begun`, it may also be the beginning of a longer word, such as "kites" for "kite".
    """
    pattern = _pattern(word, begun)
    return pattern is not None and pattern.search(text.lower()) is not None


@functools.lru_cache(maxsize=256)
def _pattern(word: str, begun: bool) -> re.Pattern[str] | None:
    parts = word.lower().split()
    if not parts:
        return None
    before = r"(?<![^\W_])" if parts[0][0].isalnum() else ""
    after = r"(?![^\W_])" if parts[-1][-1].isalnum() and not begun else ""
    return re.compile(before + r"\s+".join(map(re.escape, parts)) + after)


SHOWN = 40
"""Letters of a text that are shown to say why a story ended."""


def shown(text: str) -> str:
    """A piece of a story in quotation marks, on one line and not too long, without anything that a terminal would obey."""
    line = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    if not line:
        return "blank space"
    return f"“{line[: SHOWN - 1]}…”" if len(line) > SHOWN else f"“{line}”"


class LoopDetector:
    """Notices a story that has begun to repeat itself: the same run of up to 64 tokens three times in a row, 24 tokens at least."""

    LONGEST, TIMES, LEAST = 64, 3, 24

    def __init__(self) -> None:
        self._ids: list[int] = []
        self.found: tuple[list[int], int] = [], 0
        """What repeats itself, and how many times it stands there in a row."""

    def feed(self, token: int) -> bool:
        """Whether the story loops, now that `token` has come; `found` says what repeats."""
        ids = self._ids
        ids.append(token)
        size = len(ids)
        for period in range(1, min(self.LONGEST, size // self.TIMES) + 1):
            if ids[-1 - period] != token:
                continue
            span = max(self.TIMES * period, self.LEAST)
            if span <= size and ids[size - span : size - period] == ids[size - span + period :]:
                run, times = ids[size - period :], span // period
                while ids[max(0, size - (times + 1) * period) : size - times * period] == run:
                    times += 1
                self.found = run, times
                return True
        return False
