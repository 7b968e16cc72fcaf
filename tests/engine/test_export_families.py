"""Every family of checkpoints that can be read, on its way out: what each format takes, and that it is the same model there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_checkpoints import KINDS

import engine
from engine.checkpoints.exporting import export
from engine.errors import CheckpointError
from engine.llama_tokenizer import LlamaTokenizer
from engine.prompts import prompt_ids
from engine.tokenizer import Tokenizer

HEAD_BIAS, NO_LLAMA = "output head of this model has a bias", "run.c knows only Llama models"
OUT = {
    "separate heads": (HEAD_BIAS, HEAD_BIAS, HEAD_BIAS),
    "copy of llama2.c": ("llama", "", ""),
    "half rotary": ("phi3", "a share of them", ""),
    "nanoGPT": ("gpt2", NO_LLAMA, ""),
    "old state dict": ("gpt2", NO_LLAMA, ""),
    "GPT-Neo": ("gpt_neo", NO_LLAMA, "no architecture for GPT-Neo"),
    "llama2.c": ("llama", "", ""),
    "llama2.c, quantised": ("llama", "", ""),
    "Hub Llama": ("llama", "", ""),
    "Hub GPT-2": ("gpt2", NO_LLAMA, ""),
}
"""Of each kind the layout for hf, and why llama2c and gguf refuse it; nothing where they take it."""


@pytest.mark.parametrize("kind", OUT)
def test_a_family_on_its_way_out(tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    gguf = pytest.importorskip("gguf")
    made = engine.load_checkpoint(KINDS[kind](tmp_path / "made"), device="cpu")
    text = "Once upon a time"
    ids = ([] if made.begin_id is None else [made.begin_id]) + prompt_ids(text, made.prompt_style, made.tokenizer)
    logits = made.network(torch.tensor([ids]))[..., : made.tokenizer.vocab_size]
    tolerance = 1e-5 * max(1.0, float(logits.abs().max()))
    layout, no_llama2c, no_gguf = OUT[kind]
    for to, refusal in (("hf", layout if " " in layout else ""), ("llama2c", no_llama2c), ("gguf", no_gguf)):
        if refusal:
            with pytest.raises(CheckpointError, match=refusal) as refused:
                export(made, to, tmp_path / to)
            assert str(refused.value).endswith(".") and "\n" not in str(refused.value) and not (tmp_path / to).exists()
        else:
            export(made, to, tmp_path / to)
    if layout != HEAD_BIAS:
        back = engine.load_checkpoint(tmp_path / "hf", device="cpu")
        assert back.family == layout and back.tokenizer.encode(text) == made.tokenizer.encode(text)
        assert (back.begin_id, back.end_ids, back.prompt_style) == (made.begin_id, made.end_ids, made.prompt_style)
        torch.testing.assert_close(back.network(torch.tensor([ids]))[..., : logits.shape[-1]], logits, atol=tolerance, rtol=0)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
        words = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
        assert words(text).input_ids == ids
        with torch.inference_mode():
            its = theirs(torch.tensor([ids])).logits[..., : logits.shape[-1]]
        torch.testing.assert_close(its, logits, atol=tolerance, rtol=0)
    if not no_llama2c:
        back = engine.load_checkpoint(tmp_path / "llama2c" / "model.bin", device="cpu")
        separator = made.tokenizer.end_id if made.begin_id is None else made.begin_id
        new = _new_numbers(made.tokenizer, back.tokenizer, separator)
        its = back.network(torch.tensor([[new[token] for token in ids]]))
        torch.testing.assert_close(its[..., new], logits, atol=tolerance, rtol=0)
    if not no_gguf and made.tokenizer.vocab_size < 1_000:  # the library needs seconds for more
        said = gguf.GGUFReader(tmp_path / "gguf" / "model.gguf")
        assert len(said.fields["tokenizer.ggml.tokens"].contents()) == made.tokenizer.vocab_size
        assert said.fields["tokenizer.ggml.model"].contents() == (
            "llama" if isinstance(made.tokenizer, LlamaTokenizer) else "gpt2"
        )


def _new_numbers(before: Tokenizer, after: Tokenizer, separator: int) -> list[int]:
    """Of each token its number in an export for llama2.c: the separator is token 1, the others are known by their bytes, in order."""
    by_bytes: dict[bytes, list[int]] = {}
    for token in range(after.vocab_size):
        if token != 1:
            by_bytes.setdefault(after.token_bytes(token), []).append(token)
    return [1 if token == separator else by_bytes[before.token_bytes(token)].pop(0) for token in range(before.vocab_size)]
