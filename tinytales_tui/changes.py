"""`--set KEY=VALUE`, as `train` and `runs resume` take it. Knows no Textual."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

from engine.errors import UsageError


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """The values by key, each read as TOML, or as a string where it is none; raises `UsageError` for what is no KEY=VALUE."""
    return dict(_parse(text) for text in texts)


def _parse(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set takes KEY=VALUE, as in --set steps=500, and {text!r} is not that.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value
