"""What is known of one checkpoint, as lines: facts, memory, files, where it comes from, its configuration, its model card.

`look_into` reads the small files beside the weights, which belongs on a thread; `lines_of` makes the text and is pure. Knows no Textual
and no torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.catalog.entries import Entry
from engine.catalog.fit import Fit, fit
from tinytales_tui import paths
from tinytales_tui.checkpoints.card import Card, Line, read_card
from tinytales_tui.checkpoints.rows import weights_words
from tinytales_tui.figures import duration, facts, size
from tinytales_tui.text import one_line

_JSON_LIMIT = 2_000_000
_SHOWN_JSON = 40_000
"""Characters of a configuration that are shown."""
_FILES = 40
_STYLES = {
    "topic-ending": "topic and ending", "instruct-fields": "TinyStories-Instruct fields", "plain": "plain continuation",
}  # fmt: skip


@dataclass(frozen=True)
class Inside:
    """What lies beside the weights of a checkpoint."""

    config: str = ""
    """`config.json`, indented; empty where there is none."""
    provenance: tuple[tuple[str, str], ...] = ()
    """Names and values out of `tinytales.json`."""
    card: Card | None = None
    fit: Fit | None = None
    """The memory that it needs here; None where its size is not known."""


def look_into(entry: Entry) -> Inside:
    """Read the small files of a checkpoint; what cannot be read is left out."""
    folder = entry.path if entry.path.is_dir() else entry.path.parent
    config = _read_json(folder / "config.json")
    words = json.dumps(config, indent=2, ensure_ascii=False) if config is not None else ""
    if len(words) > _SHOWN_JSON:
        words = words[:_SHOWN_JSON] + f"\n… (cut here; all of it is in {paths.shown(folder / 'config.json')})"
    own = _read_json(folder / "tinytales.json")
    return Inside(words, _provenance(own), read_card(folder / "README.md"), fit(entry.facts) if entry.facts.known else None)


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > _JSON_LIMIT:
            return None
        return json.loads(path.read_text("utf-8", "replace"))
    except (OSError, ValueError, RecursionError):
        return None


def _provenance(own: Any) -> tuple[tuple[str, str], ...]:
    """The values of `tinytales.json`, one level deep, as words."""
    if not isinstance(own, dict):
        return ()
    found = []
    for name, value in list(own.items())[:40]:
        if isinstance(value, dict):
            inner = [f"{key} {one}" for key, one in list(value.items())[:12] if isinstance(one, (str, int, float))]
            value = ", ".join(inner)
        if isinstance(value, (str, int, float, bool)) and value != "":
            found.append((str(name).replace("_", " "), one_line(str(value), 300)))
    return tuple(found)


def lines_of(
    entry: Entry, inside: Inside | None, standing: bool = False, damaged: bool = False, chosen: Sequence[str] = ()
) -> list[Line]:
    """The page on a checkpoint; without `inside` it says that the rest is being read. `chosen`: what a person wants otherwise."""
    lines: list[Line] = [("heading", one_line(entry.name, 200))]
    lines += _remarks(entry, standing, damaged)
    if chosen:
        lines.append(("good", f"As you chose: {one_line(', '.join(chosen), 300)}."))
    lines += _facts(entry, inside)
    lines += [("text", ""), ("heading", "Files")]
    for file in sorted(entry.files, key=lambda file: -file.size)[:_FILES]:
        lines.append(("text", f"{size(file.size):>10}  {one_line(file.name, 200)}"))
    if len(entry.files) > _FILES:
        lines.append(("muted", f"and {len(entry.files) - _FILES} more"))
    lines += [("text", ""), ("heading", "Where it comes from"), *_origin(entry)]
    if inside is None:
        return [*lines, ("text", ""), ("muted", "Reading its configuration and its model card…")]
    if inside.provenance:
        lines += [("text", ""), ("heading", "What its training noted"), *_pairs(inside.provenance)]
    if inside.config:
        lines += [("text", ""), ("heading", "Configuration"), *(("code", line) for line in inside.config.split("\n"))]
    lines += [("text", ""), ("heading", "Model card")]
    card = inside.card.lines if inside.card is not None else ()
    return [*lines, *(card or [("muted", "It has none.")])]


def _remarks(entry: Entry, standing: bool, damaged: bool) -> list[Line]:
    found: list[Line] = []
    if entry.facts.refused:
        found.append(("warning", f"It cannot be opened: {entry.facts.refused}"))
    if damaged:
        found.append(("warning", "Its files do not match their checksums: delete it and download it again."))
    if entry.partial:
        found.append(("warning", f"Not all of it is here; missing: {entry.partial}."))
    if entry.newer:
        found.append(("good", f"The Hub has a newer version of it ({entry.newer[:8]})."))
    if entry.in_use:
        found.append(("good", f"In use: {one_line(entry.in_use, 200)}."))
    if standing:
        found.append(("good", "The standing checkpoint: it is used wherever none is named."))
    if entry.facts.known and not entry.facts.safe and not entry.facts.refused:
        found.append(("muted", "Its format (a Python pickle) could hold code; only tensors are read from it, code is never run."))
    return found


def _facts(entry: Entry, inside: Inside | None) -> list[Line]:
    known = entry.facts
    losses = [f"{entry.val_loss:.4f} nats a token"] if entry.val_loss is not None else []
    losses += [f"{entry.bits_per_byte:.4f} bits a byte"] if entry.bits_per_byte is not None else []
    pairs = [
        ("family", known.family or "not known"),
        ("parameters", f"{known.parameters:,}" if known.parameters else ""),
        ("weights", f"{weights_words(entry)}{', a scale a row' if known.stored_as == 'int8' else ''}"),
        ("shape", f"{known.layers} layers of width {known.width:,}" if known.layers and known.width else ""),
        ("context", f"{known.context:,} tokens" if known.context else ""),
        ("tokenizer", known.tokenizer),
        ("vocabulary", f"{known.vocabulary:,} rows" if known.vocabulary else ""),
        ("prompt", _STYLES.get(known.prompt_style, known.prompt_style)),
        ("validation", ", ".join(losses)),
        ("format", f"{known.format}{', cannot hold code' if known.safe else ''}" if known.format else ""),
        ("size", size(entry.size) if entry.size else ""),
        ("last used", f"{duration(time.time() - entry.last_used)} ago" if entry.last_used else ""),
        ("licence", entry.licence or (inside.card.licence if inside and inside.card else "") or "not stated"),
    ]
    lines = _pairs([(name, words) for name, words in pairs if words])
    if inside is not None and inside.fit is not None:
        need = f"Needs about {size(inside.fit.needed_bytes)} of memory; {size(inside.fit.available_bytes)} are free here"
        lines.append(("good", f"{need}: it fits.") if inside.fit.fits else ("warning", f"{need}: it does not fit."))
    return lines


def _origin(entry: Entry) -> list[Line]:
    pairs = [
        ("origin", {"shipped": "travels with the program", "run": f"training run {entry.run}", "hub": "the Hugging Face Hub",
                    "folder": "a folder you added"}[entry.origin]),
        ("step", f"{entry.step:,}" if entry.step is not None else ""),
        ("repository", entry.repo),
        ("refs", ", ".join(entry.refs)),
        ("commit", entry.revision),
        ("use it as", f"--checkpoint {entry.source}"),
        ("path", paths.shown(entry.path)),
    ]  # fmt: skip
    return _pairs([(name, words) for name, words in pairs if words])


def _pairs(pairs: Any) -> list[Line]:
    return [("text", line) for line in facts(list(pairs))]
