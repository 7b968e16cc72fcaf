"""Which device and which precision this machine offers."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import torch

from engine.errors import UsageError


def choose_device(name: str | None = None) -> torch.device:
    """The device of that name, or the best one there is; raises `UsageError` where this machine or this torch has none such."""
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:  # torch raises RuntimeError, AssertionError or NotImplementedError by the kind of device
        raise UsageError(f"There is no device {name!r} that this torch can use here; leave it out, or try cpu.") from error
    return device


def supports_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is done by the hardware, so that it gains speed."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False)) if hasattr(torch.cpu, "get_capabilities") else False
    return False


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run many small operations on one thread: on a busy machine, two that wait for each other took 60 times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def give_back() -> None:
    """Give memory that was freed back to the system, where the C library keeps it: a model was read, packed and let go."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)


_THREADS = torch.get_num_threads()
"""Torch's own choice for this machine."""
SMALL = 20_000_000
"""Parameters up to which one thread writes faster than two: a step is too short to be shared out."""


def use_threads(threads: int | None, parameters: int) -> int:
    """Set the CPU threads for writing stories and return how many they are; None chooses by the size of the model."""
    torch.set_num_threads(threads_for(threads, parameters))
    return torch.get_num_threads()


def threads_for(threads: int | None, parameters: int) -> int:
    """How many threads write with a model of that size, where nobody says it; raises `UsageError` for less than one."""
    if threads is not None and threads < 1:
        raise UsageError(f"The number of threads must be at least 1, and {threads} is not.")
    return threads or (1 if parameters <= SMALL else _THREADS)


def describe() -> dict[str, str | int]:
    """This torch and the CPU under it: build, threads, cores."""
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "cores": cores, "cuda": torch.version.cuda or "none"}
