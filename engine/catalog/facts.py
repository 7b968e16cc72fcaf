"""From the headers of a checkpoint's files to `Facts`. Reads no weight, opens no pickle, and knows no torch.

Another program's checkpoint goes through the same recognition and the same adapters as when it is loaded, with outlines of its tensors
in place of them, so the words here are those of `load_checkpoint`. What only the numbers tell, whether all are finite, is not known.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from engine import files
from engine.catalog.entries import Facts
from engine.catalog.vocabularies import MISSING, Vocabulary, beside, of_json, of_model
from engine.checkpoints.foreign import Adapted, Weights
from engine.checkpoints.layout import int8
from engine.checkpoints.outline import usual_kind
from engine.checkpoints.own import read_own, refuse_other_tensors
from engine.checkpoints.readers.common import shown
from engine.checkpoints.readers.kinds import chosen_file
from engine.checkpoints.readers.outlines import read_outlines
from engine.checkpoints.recognise import recognise
from engine.errors import CheckpointError, TinyTalesError

GPT2 = Vocabulary("GPT-2, 50,257 tokens", 50_257)


def facts_of(path: Path) -> Facts:
    """What the checkpoint in a folder or a file is. Raises nothing: what cannot be opened says so in `refused`."""
    try:
        folder = path if path.is_dir() else path.parent
        return _own(folder) if (folder / "tinytales.json").is_file() else _foreign(path)
    except TinyTalesError as error:
        return Facts(refused=str(error))
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
        MemoryError,
        OverflowError,
    ) as error:
        return Facts(refused=f"{shown(path, 300)} cannot be understood ({shown(error, 80) or type(error).__name__}).")


def _own(folder: Path) -> Facts:
    """One that this program wrote: a folder in the Hub's layout, with `tinytales.json`."""
    path = folder / "model.safetensors"
    weights = read_outlines(path).tensors
    known = Facts(
        parameters=sum(tensor.numel() for name, tensor in weights.items() if not name.endswith(int8.SCALE)),
        stored_as=_stored_as(weights),
        format="safetensors",
        safe=True,
        weights=path.name,
    )
    try:
        own = read_own(folder)
        config = own.config
        known = _with(
            known,
            family=own.kind,
            context=config.context,
            vocabulary=config.vocab_size,
            layers=config.layers,
            width=config.width,
            prompt_style=own.style.name,
        )
        refuse_other_tensors(path, {name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in weights.items()}, own)
        vocabulary = _own_vocabulary(folder, own.card.get("tokenizer"))
        _check_rows(vocabulary, config.vocab_size, path.name)
    except CheckpointError as error:
        return _with(known, refused=str(error))
    return _with(known, tokenizer=vocabulary.words)


def _own_vocabulary(folder: Path, kind: object) -> Vocabulary:
    if kind == "gpt2":
        return GPT2
    model = folder / "tokenizer.model"
    return of_model(model) if kind == "sentencepiece" and model.is_file() else of_json(folder / "tokenizer.json")


def _foreign(path: Path) -> Facts:
    """One of another program."""
    chosen, _ = chosen_file(path)
    weights = read_outlines(path)
    known = Facts(format=weights.format, safe=weights.safe, weights=chosen.name)
    try:
        adapted = recognise(weights)
    except CheckpointError as error:
        return _with(known, refused=str(error))
    config = adapted.config
    known = _with(
        known,
        family=adapted.family,
        parameters=_parameters(adapted),
        stored_as=_stored_as(adapted.state),
        context=config.context,
        vocabulary=config.vocab_size,
        layers=config.layers,
        width=config.width,
        prompt_style=adapted.prompt_style.name,
    )
    try:
        vocabulary = _vocabulary(adapted, weights)
        if vocabulary is not None:
            _check_rows(vocabulary, config.vocab_size, weights.path.name)
    except CheckpointError as error:
        return _with(known, refused=str(error))
    return _with(known, tokenizer=vocabulary.words if vocabulary else MISSING)


def _stored_as(tensors: Mapping[str, Any]) -> str:
    return usual_kind((outline.dtype, outline.numel()) for outline in tensors.values())


def _parameters(adapted: Adapted) -> int:
    """Numbers of the decoder that the adapter makes, a tied head counted once."""
    tied = adapted.config.tied_head
    return sum(math.prod(t.shape) for name, t in adapted.state.items() if not (tied and name == "head.weight"))


def _vocabulary(adapted: Adapted, weights: Weights) -> Vocabulary | None:
    """The vocabulary that loading would take; None where it should lie beside the weights and does not."""
    folder = weights.path.parent
    match adapted.vocabulary:
        case "gpt2":
            return GPT2
        case "tokenizer.json":
            return of_json(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else None
        case "llama":
            return beside(folder, adapted.config.vocab_size)


def _check_rows(vocabulary: Vocabulary, rows: int | None, weights: str) -> None:
    if rows is not None and vocabulary.size > rows:
        raise CheckpointError(
            f"The vocabulary beside {weights} has {vocabulary.size:,} tokens, but the model has rows for {rows:,}: they do not belong "
            "together."
        )


def _with(facts: Facts, **changes: Any) -> Facts:
    return Facts(**{**asdict(facts), **changes})


class FactsCache:
    """Facts by path, size and time of change, kept in a file between starts so that no header is read twice.

    `of` works them out where they are not there; `load` and `save` are for the caller. Used by one thread at a time.
    """

    VERSION = 3
    """Raised when the words of `Facts` change, or what is refused, so that old ones are forgotten."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` is the file; without one nothing is kept."""
        self.path = path
        self._kept: dict[str, tuple[list[list[Any]], Facts]] = {}
        self._asked: set[str] = set()
        self._changed = False
        self.load()

    def load(self) -> None:
        """Read the file; one that is missing or damaged is taken for empty."""
        if self.path is None:
            return
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            data = json.loads(self.path.read_bytes())
            if data["version"] != self.VERSION:
                return
            names = {field.name for field in fields(Facts)}
            for path, row in data["facts"].items():
                if set(row["facts"]) == names and _sound(row["facts"]) and isinstance(row["mark"], list):
                    self._kept[path] = (row["mark"], Facts(**row["facts"]))

    def of(self, path: Path) -> Facts:
        """`facts_of(path)`, from memory where none of the files that it rests on has changed."""
        key, mark = str(path), _mark(path)
        self._asked.add(key)
        kept = self._kept.get(key)
        if kept is not None and kept[0] == mark:
            return kept[1]
        facts = facts_of(path)
        self._kept[key] = (mark, facts)
        self._changed = True
        return facts

    def save(self) -> None:
        """Write what was asked for since the start, if anything is new; a disk that says no is no matter."""
        if self.path is None or not self._changed:
            return
        rows = {path: {"mark": mark, "facts": asdict(facts)} for path, (mark, facts) in self._kept.items() if path in self._asked}
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write_bytes(self.path, json.dumps({"version": self.VERSION, "facts": rows}).encode())
            self._changed = False


def _mark(path: Path) -> list[list[Any]]:
    """Name, size and time of change of everything in the folder; a link that leads nowhere has only its name."""
    mark: list[list[Any]] = []
    with contextlib.suppress(OSError):
        folder = path if path.is_dir() else path.parent
        for name in sorted(entry.name for entry in folder.iterdir()):
            mark.append([name])
            with contextlib.suppress(OSError):
                stat = (folder / name).stat()
                mark[-1] += [stat.st_size, stat.st_mtime_ns]
    return mark


def _sound(row: dict[str, Any]) -> bool:
    """Whether values read from a file are of the types that `Facts` has."""
    default = asdict(Facts())
    return all(
        type(value) is type(default[name]) or (default[name] is None and type(value) is int) for name, value in row.items()
    )
