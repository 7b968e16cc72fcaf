"""What a request gives a model to read: its prompt as tokens, and what of it is the story's own text. Knows no torch.

Text may be cut into tokens in more than one way. Where a story is gone on with, its last tokens are read as they were drawn (the
request's `tail`) and only what stands before them is encoded, so that the model finds itself where it was.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import UsageError
from engine.prompts import prompt_ids, prompt_text
from engine.settings import GenerationRequest

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint


@dataclass(frozen=True)
class Reading:
    """A request as one checkpoint reads it."""

    text: str
    """All of it, the story prompt included."""
    ids: list[int]
    """All of it, tokens that stand before every text included; may be longer than the context."""
    own: list[int]
    """The tokens of the story's own text that is given: what penalties look at."""
    data: bytes
    """The same text in UTF-8."""
    half: bytes = b""
    """The beginning of a character that the tail ends in, where the opening does not show it yet."""


def reading(checkpoint: Checkpoint, request: GenerationRequest) -> Reading:
    """What the checkpoint reads of a request. Raises `UsageError` where it cannot carry it out."""
    style, tokenizer = checkpoint.prompt_style, checkpoint.tokenizer
    text = prompt_text(request, style)
    given = request.opening or (request.topic if request.ending is None else "")
    begin = [] if checkpoint.begin_id is None else [checkpoint.begin_id]
    tail = list(request.tail)
    data, letters, half = _tail(checkpoint, request)
    ids = begin + prompt_ids(text[: len(text) - letters], style, tokenizer) + tail
    if not ids:
        raise UsageError("There is nothing to go on from: the opening has no text in it.")
    before = given[: len(given) - letters]
    return Reading(text, ids, tokenizer.encode(before) + tail, before.encode("utf-8", "replace") + data, half)


def _tail(checkpoint: Checkpoint, request: GenerationRequest) -> tuple[bytes, int, bytes]:
    """(what the tail stands for, how many letters of the opening that is, what of a character is not shown yet).

    Raises `UsageError` where it does not stand at the end of the opening.
    """
    tokenizer, ends = checkpoint.tokenizer, (checkpoint.tokenizer.end_id, *checkpoint.end_ids)
    for token in request.tail:
        if not 0 <= token < tokenizer.vocab_size:
            raise UsageError(f"This checkpoint has no token {token}: the tail was written with another one, so leave it out.")
        if token in ends:
            raise UsageError(f"The tail holds a token that ends a story ({token}), after which nothing goes on; leave it out.")
    data = b"".join(tokenizer.token_bytes(token) for token in request.tail)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, half = decoder.decode(data), decoder.getstate()[0]
    if half and request.opening.endswith(text + "\ufffd"):
        text, half = text + "\ufffd", b""
    if not request.opening.endswith(text):
        raise UsageError("The tail's tokens are not the end of the opening, so they cannot be read in its place; leave them out.")
    return data, len(text), half


def fit_to_context(ids: list[int], context: int) -> list[int]:
    """The tokens that are read: all of them if one more fits, else the newest three quarters of the context."""
    return ids if len(ids) < context else ids[-max(1, context * 3 // 4) :]
