"""The compiled step: one token for every story of a batch in one call, on the CPU.

`CompiledStep.build` packs a network's weights and compiles the kernels, or loads them from disk; then `start`, `take_prefill` with what
the plain network read of the prompt, and `step` token by token. The plain network stays the reference: `verify` compares the two. Knows
no text and draws no tokens. Numba is imported by `build` only, about 0.2 s.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pickle
import platform
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from engine.cache import KeyValueCache
from engine.decode.crew import Crew
from engine.decode.packing import Packed, pack
from engine.decode.room import make_room
from engine.decode.tables import BATCH, LIKELIEST, POSITION, Room
from engine.errors import UsageError
from engine.model import Decoder, RotaryTable

MACHINES = ("x86_64", "amd64", "aarch64", "arm64")
SOURCES = ("arithmetic", "attention", "kernels", "likeliest", "machine", "products", "tables", "tiles", "widths")
"""The modules that compiled code is made from."""
MOST_THREADS = 16
"""A step is too short to be shared by more."""
_loading = threading.Lock()


@dataclass(frozen=True)
class StepResult:
    """What a step found, for B stories; all are views that the next step overwrites."""

    logits: np.ndarray
    """(B, vocab) float32."""
    logsumexp: np.ndarray
    """(B,) float32: log Σ e^logit."""
    top_values: np.ndarray
    """(B, k) float32, largest first."""
    top_ids: np.ndarray
    """(B, k) int64; of equal logits the earlier token comes first."""


def available() -> str:
    """Empty where the compiled step can be used, else one sentence that says why it cannot."""
    for module in ("numba", "llvmlite"):
        if importlib.util.find_spec(module) is None:
            return f"The compiled step needs the package {module}, which is not installed."
    if platform.machine().lower() not in MACHINES or sys.byteorder != "little" or sys.maxsize < 2**32:
        return f"The compiled step knows 64-bit x86 and ARM processors, and not {platform.machine() or 'this one'}."
    return ""


def load_kernels(cache_dir: Path) -> ModuleType:
    """The compiled functions, kept below `cache_dir` across runs; the first folder of a process serves all later calls."""
    with _loading:
        name = "engine.decode.kernels"
        if name in sys.modules:
            return sys.modules[name]
        import numba
        from numba.core import config

        folder = cache_dir / _digest(numba.__version__)
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UsageError(f"Compiled code cannot be kept in {cache_dir} ({error.strerror}); choose another folder.") from error
        before = config.CACHE_DIR
        config.CACHE_DIR = str(folder)
        try:
            return importlib.import_module(name)
        finally:
            config.CACHE_DIR = before


def _make_ready(kernels: ModuleType, packed: Packed) -> None:
    """Load or compile every function that Python calls, by a step on one thread; all later steps have the same types."""
    shape = packed.shape._replace(threads=1)
    room = make_room(shape, packed.rotary, rows=1, capacity=1, most=1, block=kernels.BLOCK)
    room.now[BATCH] = 1
    kernels.announce(room.control, room.tickets, 1)
    kernels.serve(shape, packed.weights, room, 0, 0)


def _digest(version: str) -> str:
    """A name for this state of the sources: numba looks at the date of one file only, which a new release may share."""
    digest = hashlib.sha256(version.encode())
    for module in SOURCES:
        digest.update((Path(__file__).parent / f"{module}.py").read_bytes())
    return digest.hexdigest()[:16]


class CompiledStep:
    """One-token steps of a network for a batch of stories of equal length. Not for several threads at once."""

    def __init__(self, packed: Packed, kernels: ModuleType, rotary: RotaryTable | None, context: int, precision: str) -> None:
        self.packed, self.shape, self.precision = packed, packed.shape, precision
        self.rolls, self.context = rotary is not None, context
        self.length = 0
        """Tokens taken up so far."""
        self._kernels, self._rotary = kernels, rotary
        self._angles: tuple[np.ndarray, np.ndarray] | None = None
        self._room: Room | None = None
        self._crew = Crew(self.shape.threads, kernels.announce, kernels.serve)
        weakref.finalize(self, self._crew.close)

    @classmethod
    def build(cls, network: Decoder, precision: str, threads: int, cache_dir: Path, vocab: int | None = None) -> CompiledStep:
        """Pack the weights as `precision` and make the kernels ready: seconds when they are compiled, a part of one from disk.

        `cache_dir` is where compiled code is kept: a folder of the user's own, as what lies there is run. `vocab` leaves out rows that
        only pad the head. Raises `UsageError` for an unknown precision, a wrong number of threads, a folder that cannot be written, or
        where `available` says no.
        """
        if why := available():
            raise UsageError(why)
        if not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"The number of threads must lie between 1 and {MOST_THREADS}, and {threads} does not.")
        packed = pack(network, precision, threads, vocab)
        rotary = RotaryTable(network.config) if network.config.positions == "rope" else None
        kernels = load_kernels(cache_dir)
        try:
            _make_ready(kernels, packed)
        except (pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError):
            # What lay in the folder is damaged: it is made again, and what fails then is no matter of the folder.
            for file in cache_dir.rglob("*.nb?"):
                file.unlink(missing_ok=True)
            _make_ready(kernels, packed)
        step = cls(packed, kernels, rotary, network.config.context, precision)
        step.start(1, 1)
        return step

    @property
    def rows(self) -> int:
        """Stories of the batch."""
        return int(self.room.now[BATCH])

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
        from engine.decode.likeliest import BLOCK, MOST

        capacity = min(capacity, self.context)
        if rows < 1 or capacity < 1 or not 0 <= top_k <= MOST:
            raise UsageError(f"A batch has at least one story with one token, and a top-k of at most {MOST}.")
        if self._room is None or self.capacity != capacity or self._room.keys.shape[1] < rows:
            self._use(make_room(self.shape, self.packed.rotary, rows, capacity, min(MOST, self.shape.vocab), BLOCK))
        self.length = 0
        self.room.now[BATCH], self.room.now[LIKELIEST] = rows, min(top_k, self.shape.vocab)

    def _use(self, room: Room) -> None:
        self._crew.rest()
        self._room = room
        self._crew.equip(self.shape, self.packed.weights, room)

    def take_prefill(self, keys: Tensor, values: Tensor, length: int) -> None:
        """Go on from what a `KeyValueCache` holds: `keys` and `values` (layers, B or 1, K, capacity, D) and the tokens taken up.

        One row serves all stories. Raises ValueError where the tokens do not fit, or a ring of another size has rolled over.
        """
        held, dim = min(length, keys.shape[3]), keys.shape[4]
        if held > self.capacity or (length > keys.shape[3] and keys.shape[3] != self.capacity):
            raise ValueError(f"{length} tokens of a cache of {keys.shape[3]} do not fit one of {self.capacity}")
        for room, given in ((self.room.keys, keys), (self.room.values, values)):
            room[:, : self.rows, :, :held, :dim] = given[:, :, :, :held].float().cpu().numpy()
        self.length = length

    def step(self, tokens: np.ndarray | Sequence[int]) -> StepResult:
        """Read one token of every story, (B,) int64, and find the logits of the next ones."""
        room, rows = self.room, self.rows
        if self.full:
            raise ValueError(f"{self.length + 1} tokens do not fit a cache of {self.capacity}")
        room.tokens[:rows] = tokens
        if room.tokens[:rows].min() < 0 or room.tokens[:rows].max() >= self.table_rows:
            raise ValueError("there is no such token")
        room.now[POSITION] = self.length
        if self._rotary is not None:
            cos, sin = self._turns(self.length)
            room.cos[:], room.sin[:] = cos[self.length], sin[self.length]
        self._crew.begin()
        self._kernels.serve(self.shape, self.packed.weights, room, 0, 0)
        self.length += 1
        k = int(room.now[LIKELIEST])
        return StepResult(room.logits[:rows], room.logsumexp[:rows], room.top_values[:rows, :k], room.top_ids[:rows, :k])

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
            length, k = self.length, int(room.now[LIKELIEST])
            self.start(len(picked), self.capacity, k)
            self.length = length
        for old, new in ((room.keys, self.room.keys), (room.values, self.room.values)):
            for layer in range(len(old)):
                new[layer, : len(picked)] = old[layer, picked]
        self.room.now[BATCH] = len(picked)

    def close(self) -> None:
        """End the helping threads; the step must not be used again."""
        self._crew.close()


@torch.inference_mode()
def verify(step: CompiledStep, network: Decoder, ids: Sequence[int]) -> float:
    """The largest difference between the logits of the two, over those logits' spread (standard deviation).

    The plain network reads the first half of `ids`, both read the rest token by token. Below 1e-4 for fp32.
    """
    half, count = max(1, min(len(ids), network.config.context) // 2), step.shape.vocab
    weight = network.embedding.weight
    cache = KeyValueCache(network.config, 1, len(ids), weight.device, weight.dtype)
    network(torch.tensor([list(ids[:half])], device=weight.device), cache, last_only=True)
    step.start(1, len(ids))
    step.take_prefill(cache.keys, cache.values, cache.length)
    worst = 0.0
    for token in ids[half:]:
        plain = network(torch.tensor([[token]], device=weight.device), cache, last_only=True)[0, -1, :count].float().cpu()
        found = torch.from_numpy(step.step([token]).logits[0])
        worst = max(worst, float((found - plain).abs().max() / plain.std()))
    return worst
