"""Tidying a finished story: spaces, capitals and a last sentence that was cut off. Never changes a word. Knows no torch."""

from __future__ import annotations

import re

_SPACE_BEFORE = re.compile(r"[ \t]+(?=[,.!?;:](?:[\s\"')]|$))")
_SPACES = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_SENTENCE_START = re.compile(r"(?:^|(?<=[.!?])[ \t]+|\n[ \t]*)[\"'(]*([a-z])")
_ABBREVIATION = re.compile(r"(?:\b(?:mr|mrs|ms|dr|st|vs|etc|e\.g|i\.e)\.|\.\.)[ \t]*$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?…][\"')]*(?=\s|$)")


def tidy(story: str, cut_off: bool, before: str = "") -> str:
    """The story with blanks before punctuation and doubled blanks removed and sentences begun with capitals.

    With `cut_off` (it ended for its length, a loop or a stop) a last sentence without an end is dropped; where no sentence is whole,
    the text is closed with an ellipsis instead. The words that remain are those of the story, in their order. `before` is text that
    the story goes on from: it stays as it is, and what is returned fits its end.
    """
    if not before:
        text = _mend(story.strip())
        return _close(text) if cut_off else text
    context = before[-200:]
    text = context + story.rstrip()
    # A letter never changes its place relative to the given text, so the story is what lies behind that text's last character.
    mended = _mend("\ufffc" + text)[1:]
    kept = len(_mend("\ufffc" + context.rstrip())[1:])
    tail = mended[kept:] if context == context.rstrip() else mended[kept:].lstrip()
    return _close(tail) if cut_off else tail


def _mend(text: str) -> str:
    text = _SPACES.sub(" ", _SPACE_BEFORE.sub("", text))
    return _SENTENCE_START.sub(_capitalise, text)


def _capitalise(match: re.Match[str]) -> str:
    whole, letter = match[0], match[1]
    if _ABBREVIATION.search(match.string[: match.start()]):
        return whole
    return whole[: -len(letter)] + letter.upper()


def _close(text: str) -> str:
    ends = [m.end() for m in _SENTENCE_END.finditer(text) if m.end() == len(text) or not _ABBREVIATION.search(text[: m.end()])]
    if not text or (ends and ends[-1] == len(text)):
        return text
    if not ends:
        return text + "…"
    text = text[: ends[-1]].rstrip()
    last_paragraph = text.rsplit("\n", 1)[-1]
    return text + '"' if last_paragraph.count('"') % 2 else text
