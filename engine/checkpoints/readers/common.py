"""What every reader needs: JSON that is not trusted, text from a file made fit for a sentence, and the limits they share.

Knows no container and no model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError
from engine.growing_files import open_plain

MOST_VALUES = 10_000_000_000
"""Numbers in all tensors of a model together; the largest story model has 0.2 thousand million."""
MOST_DIMENSIONS = 8
MOST_TENSORS = 100_000
LONGEST_NAME = 500
"""Characters in the name of a tensor."""
LARGEST_CONFIG = 1_000_000
"""Bytes of a `config.json`."""
LARGEST_INDEX = 32_000_000
"""Bytes of a list of files or tensors in JSON."""


def shown(text: object, longest: int = 120) -> str:
    """Text from a file in one printable line, cut to a length that fits a sentence."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def listed(names: list[str], most: int = 8) -> str:
    """Names in one line, the first few of them."""
    return ", ".join(shown(name) for name in names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def reason(error: BaseException) -> str:
    """Why something failed, without a full stop."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return shown(str(error).split("\n")[0]).rstrip(". ") or type(error).__name__


def damaged(path: Path, why: str) -> CheckpointError:
    """The refusal of a file that is not whole."""
    return CheckpointError(f"{shown(path, 300)} is cut off or damaged: {why}; fetch or copy it again.")


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """The refusal where the system does not give the file."""
    return CheckpointError(f"{shown(path, 300)} cannot be read ({reason(error)}).")


def read_json(path: Path, largest: int) -> dict[str, Any]:
    """A JSON object of at most `largest` bytes; raises `CheckpointError`."""
    try:
        with open_plain(path) as file:  # a pipe could be read for ever
            data = file.read(largest + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > largest:
        raise CheckpointError(f"{shown(path, 300)} is larger than {largest:,} bytes, so it is not what its name says.")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown(path, 300)} is damaged: it is no JSON ({reason(error)}).") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{shown(path, 300)} is damaged: it is not a JSON object.")
    return found
