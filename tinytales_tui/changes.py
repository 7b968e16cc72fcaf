"""Training settings on the command line: `--set KEY=VALUE`, and each setting as an option of its own. Knows no Textual."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from typing import Any

from engine.errors import UsageError
from tinytales_tui.text import one_line


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """The values by key, each read as TOML, or as a string where it is none; raises `UsageError` for what is no KEY=VALUE."""
    return dict(_parse(text) for text in texts)


def _parse(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set takes KEY=VALUE, as in --set steps=500, and {text!r} is not that.")
    return key.strip().replace("-", "_"), read_value(value)


def read_value(text: str) -> Any:
    """A value as TOML has it, or the text itself where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, or a number of thousands of digits
        return text


def setting_options(words: Sequence[str]) -> dict[str, Any]:
    """Training settings given as options: `--steps 500`, `--learning-rate=1e-3`, `--compile`, `--no-compile`.

    Raises `UsageError` for an option that is no setting, with the nearest ones.
    """
    from engine.training.settings import options

    known = options()
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        negated = key.removeprefix("no_")
        if not word.startswith("--"):
            raise UsageError(f"{one_line(word, 60)!r} stands alone; story files are named with --data.")
        if negated in known and known[negated].kind == "switch" and not equals:
            values[negated] = key == negated
            continue
        if key not in known:
            near = difflib.get_close_matches(key, known, 3)
            hint = f" Perhaps --{', --'.join(near).replace('_', '-')}?" if near else " `train --settings` lists them."
            raise UsageError(f"There is no option or setting {one_line(word.partition('=')[0], 60)}.{hint}")
        if not equals:
            if not rest:
                raise UsageError(f"{word} needs a value.")
            value = rest.pop(0)
        if known[key].kind == "texts":
            listed = read_value(value) if value.startswith("[") else None
            values[key] = [*values.get(key, []), *(listed if isinstance(listed, list) else [value])]
        else:
            values[key] = value if known[key].kind in ("text", "choice") else read_value(value)
    return values
