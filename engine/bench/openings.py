"""Texts of a wanted number of tokens to begin with. Knows no torch."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from engine.prompts import prompt_ids

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

WORDS = (
    "Once upon a time there was a little girl who lived with her grandmother in a small house by the sea . Every morning they went "
    "down to the beach to look for shells , and the girl put the prettiest ones into her blue bucket . One day she saw a boat that had "
    "no sail and no oars , and in the boat sat a very old cat . The cat looked at her and asked if she knew the way to the island ."
).split()


def opening(checkpoint: Checkpoint, tokens: int) -> str:
    """The most words that are at most `tokens` tokens (at least one word is given), for a request without an ending."""
    text = WORDS[0]
    for word in itertools.islice(itertools.cycle(WORDS), 1, tokens):
        longer = f"{text}{'' if word in ',.' else ' '}{word}"
        if len(read_ids(checkpoint, longer)) > tokens:
            break
        text = longer
    return text


def read_ids(checkpoint: Checkpoint, text: str) -> list[int]:
    """The tokens that the model reads for an opening."""
    first = [] if checkpoint.begin_id is None else [checkpoint.begin_id]
    return first + prompt_ids(text, checkpoint.prompt_style, checkpoint.tokenizer)


def lengths(context: int, prompt: int, tokens: int) -> tuple[int, int]:
    """(tokens of the prompt, new tokens) where all of it must fit the context, so that nothing is read twice."""
    prompt = max(1, min(prompt, context // 2))
    return prompt, max(2, min(tokens, context - prompt))
