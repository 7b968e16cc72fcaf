"""A tokenizer as a table: spelling, kind and score of every token, and the merges.

What it is read from is its `tokenizer.json`; knows no other program's file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from engine.checkpoints.layout.words import token_names
from engine.llama_tokenizer import LlamaTokenizer, Piece
from engine.tokenizer import Tokenizer

Kind = Literal["text", "byte", "special", "unknown"]


@dataclass(frozen=True)
class Vocabulary:
    """All that another program needs to divide and join texts in the same way."""

    byte_level: bool
    """Byte-level BPE as in GPT-2; else Llama's kind, characters with bytes as a last resort."""
    spelled: tuple[str, ...]
    """Of each token, as `tokenizer.json` has it: in GPT-2's alphabet of bytes, or with ▁ for a space."""
    bytes: tuple[bytes, ...]
    """What each token stands for; nothing for a special one."""
    kinds: tuple[Kind, ...]
    scores: tuple[float, ...]
    """The higher, the sooner two tokens become this one. Where the file has none: minus the place among the merges."""
    merges: tuple[tuple[str, str], ...]
    """The first first."""
    end_id: int
    puts_space_first: bool
    splits_like_gpt2: bool
    """Whether texts are first divided into words as GPT-2's are, by the same pattern; of no meaning for Llama's kind."""

    def __len__(self) -> int:
        return len(self.spelled)


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """The table of any tokenizer of this program."""
    data = json.loads(tokenizer.to_json())
    model, names = data["model"], token_names(data)
    llama = isinstance(tokenizer, LlamaTokenizer)
    merges = tuple(
        (a, b) for a, b in (merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", ()))
    )
    spelled = tuple(names.get(token, f"<unused {token}>") for token in range(tokenizer.vocab_size))
    special = {added["id"] for added in data.get("added_tokens") or () if added.get("special")}
    kinds = tuple(_kind(token, name, special, model.get("unk_token"), llama) for token, name in enumerate(spelled))
    return Vocabulary(
        not llama,
        spelled,
        tuple(tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)),
        kinds,
        _scores(tokenizer, spelled, merges),
        merges,
        tokenizer.end_id,
        llama and tokenizer.puts_space_first,  # type: ignore[attr-defined]
        not llama and _splits_like_gpt2(data.get("pre_tokenizer"), data.get("normalizer")),
    )


def _kind(token: int, name: str, special: set[int], unknown: str | None, llama: bool) -> Kind:
    if llama and name == unknown:
        return "unknown"
    if token in special:
        return "special"
    return "byte" if llama and Piece(name, 0.0).byte is not None else "text"


def _scores(tokenizer: Tokenizer, spelled: tuple[str, ...], merges: tuple[tuple[str, str], ...]) -> tuple[float, ...]:
    pieces = getattr(tokenizer, "pieces", None)
    if pieces is not None:
        return tuple(piece.score for piece in pieces)
    rank: dict[str, int] = {}
    for left, right in merges:
        rank.setdefault(left + right, len(rank))
    return tuple(-float(rank.get(name, len(rank))) for name in spelled)


def _splits_like_gpt2(pre_tokenizer: dict[str, Any] | None, normalizer: dict[str, Any] | None) -> bool:
    settings = pre_tokenizer or {}
    return (
        normalizer is None
        and settings.get("type") == "ByteLevel"
        and settings.get("use_regex", True) is True
        and settings.get("add_prefix_space") is False
    )
