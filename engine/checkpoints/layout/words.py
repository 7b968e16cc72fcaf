"""A vocabulary in the Hub's files: `tokenizer.json` with the tokens that stand before every text, `tokenizer_config.json`, and a
SentencePiece `tokenizer.model` where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.llama_tokenizer import LlamaTokenizer
from engine.prompts import PromptStyle
from engine.tokenizer import GPT2Tokenizer, Tokenizer


def kind_of(tokenizer: Tokenizer) -> str:
    """How `tinytales.json` calls a tokenizer: `gpt2` (the package's own table), `sentencepiece` (tokenizer.model) or `bpe`."""
    if isinstance(tokenizer, GPT2Tokenizer):
        return "gpt2"
    return "sentencepiece" if isinstance(tokenizer, LlamaTokenizer) and tokenizer.model is not None else "bpe"


def first_tokens(tokenizer: Tokenizer, style: PromptStyle, begin_id: int | None) -> list[int]:
    """What stands before every text that the model reads."""
    return [*([] if begin_id is None else [begin_id]), *([tokenizer.end_id] * style.start_with_end)]


def end_tokens(tokenizer: Tokenizer, end_ids: Sequence[int]) -> list[int]:
    """Every token that ends a story, the tokenizer's own first."""
    return list(dict.fromkeys((tokenizer.end_id, *end_ids)))


def vocabulary_files(tokenizer: Tokenizer, first: Sequence[int], context: int) -> dict[str, bytes]:
    """What to write, by name, so that `AutoTokenizer` gives the tokens that this program gives; `first` come before every text."""
    data = json.loads(tokenizer.to_json())
    names = token_names(data)
    data["post_processor"] = _put_first([(names[token], token) for token in first])
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": names[first[0] if first else tokenizer.end_id],
        "eos_token": names[tokenizer.end_id],
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    if unknown := data["model"].get("unk_token"):
        settings["unk_token"] = unknown
    found = {"tokenizer.json": _as_json(data, None), "tokenizer_config.json": _as_json(settings, 2)}
    if isinstance(tokenizer, LlamaTokenizer) and tokenizer.model is not None:
        found["tokenizer.model"] = tokenizer.model
    return found


def token_names(data: dict[str, Any]) -> dict[int, str]:
    """Every token of a `tokenizer.json` by its number, as it is spelled there."""
    names = {token: name for name, token in data["model"]["vocab"].items()}
    return names | {added["id"]: added["content"] for added in data.get("added_tokens") or ()}


def _put_first(tokens: Sequence[tuple[str, int]]) -> dict[str, Any] | None:
    """The part of a `tokenizer.json` that puts these (name, number) before every text; None for none."""
    if not tokens:
        return None
    before = [{"SpecialToken": {"id": name, "type_id": 0}} for name, _ in tokens]
    texts = [{"Sequence": {"id": which, "type_id": number}} for number, which in enumerate("AB")]
    return {
        "type": "TemplateProcessing",
        "single": [*before, texts[0]],
        "pair": [*before, *texts],
        "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]} for name, token in tokens},
    }


def _as_json(data: Any, indent: int | None) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=indent) + "\n").encode("utf-8", "replace")
