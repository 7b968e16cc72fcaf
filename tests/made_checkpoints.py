"""Real miniature checkpoints of every kind on disk, under the original names of their families, each with all that it takes to load it.

`KINDS[name](folder)` makes one and returns what `load_checkpoint` takes. Opening them really works; their stories are nonsense.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from small import save_tiny, tiny_tokenizer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent / "engine"))

import made_words
import original_gpt
import original_llama
import weight_files

GPT2_ROWS = 50_257
WORDS = 400
"""Tokens of the SentencePiece vocabularies."""


def apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """With memory of its own for each, as safetensors wants it."""
    return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


def with_rows(tensors: dict[str, Tensor], rows: int, *names: str) -> dict[str, Tensor]:
    """With other numbers of rows in these tensors; those that were one stay one."""
    generator, made = torch.Generator().manual_seed(9), dict[int, Tensor]()
    for name in names:
        key = tensors[name].data_ptr()
        if key not in made:
            made[key] = torch.randn(rows, *tensors[name].shape[1:], generator=generator) * 0.1
        tensors[name] = made[key]
    return tensors


def per_head(folder: Path) -> Path:
    """A tuned GPT-2 with separate heads: safetensors, with a config."""
    folder = folder / "gpt2-30m-tinystories-sft"
    folder.mkdir(parents=True)
    names = ("embeddings.token_embedding.weight", "output_layer.weight", "output_layer.bias")
    save_file(apart(with_rows(original_gpt.per_head_tensors(), GPT2_ROWS, *names)), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_heads": original_gpt.HEADS, "dropout_rate": 0.1}))
    return folder


def llama2c_copy(folder: Path) -> Path:
    """A tuned copy of llama2.c in bfloat16 safetensors, of whose tied pair one name is there, with a SentencePiece model."""
    folder = folder / "llama2-15m-tinystories-sft"
    folder.mkdir(parents=True)
    tensors = with_rows(original_llama.tensors(original_llama.LLAMA2C_PARTS), WORDS, "tok_embeddings.weight", "output.weight")
    del tensors["tok_embeddings.weight"]
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in apart(tensors).items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(original_llama.LLAMA2C | {"vocab_size": WORDS}))
    (folder / "tokenizer.model").write_bytes(made_words.model(WORDS))
    return folder


def half_rotary(folder: Path) -> Path:
    """A training checkpoint with numbers of numpy in it, whose tied matrix is stored once under two names."""
    folder.mkdir(parents=True)
    tensors = with_rows(original_llama.tensors(original_llama.HALF_ROTARY_PARTS), 320, "token_embedding.weight", "lm_head.weight")
    about = {"epoch": 3, "global_step": 100, "model_state_dict": tensors, "config": original_llama.HALF_ROTARY}
    torch.save(about, folder / "best.pth")
    (folder / "tokenizer.json").write_text(tiny_tokenizer().to_json())
    return folder / "best.pth"


def inverted(folder: Path) -> Path:
    """The design that is refused."""
    folder.mkdir(parents=True)
    torch.save(
        {f"_orig_mod.{name}": tensor for name, tensor in original_gpt.inverted_tensors().items()}, folder / "best_model.pth"
    )
    return folder / "best_model.pth"


def nanogpt(folder: Path) -> Path:
    """nanoGPT's own training checkpoint."""
    folder.mkdir(parents=True)
    tensors = with_rows(original_gpt.nanogpt_tensors(bias=False), GPT2_ROWS, "transformer.wte.weight", "lm_head.weight")
    arguments = {"n_layer": 2, "n_head": original_gpt.HEADS, "n_embd": original_gpt.WIDTH, "vocab_size": GPT2_ROWS}
    state = {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"model": state, "model_args": arguments, "iter_num": 500}, folder / "ckpt.pt")
    return folder / "ckpt.pt"


def old_state_dict(folder: Path) -> Path:
    """A bare state dict as PyTorch wrote it before 1.6, with the head stored a second time."""
    folder.mkdir(parents=True)
    tensors = with_rows(original_gpt.nanogpt_tensors(), GPT2_ROWS, "transformer.wte.weight", "lm_head.weight")
    torch.save(apart(tensors), folder / "best_model_params.pt", _use_new_zipfile_serialization=False)
    (folder / "config.json").write_text(json.dumps({"n_head": original_gpt.HEADS}))
    return folder


def neo(folder: Path) -> Path:
    """A GPT-Neo as on the Hub: pytorch_model.bin, masks and all."""
    folder = folder / "TinyStories-Instruct-1M"
    folder.mkdir(parents=True)
    tensors = with_rows(original_gpt.neo_tensors(), GPT2_ROWS, "transformer.wte.weight")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(original_gpt.neo_config() | {"vocab_size": GPT2_ROWS}))
    return folder


def llama2c_bin(folder: Path) -> Path:
    """llama2.c's own file, with its own vocabulary."""
    folder.mkdir(parents=True)
    shape = weight_files.LLAMA | {"vocab_size": WORDS, "dim": 32}
    (folder / "stories.bin").write_bytes(weight_files.llama2c_bytes(weight_files.llama_tensors(shape), 0, shape))
    (folder / "tok400.bin").write_bytes(made_words.llama2c_bin(made_words.model(WORDS)))
    return folder / "stories.bin"


def llama2c_quantised(folder: Path) -> Path:
    """The same, version 2, with an output matrix of its own."""
    folder.mkdir(parents=True)
    shape = weight_files.LLAMA | {"vocab_size": WORDS}
    (folder / "q8.bin").write_bytes(weight_files.llama2c_bytes(weight_files.llama_tensors(shape, tied=False), 2, shape))
    (folder / "tokenizer.model").write_bytes(made_words.model(WORDS))
    return folder


def hub_llama(folder: Path) -> Path:
    """A Llama of the Hub in two shards with an index."""
    folder.mkdir(parents=True)
    tensors = original_llama.tensors(original_llama.HUB_PARTS)
    tensors = with_rows(tensors, 320, "model.embed_tokens.weight", "lm_head.weight")
    del tensors["lm_head.weight"]
    names = sorted(tensors)
    table: dict[str, str] = {}
    for at, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{at}-of-00002.safetensors"
        save_file({name: tensors[name].clone() for name in part}, folder / file)
        table |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    (folder / "config.json").write_text(json.dumps(original_llama.HUB | {"vocab_size": 320}))
    (folder / "tokenizer.json").write_text(tiny_tokenizer().to_json())
    return folder


def hub_gpt2(folder: Path) -> Path:
    """A GPT-2 of the Hub without the prefix of its names, and a head of its own."""
    folder.mkdir(parents=True)
    tensors = with_rows(original_gpt.hub_tensors(stem=""), GPT2_ROWS, "wte.weight")
    tensors["lm_head.weight"] = tensors["wte.weight"] + 1
    save_file(apart(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(original_gpt.hub_config() | {"tie_word_embeddings": False}))
    return folder


def own(shape: str) -> Callable[[Path], Path]:
    """A checkpoint of this program, with the switches of `small.SHAPES`."""
    return lambda folder: save_tiny(folder / "own", shape)


KINDS: dict[str, Callable[[Path], Path]] = {
    "separate heads": per_head,
    "copy of llama2.c": llama2c_copy,
    "half rotary": half_rotary,
    "inverted": inverted,
    "nanoGPT": nanogpt,
    "old state dict": old_state_dict,
    "GPT-Neo": neo,
    "llama2.c": llama2c_bin,
    "llama2.c, quantised": llama2c_quantised,
    "Hub Llama": hub_llama,
    "Hub GPT-2": hub_gpt2,
    "own Llama": own("rope"),
    "own GPT-2": own("learned"),
    "own, grouped": own("rope, grouped"),
}
"""By name; `inverted` is the one that is refused."""


def files_of(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tiny_files(folder: Path, **card: Any) -> dict[str, bytes]:
    """A small checkpoint of this program as files, with further values for its `tinytales.json`; made in `folder`."""
    made = files_of(save_tiny(folder, "rope"))
    if card:
        made["tinytales.json"] = json.dumps(json.loads(made["tinytales.json"]) | card).encode()
    return made
