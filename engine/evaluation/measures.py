"""What can be counted of stories without a reader: words, repetition, articles, tidiness. Functions on text; knows no torch.

A word is a run of letters and apostrophes, in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ARTICLE = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z']+")
_SMALL = frozenset("a an the who that is of to her his and with in on at for does not too".split())

METHODS = {
    "ended_by_themselves": "share of the stories that end with the model's own end token, not by length, a loop or a stop string",
    "with_article": "share of the stories with at least one of the words a, an, the",
    "articles_per_100_words": "how many of 100 words are a, an or the, over all stories together",
    "distinct_1": "different words / all words, over all stories together; falls as more text is written (Li et al. 2016)",
    "distinct_2": "the same of runs of two words",
    "distinct_3": "the same of runs of three words",
    "repeated_3_share": "share of a story's runs of three words that stood in the same story before; mean over the stories",
    "tidy_changed": "share of the stories that tidying up (engine.postprocess.tidy) changes",
    "tidy_characters_removed": "characters that tidying up takes away, mean over all stories; below zero where it adds some",
    "topic_words_used": "share of the topic's words (small ones left out) that occur in the story, compared by their first five letters",
}
"""How each figure is measured, in a sentence."""


def words(story: str) -> list[str]:
    return _WORD.findall(story.lower())


def has_article(story: str) -> bool:
    return _ARTICLE.search(story) is not None


def articles_per_100_words(stories: Sequence[str]) -> float:
    counted = sum(len(words(story)) for story in stories)
    return 100 * sum(len(_ARTICLE.findall(story)) for story in stories) / max(1, counted)


def distinct(stories: Sequence[str], n: int) -> float:
    """Distinct n-grams divided by all n-grams, over all stories together (Li et al. 2016)."""
    grams = [gram for story in stories for gram in _grams(story, n)]
    return len(set(grams)) / max(1, len(grams))


def repeated(story: str, n: int) -> float:
    """Share of a story's n-grams that stood in it before."""
    grams = _grams(story, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def topic_share(topic: str, story: str) -> float:
    """Share of the topic's content words that occur in the story, by their first five letters."""
    wanted = [word[:5] for word in words(topic) if word not in _SMALL]
    text = {word[:5] for word in words(story)}
    return sum(word in text for word in wanted) / max(1, len(wanted))


def _grams(story: str, n: int) -> list[tuple[str, ...]]:
    found = words(story)
    return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]
