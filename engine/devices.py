"""Which device and which precision this machine offers."""

from __future__ import annotations

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
