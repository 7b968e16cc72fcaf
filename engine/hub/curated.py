"""Story models that are known to open here, for a person who does not know yet what to look for. Whether each is still there is asked
when it is shown, never taken for granted.

Names, sizes and families are those of the models' own pages and files.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """One story model on the Hub."""

    repo: str
    title: str
    """What it is, in a few words."""
    family: str
    parameters: int | None
    file: str = ""
    """The file to take, where the repository holds several models."""

    @property
    def source(self) -> str:
        """What `--checkpoint` takes."""
        return f"{self.repo}/{self.file}" if self.file else self.repo


_NEO, _PER_HEAD, _LLAMA2C, _HUB_LLAMA = "GPT-Neo (TinyStories)", "GPT-2 with separate heads", "llama2.c", "Llama (Hub)"
_PAPER = "from the TinyStories paper"
_INSTRUCT = "TinyStories-Instruct: words, features and a summary"

KNOWN: tuple[Known, ...] = (
    Known("0rn0/gpt2-30m-tinystories-sft", "topic and ending, GPT-2 shape", _PER_HEAD, 49_491_793),
    Known("0rn0/gpt2-125m-tinystories-sft", "topic and ending, GPT-2 shape", _PER_HEAD, 162_694_225),
    Known("0rn0/llama2-15m-tinystories-sft", "topic and ending, Llama shape", _LLAMA2C, 15_191_712),
    Known("0rn0/gpt2-30m-tinystories", "goes on from your words", _PER_HEAD, 49_491_793),
    Known("0rn0/gpt2-125m-tinystories", "goes on from your words", _PER_HEAD, 162_694_225),
    Known("0rn0/llama2-15m-tinystories", "goes on from your words", _LLAMA2C, 15_191_712),
    Known("roneneldan/TinyStories-33M", _PAPER, _NEO, 68_514_048),
    Known("roneneldan/TinyStories-28M", _PAPER, _NEO, 51_987_968),
    Known("roneneldan/TinyStories-8M", _PAPER, _NEO, 19_702_528),
    Known("roneneldan/TinyStories-3M", _PAPER, _NEO, 8_278_400),
    Known("roneneldan/TinyStories-1M", _PAPER, _NEO, 3_745_984),
    Known("roneneldan/TinyStories-2Layers-33M", f"{_PAPER}, two layers", _NEO, 78_748_672),
    Known("roneneldan/TinyStories-1Layer-21M", f"{_PAPER}, one layer", _NEO, 66_155_520),
    Known("roneneldan/TinyStories-Instruct-33M", _INSTRUCT, _NEO, 68_514_048),
    Known("roneneldan/TinyStories-Instruct-28M", _INSTRUCT, _NEO, 51_987_968),
    Known("roneneldan/TinyStories-Instruct-8M", _INSTRUCT, _NEO, 19_702_528),
    Known("roneneldan/TinyStories-Instruct-3M", _INSTRUCT, _NEO, 8_278_400),
    Known("roneneldan/TinyStories-Instruct-1M", _INSTRUCT, _NEO, 3_745_984),
    Known("roneneldan/TinyStories-Instruct-2Layers-33M", _INSTRUCT, _NEO, 78_748_672),
    Known("roneneldan/TinyStories-Instuct-1Layer-21M", _INSTRUCT, _NEO, 66_155_520),  # spelled so on the Hub
    Known("karpathy/tinyllamas", "llama2.c's 110M", _LLAMA2C, 109_529_856, "stories110M.pt"),
    Known("karpathy/tinyllamas", "llama2.c's 42M", _LLAMA2C, 41_689_600, "stories42M.pt"),
    Known("karpathy/tinyllamas", "llama2.c's 15M", _LLAMA2C, 15_191_712, "stories15M.pt"),
    Known("karpathy/tinyllamas", "llama2.c's smallest, 260K", _LLAMA2C, 260_032, "stories260K/stories260K.pt"),
    Known("Xenova/llama2.c-stories110M", "llama2.c's 110M for transformers", _HUB_LLAMA, 109_529_856),
    Known("Xenova/llama2.c-stories42M", "llama2.c's 42M for transformers", _HUB_LLAMA, 41_689_600),
    Known("Xenova/llama2.c-stories15M", "llama2.c's 15M for transformers", _HUB_LLAMA, 15_191_712),
    Known("karthyick/tinystories-24.5m-article-generation", "own vocabulary of 10,000", "half-rotary Llama, 24.5M", 24_557_120),
    Known("adamroberts/tinystories-5090", "124M, GPT-2 of the Hub", "GPT-2 (Hub)", 124_439_808),
    Known("abhilash88/tinystories-slm-gpt", "from a notebook, nanoGPT shape", "nanoGPT", None),
)
