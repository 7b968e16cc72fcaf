"""Small real models, tokenizers and texts for tests. The sentences are made up here."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from engine.checkpoints.native import Checkpoint, save_checkpoint
from engine.model import Decoder
from engine.prompts import PromptStyle
from engine.settings import ModelConfig, gpt2_config, llama_config
from engine.tokenizer import BytePairTokenizer

torch.set_num_threads(1)

SENTENCES = [
    f"{who} {did} a {what} in the {place}, and {then}."
    for who in ("Mia", "The old fox", "A small boat", "Grandpa Joe")
    for did, what in (("found", "shiny key"), ("lost", "blue kite"), ("painted", "wooden door"))
    for place in ("garden", "snow", "café by the harbour")
    for then in ("everybody laughed", "it began to rain", "nobody knew why")
]
"""108 sentences that no data set holds."""

SHAPES: dict[str, dict[str, Any]] = {
    "learned": {},
    "learned, windows": {"windows": (None, 6), "attention_scale": 1.0, "qkv_bias": False},
    "learned, exact gelu, own head": {"mlp": "gelu", "tied_head": False, "head_bias": True},
    "rope": {},
    "rope, interleaved": {"rope_style": "interleaved"},
    "rope, partial": {"rope_fraction": 0.5, "norm_eps": 1e-6},
    "rope, grouped": {"kv_heads": 2, "tied_head": False},
    "rope, windows": {"windows": (5, None)},
}
"""Switches of the decoder, by name; `rope…` start from the Llama shape, `learned…` from GPT-2's."""


def tiny_config(shape: str, vocab_size: int = 320, context: int = 16) -> ModelConfig:
    """Two layers of width 32 with the switches of `SHAPES`."""
    build = llama_config if shape.startswith("rope") else gpt2_config
    return build(width=32, layers=2, heads=4, context=context, vocab_size=vocab_size, **SHAPES[shape])


def tiny_model(config: ModelConfig, seed: int = 0, spread: float = 12.0) -> Decoder:
    """A model with random weights, large ones so that its choices are far apart; biases too."""
    network = Decoder(config)
    generator = torch.Generator().manual_seed(seed)
    network.initialise(generator)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
            else:
                parameter.mul_(spread)
    return network.eval().requires_grad_(False)


@functools.cache
def tiny_tokenizer(vocab_size: int = 320) -> BytePairTokenizer:
    return BytePairTokenizer.train(SENTENCES, vocab_size)


def tiny_loaded(shape: str = "rope", context: int = 16, seed: int = 0, style: str = "topic-ending") -> Checkpoint:
    """A checkpoint in memory."""
    tokenizer = tiny_tokenizer()
    network = tiny_model(tiny_config(shape, tokenizer.vocab_size, context), seed)
    return Checkpoint(network, tokenizer, PromptStyle(style, True), "tiny", "tiny", "test")  # type: ignore[arg-type]


def save_tiny(folder: Path, shape: str, style: str = "topic-ending", context: int = 256) -> Path:
    """A checkpoint in a folder."""
    made = tiny_loaded(shape, context, style=style)
    save_checkpoint(folder, made.network, made.tokenizer, made.prompt_style, {"step": 0})
    return folder
