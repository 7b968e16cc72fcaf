"""What a person types into the fields of a TinyStories-Instruct prompt, on the screen and on the command line. Plain data."""

from __future__ import annotations

from engine.errors import UsageError
from engine.settings import STORY_FEATURES
from tinytales_tui.text import one_line


def parse_words(text: str) -> tuple[str, ...]:
    """The words in a field, between commas."""
    return tuple(word for part in text.split(",") if (word := " ".join(part.split())))


def parse_features(text: str) -> tuple[str, ...]:
    """The features in a field, however they are written (`moral value` is MoralValue); UsageError for one that there is not."""
    by_letters = {feature.casefold(): feature for feature in STORY_FEATURES}
    found = []
    for part in parse_words(text):
        letters = "".join(part.split()).casefold()
        if letters not in by_letters:
            raise UsageError(f"There is no feature called {one_line(part, 40)}; choose from {', '.join(STORY_FEATURES)}.")
        found.append(by_letters[letters])
    return tuple(dict.fromkeys(found))
