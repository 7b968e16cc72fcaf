"""The storybook: endless simple stories made by a grammar, for training runs without data or network, and for tests.

Story number n of a seed is always the same, on every machine and Python. Nobody wrote these stories, so they are marked as synthetic
wherever they go: `Record.synthetic`, `"synthetic": true` in JSON lines, a first line that begins with `MARK` in text files. The
sentences stand in `storybook.toml`, which says how they are written. Knows no torch.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any, TypeVar

from engine.data.records import Record
from engine.settings import Ending

STORYBOOK = "storybook"
"""What the source is called on the command line."""
MARK = "# synthetic:"
"""A text file whose first line begins so holds stories of the storybook; the line is no story."""
LONGEST = 150
"""Words of the longest story; a longer one is told anew."""

_T = TypeVar("_T")
_CHOICE = re.compile(r"\[(\??)([^\[\]]*)\]")
_SLOT = re.compile(r"\{(a:)?(\w+)\}")
_KNOWN_AS = ("friend", "friend", "neighbour", "cousin")
_HIS = (("he", "him", "his", "himself"), ("she", "her", "her", "herself"))
_MASK = (1 << 64) - 1


def storybook_stories(seed: int, first: int = 0) -> Iterator[Record]:
    """Stories `first`, `first + 1`, … of a seed, with topic and ending, without end."""
    return (storybook_story(seed, number) for number in itertools.count(first))


def storybook_story(seed: int, number: int) -> Record:
    """One story of at most `LONGEST` words, happy or sad with equal chances."""
    draw = _Draw((seed << 40) + number)
    ending: Ending = draw.one(("happy", "sad"))
    while True:
        record = _told(draw, ending)
        if len(record.story.split()) <= LONGEST:
            return record


def storybook_sha256(count: int, seed: int) -> str:
    """What identifies `count` stories of a seed: the grammar's own text and both numbers."""
    book = json.dumps(_book(), sort_keys=True)
    return hashlib.sha256(f"{book} {LONGEST} {count} {seed}".encode()).hexdigest()


@functools.cache
def _book() -> dict[str, Any]:
    return tomllib.loads(resources.files("engine.data").joinpath("storybook.toml").read_text(encoding="utf-8"))


class _Draw:
    """SplitMix64 (Steele, Lea, Flood 2014): the same numbers everywhere, which Python's own generator does not promise."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def one(self, choices: Sequence[_T]) -> _T:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((self._state ^ (self._state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return choices[((mixed ^ (mixed >> 31)) * len(choices)) >> 64]

    def coin(self) -> bool:
        return self.one((True, False))


def _told(draw: _Draw, ending: Ending) -> Record:
    book = _book()
    plot = draw.one(book["plots"])
    words = _people(book, plot["heroes"] == "child" or draw.coin(), draw)
    for table in plot["tables"]:
        words |= zip(table["words"].split(), (part.strip() for part in draw.one(table["lines"]).split(";")), strict=True)
    paragraphs: list[list[str]] = [[]]
    for sentence in (draw.one(book["openings"]), *plot["told"], *plot[ending]):
        if not sentence:
            paragraphs.append([])
        elif not sentence.startswith("?") or draw.coin():
            paragraphs[-1].append(_filled(sentence.removeprefix("?"), words, draw))
    topic = _filled(draw.one(plot["topics"]), words, draw)
    return Record("\n".join(" ".join(part) for part in paragraphs), topic, ending, synthetic=True)


def _people(book: dict[str, Any], child: bool, draw: _Draw) -> dict[str, str]:
    """Hero, friend and family with their pronouns; the friend is of the hero's sort and has another name."""
    words: dict[str, str] = {}
    for prefix, name in (("", "name"), ("f", "friend")):
        girl = draw.coin()
        names = book["animal_names"] if not child else book["girls"] if girl else book["boys"]
        words[name] = draw.one([one for one in names.split() if one not in words.values()])
        kinds = book["animals"].split() if not child else ["girl" if girl else "boy"]
        words[f"{prefix}kind"] = draw.one([one for one in kinds if child or one not in words.values()])
        words |= {prefix + role: word for role, word in zip(_HIS[0], _HIS[girl], strict=True)}
    friend = words["friend"]
    words["fintro"] = f"{words['his']} {draw.one(_KNOWN_AS)} {friend}" if child else f"{friend} the {words['fkind']}"
    words["parent"], words["phe"], words["phim"] = draw.one(book["parents"]).split("; ")
    words["home"] = draw.one(book["child_homes" if child else "animal_homes"])
    words["day"] = draw.one(book["days"].split("|"))
    return words


def _filled(template: str, words: dict[str, str], draw: _Draw) -> str:
    text = _CHOICE.sub(lambda found: "" if found[1] and not draw.coin() else draw.one(found[2].split("|")), template)
    while _SLOT.search(text):  # a word may itself hold a slot
        text = _SLOT.sub(lambda found: _word(found, words), text)
    text = re.sub(r" {2,}", " ", text).strip()
    return re.sub(r'([?!]),"', r'\1"', text)  # a choice may bring its own mark before the quotation ends


def _word(found: re.Match[str], words: dict[str, str]) -> str:
    name = found[2]
    word = words[name[0].lower() + name[1:]]
    if found[1]:
        word = f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
    return word[0].upper() + word[1:] if name[0].isupper() else word
