"""The compiled step: one token for every story of a batch in one call, on the CPU.

`CompiledStep.build` packs a network's weights and loads the compiled code, or has it made; then `start`, `read` with a prompt, and
`step` token by token. The plain network stays the reference: `verify` compares the two. Knows no text and draws no tokens.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.cache import KeyValueCache
from engine.decode import library
from engine.decode.crew import Crew
from engine.decode.packing import Packed, pack
from engine.decode.room import make_room
from engine.decode.tables import (
    CHUNK,
    GO,
    MOST,
    NOW,
    Room,
    numbers,
)
from engine.errors import UsageError
from engine.model import Decoder, RotaryTable

MACHINES = ("x86_64", "amd64", "aarch64", "arm64")
MOST_THREADS = 16
"""A step is too short to be shared by more."""
SCREENED_STORIES = 4
"""With more of them the head is read whole: its bytes are shared by all, and what counts are the products."""


@dataclass(frozen=True)
class StepResult:
    """What a step found, for B stories; all are views that the next step overwrites."""

    logits: np.ndarray
    """(B, vocab) float32. Where `screened`, only those that can be among the k likeliest are exact, and all others near and less."""
    highest: np.ndarray
    """(B,) float32: the largest logit, and `total` (B,) float64: Σ e^(logit - highest)."""
    total: np.ndarray
    top_values: np.ndarray
    """(B, k) float32, largest first; always exact."""
    top_ids: np.ndarray
    """(B, k) int64; of equal logits the earlier token comes first."""
    screened: bool = False

    @property
    def logsumexp(self) -> np.ndarray:
        """(B,) float64: log Σ e^logit."""
        return self.highest + np.log(self.total)


def available(folder: Path | None = None) -> str:
    """Empty where the compiled step can be used, else one sentence that says why it cannot.

    `folder` is where compiled code may lie already: then the packages that make it are not needed.
    """
    if platform.machine().lower() not in MACHINES or sys.byteorder != "little" or sys.maxsize < 2**32:
        return f"The compiled step knows 64-bit x86 and ARM processors, and not {platform.machine() or 'this one'}."
    if folder is None or not library.ready(folder):
        for module in ("numba", "llvmlite"):
            if importlib.util.find_spec(module) is None:
                return f"The compiled step needs the package {module}, which is not installed."
    return ""


class CompiledStep:
    """One-token steps of a network for a batch of stories of equal length. Not for several threads at once."""

    def __init__(self, packed: Packed, enter: library.Enter, rotary: RotaryTable | None, context: int, precision: str) -> None:
        self.packed, self.shape, self.precision = packed, packed.shape, precision
        self.rolls, self.context = rotary is not None, context
        self.length = 0
        """Tokens taken up so far."""
        self.begun = 0
        """How often `start` was called: whoever works with a step can see that it is no longer theirs."""
        self._rows = self._top_k = 0
        self._cut_short = False
        self._enter, self._rotary = enter, rotary
        self._angles: tuple[np.ndarray, np.ndarray] | None = None
        self._room: Room | None = None
        self._tables = [numbers(packed.shape), numbers(packed.weights)]
        self._addresses: tuple[int, ...] = ()
        self._crew = Crew(self.shape.threads, enter)
        weakref.finalize(self, self._crew.close)

    @classmethod
    def build(cls, network: Decoder, precision: str, threads: int, cache_dir: Path, vocab: int | None = None) -> CompiledStep:
        """Pack the weights as `precision` and make the code ready: ten seconds where it has to be compiled, none from disk.

        `cache_dir` is where compiled code is kept: a folder of the user's own, as what lies there is run. `vocab` leaves out rows that
        only pad the head. Raises `UsageError` for an unknown precision, a wrong number of threads, a folder that cannot be written, or
        where `available` says no.
        """
        if why := available(cache_dir):
            raise UsageError(why)
        if not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"The number of threads must lie between 1 and {MOST_THREADS}, and {threads} does not.")
        packed = pack(network, precision, threads, vocab)
        rotary = RotaryTable(network.config) if network.config.positions == "rope" else None
        step = cls(packed, library.load(cache_dir), rotary, network.config.context, precision)
        step.start(1, 1)
        return step

    def another(self) -> CompiledStep:
        """A step with the same weights and code, and a room and a crew of its own, for stories beside ours; close it after them."""
        return CompiledStep(self.packed, self._enter, self._rotary, self.context, self.precision)

    @property
    def rows(self) -> int:
        """Stories of the batch."""
        return self._rows

    @property
    def room(self) -> Room:
        if self._room is None:
            raise RuntimeError("start comes first")
        return self._room

    @property
    def capacity(self) -> int:
        """Positions that the cache holds."""
        return int(self.room.keys.shape[3])

    @property
    def full(self) -> bool:
        """No further token can be taken up; never so for rotary positions, whose cache is a ring."""
        return not self.rolls and self.length >= self.capacity

    def start(self, rows: int, capacity: int, top_k: int = 64) -> None:
        """Begin `rows` stories with room for `capacity` tokens each (at most the context); `top_k` up to 256 tokens are picked out.

        The room of an earlier start is used again where it is as large.
        """
        self.begun += 1
        capacity = min(capacity, self.context)
        if rows < 1 or capacity < 1 or not 0 <= top_k <= MOST:
            raise UsageError(f"A batch has at least one story with one token, and a top-k of at most {MOST}.")
        if self._room is None or self.capacity != capacity or self._room.keys.shape[1] < rows:
            self._use(make_room(self.shape, self.packed.rotary, rows, capacity))
        self.length, self._rows = 0, rows
        self._top_k = min(top_k, self.shape.vocab)

    def _use(self, room: Room) -> None:
        self._crew.rest()
        self._room = room
        self._tables[2:] = [numbers(room)]
        self._addresses = tuple(table.ctypes.data for table in self._tables)
        self._crew.equip(self._addresses, self._tables, room)

    def read(self, rows: Sequence[Sequence[int]]) -> StepResult:
        """Begin all stories with these texts of one length, (B, T), or every one with the one text; the logits of the next tokens.

        Raises ValueError where they do not fit.
        """
        texts = np.array(rows, dtype=np.int64)
        self.length, length = 0, texts.shape[1]
        if not 1 <= length <= self.capacity or len(texts) not in (1, self._rows):
            raise ValueError(f"{len(texts)} texts of {length} tokens do not fit {self._rows} stories of {self.capacity}")
        for story, text in enumerate(texts):
            for first in range(0, length, CHUNK):
                part = text[first : first + CHUNK]
                last = first + len(part) == length
                self._call(part, run=len(part), position=first, story=story, read=len(part) - 1 if last else len(part))
        self.length = length
        if len(texts) < self._rows:
            for held in (self.room.keys, self.room.values):
                held[:, 1 : self._rows, :, :length] = held[:, :1, :, :length]
            for told in (self.room.logits, self.room.highest, self.room.total, self.room.top_values, self.room.top_ids):
                told[1 : self._rows] = told[:1]
        return self._found(False)

    def step(self, tokens: np.ndarray | Sequence[int], screened: bool = False) -> StepResult:
        """Take up one token of every story, (B,) int64, and find the logits of the next ones.

        With `screened`, where there is a screen, a top-k and few stories, the exact logits of the likeliest tokens alone (`StepResult`).
        """
        if self.full:
            raise ValueError(f"{self.length + 1} tokens do not fit a cache of {self.capacity}")
        screened = screened and self.packed.screened and self._rows <= SCREENED_STORIES and self._top_k > 0
        self._call(tokens, run=1, position=self.length, story=0, read=0, screened=screened)
        self.length += 1
        return self._found(screened)

    def all_logits(self) -> StepResult:
        """The exact logits of all tokens after a screened step."""
        self._go(self._rows, run=1, position=self.length, story=0, read=0, head_only=True)
        return self._found(False)

    def _call(
        self, tokens: np.ndarray | Sequence[int], run: int, position: int, story: int, read: int, screened: bool = False
    ) -> None:
        room, count = self.room, len(tokens)
        given = room.tokens[:count]
        given[:] = tokens
        if given.min() < 0 or given.max() >= self.table_rows:
            raise ValueError("there is no such token")
        if self._rotary is not None:
            cos, sin = self._turns(position + run - 1)
            room.cos[:run], room.sin[:run] = cos[position : position + run], sin[position : position + run]
        self._go(count, run, position, story, read, screened)

    def _go(
        self, batch: int, run: int, position: int, story: int, read: int, screened: bool = False, head_only: bool = False
    ) -> None:
        if self._cut_short:  # by an interrupt: helpers may still be at work on the step before
            self._crew.rest()
        self._cut_short = True
        turn = NOW * (int(self.room.control[GO]) + 1 & 1)  # a helper that is late may still look at the call before
        self.room.now[turn : turn + NOW] = batch, run, position, story, read, self._top_k, screened, head_only
        self._crew.begin()
        self._enter(*self._addresses, 0, 0)
        self._cut_short = False

    def _found(self, screened: bool) -> StepResult:
        room, rows, k = self.room, self._rows, self._top_k
        return StepResult(
            room.logits[:rows],
            room.highest[:rows],
            room.total[:rows],
            room.top_values[:rows, :k],
            room.top_ids[:rows, :k],
            screened,
        )

    @property
    def table_rows(self) -> int:
        """Tokens that can be looked up."""
        return self.packed.table_rows

    def _turns(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and sines of all positions up to this one at least, (positions, R) each: the plain network's own."""
        if self._angles is None or len(self._angles[0]) <= position:
            assert self._rotary is not None
            self._rotary.slice(position, 1, torch.device("cpu"))
            cos, sin = self._rotary.table  # type: ignore[misc]
            self._angles = cos.numpy(), sin.numpy()
        return self._angles

    def select(self, rows: Sequence[int]) -> None:
        """Keep these stories of the batch, in this order; one may be named several times."""
        picked, room = list(rows), self.room
        if len(picked) > room.keys.shape[1]:
            length = self.length
            self.start(len(picked), self.capacity, self._top_k)
            self.length = length
        for old, new in ((room.keys, self.room.keys), (room.values, self.room.values)):
            for layer in range(len(old)):
                new[layer, : len(picked)] = old[layer, picked]
        self._rows = len(picked)

    def close(self) -> None:
        """End the helping threads; the step must not be used again."""
        self._crew.close()


@torch.inference_mode()
def verify(step: CompiledStep, network: Decoder, ids: Sequence[int]) -> float:
    """The largest difference between the logits of the two, over those logits' spread (standard deviation).

    Both read the first half of `ids` at once and the rest token by token. Below 1e-4 for fp32.
    """
    half, count = max(1, min(len(ids), network.config.context) // 2), step.shape.vocab
    weight = network.embedding.weight
    cache = KeyValueCache(network.config, 1, len(ids), weight.device, weight.dtype)
    step.start(1, len(ids))
    worst = 0.0
    for place in [slice(0, half), *(slice(at, at + 1) for at in range(half, len(ids)))]:
        part = list(ids[place])
        plain = network(torch.tensor([part], device=weight.device), cache, last_only=True)[0, -1, :count].float().cpu()
        found = step.step(part) if place.start else step.read([part])
        worst = max(worst, float((torch.from_numpy(found.logits[0]) - plain).abs().max() / plain.std()))
    return worst
