"""Topics and endings for plain stories, guessed from the stories themselves, so that a small model sees many story prompts.

A topic is who the story opens with ("a little girl named Lily", or without the name) and what it keeps coming back to ("and a
balloon", "at the park"): plainer than what a person types, but true to the story. An ending is the verdict of an `EndingJudge`
learnt from the records that people marked, taken only where it is nearly sure. Guesses are never written into a story file; prepared
data hold them flagged as guesses. Knows no torch.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from engine.data.records import Record
from engine.evaluation.endings import EndingJudge
from engine.settings import Ending

_NAMED = re.compile(r"\b(an? (?:[a-z]+,? ){0,3}?[a-z]+),? (?:named|called|whose name was) ([A-Z][a-z]+)")
_SOMEBODY = re.compile(r"\b[Aa]n? ((?:[a-z]+ ?){1,5})")
_ENDS_PHRASE = frozenset(
    "named called who that which in with on at and to of was were is had has lived loved liked wanted went saw found came under by "
    "from for playing walking but because as near outside one inside whose so ran sat looked felt".split()
)
_THING = re.compile(r"\b(?:a|an|the|his|her|their|my|your) ((?:[a-z]+ )?[a-z]+)\b")
_WORD = re.compile(r"[A-Za-z']+")
_NO_TOPIC = frozenset(
    "a time day days once upon was were is are had has have it that this they them and but who with for to of in on at very big "
    "little small old new good bad happy sad other same first last next end way lot thing things one two three home house moral "
    "story morning night mom dad mommy daddy girl boy man woman friend friends name world best so not no she he her his its be "
    "from could would did do said too more all some any out up down back when then there ground floor year years".split()
)
_PEOPLE = frozenset(("girl", "boy", "man", "woman", "friend"))
_VOWEL = frozenset("aeiou")
CONFIDENT = 0.93
"""An ending is guessed only where the judge gives it at least this probability."""


LEARN_MARKED = 20_000
"""The judge learns from at most this many marked stories, half of them happy ..."""
LEARN_STORIES = 100_000
"""... and how rare words are is counted over at most this many stories of all kinds."""
_MOST_WORDS = 200_000


@dataclass(frozen=True)
class Guesser:
    """What was learnt from the stories themselves; `label` then looks at one story at a time."""

    judge: EndingJudge
    rarity: dict[str, float]
    """Logarithm of how rarely a word occurs, by stories."""
    seed: int

    @classmethod
    def learn(cls, records: Iterable[Record], seed: int) -> Guesser | None:
        """From a stream that is read once and no further than needed, in bounded memory.

        None where fewer than 50 happy and 50 sad stories are marked: there is nothing to learn endings from.
        """
        marked: list[Record] = []
        kept: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        stories = 0
        for record in records:
            if record.ending and kept[record.ending] < LEARN_MARKED // 2:
                marked.append(record)
                kept[record.ending] += 1
            stories += 1
            seen.update(set(_WORD.findall(record.story.lower())))
            if len(seen) > _MOST_WORDS:
                seen = Counter({word: count for word, count in seen.items() if count > 1})
            if stories >= LEARN_STORIES:
                break
        if min(kept["happy"], kept["sad"]) < 50:
            return None
        judge = EndingJudge.learn([r.story for r in marked], [r.ending == "happy" for r in marked], seed=seed)
        return cls(judge, {word: math.log(stories / count) for word, count in seen.items() if count >= 5}, seed)

    def label(self, records: Sequence[Record]) -> list[Record]:
        """The records with topic and ending filled in where they can be guessed; what people gave stays as it is.

        A guess follows from the seed and the story alone, so it does not matter how stories are divided among calls.
        """
        plain = [at for at, record in enumerate(records) if not (record.topic or record.ending)]
        chances = self.judge.happiness([records[at].story for at in plain])
        labelled = list(records)
        for at, chance in zip(plain, chances, strict=True):
            record = records[at]
            ending: Ending | None = "happy" if chance >= CONFIDENT else "sad" if chance <= 1 - CONFIDENT else None
            topic = guess_topic(record.story, self.rarity, random.Random(f"{self.seed} {record.story}")) if ending else None
            if topic and ending:
                labelled[at] = replace(record, topic=topic, ending=ending)
        return labelled


def guess_topic(story: str, rarity: dict[str, float], draw: random.Random) -> str | None:
    """A topic of the story in the manner of a person's, or None where nobody and nothing stands out."""
    opening = " ".join(re.split(r"(?<=[.!?])\s+", story)[:3])
    who = _who(opening, draw)
    things = _things(story, rarity, exclude=set(_WORD.findall((who or "").lower())))
    if who and things and draw.random() < 0.85:
        thing = f"{_article(things[0])} {things[0]}"
        join = draw.choice((f"and {thing}", f"and the {things[0]}", f"with {thing}", f"who finds {thing}", f"who wants {thing}"))
        return f"{who} {join}" + (f" and the {things[1]}" if len(things) > 1 and draw.random() < 0.25 else "")
    if who:
        return who
    if not things:
        return None
    return f"{_article(things[0])} {things[0]}" + (f" and the {things[1]}" if len(things) > 1 else "")


def _who(opening: str, draw: random.Random) -> str | None:
    if found := _NAMED.search(opening):
        return f"{found[1]} named {found[2]}" if draw.random() < 0.4 else found[1]
    for found in _SOMEBODY.finditer(opening):
        words = found[1].split()
        phrase = words[: next((at for at, word in enumerate(words) if word in _ENDS_PHRASE), len(words))]
        if 0 < len(phrase) <= 3 and len(phrase) < len(words) and phrase[-1] not in _NO_TOPIC - _PEOPLE:
            return f"{_article(phrase[0])} {' '.join(phrase)}"
    return None


def _things(story: str, rarity: dict[str, float], exclude: set[str]) -> list[str]:
    counts: Counter[str] = Counter()
    for found in _THING.finditer(story):
        words = found[1].split()
        noun = words[0] if len(words) == 1 or words[0] not in rarity or _follows(words) else words[-1]
        if noun not in _NO_TOPIC and noun not in exclude and len(noun) > 2:
            counts[noun] += 1
    ranked = sorted(counts, key=lambda noun: (-counts[noun] * rarity.get(noun, 0.0), noun))
    return [noun for noun in ranked if counts[noun] >= 2][:2]


def _follows(words: list[str]) -> bool:
    """Whether the second word only follows the noun ("the dog was"), so that the first is the thing."""
    return words[1] in _NO_TOPIC or words[1].endswith(("ed", "s", "ing")) or words[1] in {"saw", "ran", "went", "came", "fell"}


def _article(noun: str) -> str:
    return "some" if noun.endswith("s") and not noun.endswith("ss") else "an" if noun[0] in _VOWEL else "a"
