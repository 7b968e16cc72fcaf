"""From stories to training batches: each story its own row, rows of like length together, prompts without loss.

A row is `<end> prompt story <end>`: the model sees a story just as it will when it writes one, never the tail of another. Rows
are shuffled, sorted by length within a window, and cut into batches of at most `batch_tokens` cells, so that padding stays
near two per cent. Everything follows from the seed and the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.data.stories import Record
from engine.prompts import story_prompt
from engine.settings import TrainSettings
from engine.tokenizer import Tokenizer, encode_stories

IGNORED = -100
"""Target of a position that has no loss."""


@dataclass(frozen=True)
class Example:
    """One story in tokens: the plain row, and the prompt that may stand before it."""

    story: np.ndarray
    """uint16 or uint32 ids of the story, without end tokens."""
    prompt: np.ndarray | None
    marked: bool
    """Topic and ending were given by a person."""
    sad: bool = False


def make_examples(records: Sequence[Record], tokenizer: Tokenizer, marked: Sequence[bool]) -> list[Example]:
    """Tokenize stories and prompts, in parallel."""
    kind = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    stories = encode_stories(tokenizer, [r.story for r in records])
    prompts = encode_stories(tokenizer, [story_prompt(r.topic, r.ending) if r.topic and r.ending else "" for r in records])
    return [
        Example(np.array(story, kind), np.array(prompt, kind) if prompt else None, by_hand and bool(prompt), r.ending == "sad")
        for r, story, prompt, by_hand in zip(records, stories, prompts, marked, strict=True)
    ]


Row = tuple[np.ndarray, int]
"""Ids with both end tokens, and how many targets at the front have no loss."""


def epoch_rows(
    examples: Sequence[Example], settings: TrainSettings, context: int, end: int, random: np.random.Generator
) -> list[Row]:
    """The rows of one epoch in random order: each story once, marked ones `marked_repeats` times."""
    rows: list[Row] = []
    for example in examples:
        share = 1.0 if example.marked else settings.prompted_sad if example.sad else settings.prompted_happy
        for _ in range(settings.marked_repeats if example.marked else 1):
            prompted = example.prompt is not None and random.random() < share
            rows.extend(_pieces(example.story, example.prompt if prompted else None, context, end))
    return [rows[i] for i in random.permutation(len(rows))]


def _pieces(story: np.ndarray, prompt: np.ndarray | None, context: int, end: int) -> Iterator[Row]:
    """A story as one row, or as several that each go on where the last one ended if it is longer than the context."""
    head = [np.array([end], story.dtype)] + ([prompt] if prompt is not None else [])
    whole = np.concatenate([*head, story, np.array([end], story.dtype)])
    silent = len(prompt) if prompt is not None else 0
    yield whole[: context + 1], silent
    for start in range(context, len(whole) - 1, context):
        yield whole[start : start + context + 1], max(0, silent - start)


def batches(
    rows: Sequence[Row], batch_tokens: int, random: np.random.Generator, window: int = 1024
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of int64 inputs and targets, (B, T) each, right-padded; a batch holds at most `batch_tokens` cells (or one row)."""
    groups: list[list[Row]] = []
    for start in range(0, len(rows), window):
        near = sorted(rows[start : start + window], key=lambda row: len(row[0]))
        group: list[Row] = []
        for row in near:
            if group and (len(group) + 1) * (len(row[0]) - 1) > batch_tokens:
                groups.append(group)
                group = []
            group.append(row)
        groups.append(group)
    for index in random.permutation(len(groups)):
        yield _collate(groups[index])


def _collate(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    length = max(len(ids) for ids, _ in rows) - 1
    inputs = np.zeros((len(rows), length), np.int64)
    targets = np.full((len(rows), length), IGNORED, np.int64)
    for at, (ids, silent) in enumerate(rows):
        inputs[at, : len(ids) - 1] = ids[:-1]
        targets[at, silent : len(ids) - 1] = ids[1 + silent :]
    return torch.from_numpy(inputs), torch.from_numpy(targets)
