"""llama2.c's `tokenizer.bin`: which token gets which number, and how each is spelled.

run.c begins every text with token 1, stops at it, and takes tokens 3 to 258 for the bytes. SentencePiece vocabularies of Llama are in
that order already. Of GPT-2's kind the end of text becomes token 1, and the bytes stand where they are looked for, spelled as they are,
so that they join into longer tokens; what is printed is right, though run.c divides a prompt a little differently.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

from engine.checkpoints.exporting.vocabulary import Vocabulary
from engine.errors import CheckpointError

SEPARATOR, BYTES = 1, 3
LEAST = BYTES + 256
_NEVER = {0xFE: 0, 0xFF: 2}
"""Bytes that no UTF-8 text holds, and the two numbers for which run.c has no use: of GPT-2's kind these get them."""
_BYTE_LEVEL = (
    "run.c puts a space before a prompt and divides it by scores and not by words, so this model reads a prompt there a little "
    "differently; without a prompt it writes as it does here."
)
_NO_BYTES = "The vocabulary lacks some bytes; run.c takes other tokens for them where a prompt holds them."
_FIRST = "run.c puts a token before every text that this model was not trained to find there."
_TWO_FIRST = "The model reads two tokens before every text, and run.c puts only the first of them."
_ENDS = "run.c stops only at the token that it begins with; where this model ends a story with another, run.c writes on."


def arrange(vocabulary: Vocabulary, first: Sequence[int], ends: Sequence[int]) -> tuple[list[int], list[str]]:
    """(of each new number the token that gets it, notes); raises `CheckpointError` for a vocabulary that run.c cannot use.

    `first` stand before every text that the model reads, `ends` end a story, the usual one first.
    """
    separator = first[0] if first else ends[0]
    single = {byte: token for token, byte in _bytes(vocabulary) if token != separator}
    if len(vocabulary) < LEAST or (len(single) < 256 and not vocabulary.byte_level):
        raise CheckpointError(
            "This model cannot be written for llama2.c: run.c needs a vocabulary with a token for each of the 256 bytes; export it to "
            "hf or gguf."
        )
    never = _NEVER if vocabulary.byte_level else {}
    places = {SEPARATOR: separator} | {never.get(byte, BYTES + byte): token for byte, token in single.items()}
    placed = set(places.values())
    rest = iter([token for token in range(len(vocabulary)) if token not in placed])
    order = [places[number] if number in places else next(rest) for number in range(len(vocabulary))]
    wrong = {
        _BYTE_LEVEL: vocabulary.byte_level,
        _NO_BYTES: len(single) < 256,
        _FIRST: not first,
        _TWO_FIRST: len(first) > 1,
        _ENDS: bool({*ends} - {separator}),
    }
    return order, [note for note, holds in wrong.items() if holds]


def _bytes(vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """(token, the byte that it is looked for as), where there is one."""
    kind = "text" if vocabulary.byte_level else "byte"
    return [
        (token, data[0])
        for token, (data, its) in enumerate(zip(vocabulary.bytes, vocabulary.kinds, strict=True))
        if its == kind and len(data) == 1
    ]


def tokenizer_bin(vocabulary: Vocabulary, order: Sequence[int]) -> bytes:
    """The file: the longest token's length, then of each token its score, its length and its bytes."""
    rows = [(vocabulary.scores[token], _spelled(vocabulary, token, number)) for number, token in enumerate(order)]
    longest = struct.pack("<I", max(len(text) for _, text in rows))
    return longest + b"".join(struct.pack("<fI", score, len(text)) + text for score, text in rows)


def _spelled(vocabulary: Vocabulary, token: int, number: int) -> bytes:
    """As llama2.c's own export spells it: a space for ▁, `<0xHH>` for a byte, lines around the tokens that begin and end."""
    name = vocabulary.spelled[token]
    if vocabulary.byte_level:
        return f"\n{name}\n".encode() if number == SEPARATOR else vocabulary.bytes[token]
    if vocabulary.kinds[token] == "special" and number < BYTES:
        return f"\n{name}\n".encode()
    return name.replace("▁", " ").encode()


def reordered_json(text: str, order: Sequence[int]) -> str:
    """A `tokenizer.json` with the new numbers, for programs that read it beside `model.bin`."""
    data, number = json.loads(text), {token: number for number, token in enumerate(order)}
    vocab = data["model"]["vocab"]
    data["model"]["vocab"] = {name: number[vocab[name]] for name in sorted(vocab, key=lambda name: number[vocab[name]])}
    for added in data.get("added_tokens") or ():
        added["id"] = number[added["id"]]
    data["added_tokens"] = sorted(data.get("added_tokens") or (), key=lambda added: added["id"])
    data["post_processor"] = None  # it names tokens by their old numbers
    return json.dumps(data, ensure_ascii=False) + "\n"
