"""Lines that programs print for people: which of the numbers in a line is the step, which the loss, which a time.

A line is cut at its numbers; the words between them are the same from line to line, so what they mean is worked out once for each
wording (`Plan`) and then costs next to nothing. Knows no files and keeps no state of a log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from engine.watching.foreign.names import FIGURES, OURS, VALIDATION, Naming, key_of

_TAIL = r"(?:,\d{3})*(?:\.\d*)?(?:[eE][-+]?\d+)?"
_DOT = r"\d+(?:[eE][-+]?\d+)?"
NUMBER = re.compile(  # by its first character, which makes the search several times as fast
    rf"([-+.\dnNiI](?<![\w.].)(?:(?<=\d)\d*{_TAIL}|(?<=[-+])(?:\d+{_TAIL}|\.{_DOT}|[nN][aA][nN](?!\w)|[iI][nN][fF](?:inity)?(?!\w))"
    rf"|(?<=\.){_DOT}|(?<=[nN])[aA][nN](?!\w)|(?<=[iI])[nN][fF](?:inity)?(?!\w)))"
)
"""A number that does not belong to a word (`fp16`, `top5`); with its sign, thousands divided by commas, nan and inf."""
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_STAMP = re.compile(
    r"(?:\[[A-Za-z]\w*\][:\s]*)*[\s\[(<|]*(?:[A-Z]+[\s:|-]+)?[\s\[(]*(?:(\d{4}-\d\d-\d\d)[T ]|(\d\d/\d\d/\d{4})[ T])?"
    r"(\d\d:\d\d:\d\d)([.,]\d{1,9})?(Z|[+-]\d\d:?\d\d)?"
    r"(?=[\s\]),|:;>-]|$)[\])|,:;>\s-]*"
)
_BOUNDARY = re.compile(r"[|,;\t{}\[\]:=<>'\"\u2500-\u25ff]| - |   +")
_SCALES = {
    "ms": ("s", 1e-3), "s": ("s", 1.0), "sec": ("s", 1.0), "secs": ("s", 1.0), "seconds": ("s", 1.0), "us": ("s", 1e-6),
    "kib": ("B", 2.0**10), "mib": ("B", 2.0**20), "gib": ("B", 2.0**30), "kb": ("B", 1e3), "mb": ("B", 1e6), "gb": ("B", 1e9),
}  # fmt: skip
_RATES = ("tok/s", "tok/sec", "tokens/s", "tokens/sec", "tokens/second", "toks/s")
_OTHER_LOSSES = frozenset(
    "best lowest min minimum max aux z moe balance balancing router kl prior old previous prev target reg regularization commit vq gen "
    "generator disc discriminator d g policy value entropy mtp distill distillation contrastive recon reconstruction no initial".split()
)
"""Words before `loss` that make it another figure."""
_STEP_TIMES = frozenset(
    "dt step_time iter_time time_per_step time_per_iter time_per_iteration elapsed_time_per_iteration batch_time".split()
)
_MEMORY = frozenset("memory mem max_memory peak_memory gpu_memory memory_allocated".split())
_LABELS = {"train": "train_loss", "val": "val_loss", "valid": "val_loss", "validation": "val_loss"}
"""What a word alone means, where it is clear that it stands before a loss."""
_COUNTERS = frozenset("batch batch_idx minibatch".split())


@dataclass(frozen=True)
class Plan:
    """What the numbers of one wording mean, by their places among the line's numbers."""

    values: tuple[tuple[int, str, float], ...] = ()
    """Place, our name, factor."""
    step: int | None = None
    total: int | None = None
    counter: bool = False
    """The step has no name, or counts batches: it may begin anew with every epoch."""
    bar: bool = False
    """The line is drawn by a progress bar that says its speed in steps a second."""
    epoch: int | None = None
    epochs: int | None = None
    figures: frozenset[str] = frozenset()
    """Losses and the like among the values."""
    known: bool = False
    """There are other figures with a meaning of ours, such as a learning rate."""
    indented: bool = False
    """The line belongs to one above it."""
    printed: bool = False
    """The line is a printed dictionary: its epoch is a share, also where it is a whole number."""
    plain: bool = False
    """The training loss is called loss and nothing more."""
    estimate: bool = False
    """The line gives a training and a validation loss at once: an estimate of both."""

    @property
    def empty(self) -> bool:
        return self.step is None and self.epoch is None and not self.values


def plan_of(words: tuple[str, ...], naming: Naming) -> Plan:
    """What a wording means; `words` are the texts before, between and after the numbers."""
    bare = _LABELS.get(words[1].strip().lower()) if len(words) == 3 and not words[0].strip() else None
    if bare is not None:  # `250 val 3.2`
        return Plan(((1, bare, 1.0),), step=0, figures=frozenset((bare,)))
    names = [_name_before(text, at == 0) for at, text in enumerate(words[:-1])]
    units = [_unit_after(text) for text in words[1:]]
    meanings = [_meaning(name, naming) for name in names]
    if "train_loss" in meanings and "val_loss" not in meanings:  # `loss train: 3.1, val: 3.2`
        meanings = [
            "val_loss" if _LABELS.get(name.lower()) == "val_loss" else ours for name, ours in zip(names, meanings, strict=True)
        ]
    opening = key_of(words[0]).split("_")
    if not VALIDATION.isdisjoint(opening) and "train" not in opening:  # `Test set: average loss: 0.05`
        meanings = ["val_loss" if ours == "train_loss" else ours for ours in meanings]
    step = total = epoch = epochs = None
    counter, surest = False, 1000
    for at, ours in enumerate(meanings):
        of = at + 1 if at + 1 < len(names) and words[at + 1].strip() in ("/", "of", "out of") else None
        if ours == "step" and (rank := _rank(names[at], naming)) < surest:
            step, total, counter, surest = at, of or total, key_of(names[at]) in _COUNTERS, rank
        elif ours == "epoch" and epoch is None:
            epoch, epochs = at, of
        elif ours == "total_steps" and total is None:
            total = at
    bar = any(unit in ("it/s", "s/it") for unit in units) and "<" in "".join(words)
    values = _values(names, units, meanings, words, naming, {step, total, epoch, epochs}, bar)
    figures = frozenset(ours for _, ours, _ in values if ours in FIGURES)
    named_so = not re.search("[a-z]{2}", words[0].lower()) or re.search("train|epoch|step", words[0].lower()) is not None
    if step is None and (figures or (bar and named_so)):
        step, total = _unnamed_step(names, words, bar)
        counter = step is not None
    plain = any(ours == "train_loss" and key_of(names[at]) == "loss" for at, ours, _ in values)
    estimate = {"train_loss", "val_loss"} <= figures and not plain
    known = not figures and any(ours in OURS for _, ours, _ in values)
    indented, printed = words[0][:2] == "  ", any("{'" in text or '{"' in text for text in words)
    return Plan(values, step, total, counter, bar, epoch, epochs, figures, known, indented, printed, plain, estimate)


def split_stamp(line: str) -> tuple[str, float | None]:
    """A line without the time that it begins with, and that time in Unix seconds; None where it has none, or no date."""
    if not line[:60].count(":") > 1 or (match := _STAMP.match(line)) is None:
        return line, None
    day, american, clock, fraction, zone = match.groups()
    rest = line[match.end() :]
    if american:
        day = f"{american[6:]}-{american[:2]}-{american[3:5]}"
    if not day:
        return rest, None
    try:
        at = datetime.fromisoformat(f"{day}T{clock}{(zone or '').replace('Z', '+00:00')}").timestamp()
    except (ValueError, OverflowError, OSError):
        return rest, None
    return rest, at + float("0." + fraction[1:]) if fraction else at


def value(text: str) -> float:
    """A number that `NUMBER` found."""
    try:
        return float(text)
    except ValueError:
        return float(text.replace(",", ""))


@lru_cache(maxsize=8192)
def _name_before(text: str, opens: bool) -> str:
    """The words right before a number, up to what divides it from the figure before; `opens` where the line begins with them."""
    text = text[-120:].rstrip(" \t:=\"'[(~@#≈")
    if text.endswith((",", "|", "/", "%")):
        return ""
    start = 0
    for match in _BOUNDARY.finditer(text):
        start = match.end()
    name = text[start:].strip(" .-*>#")
    if ")" in name and "(" not in name:
        name = name.rsplit(")", 1)[1].strip()
    first, _, rest = name.partition(" ")
    if not opens and text[:1] not in " \t" and start == 0 and (first.lower() in _SCALES or first in _RATES):
        return rest.strip()  # the unit of the number before
    return name


@lru_cache(maxsize=8192)
def _unit_after(text: str) -> str:
    """The unit right after a number, in small letters: `ms`, `tok/s`, `it/s`, `GiB`; empty for none."""
    match = re.match(r"\s?([A-Za-z][A-Za-z0-9/]*|%(?:\s?[A-Za-z0-9]+)?(?: MFU)?)", text)
    return match[1].lower() if match else ""


def _meaning(name: str, naming: Naming) -> str | None:
    """Our name for the words before a number; words that lead up to a name are left off, except those that make it another one."""
    words = name.split()[-6:]
    for start in range(len(words)):
        found = naming.ranked(" ".join(words[start:]))
        if found and not (found[0] in FIGURES and start and key_of(words[start - 1]) in _OTHER_LOSSES):
            return found[0]
        if found:
            return None
    return None


def _rank(name: str, naming: Naming) -> int:
    """How surely these words are a usual name; the last of them decide where all of them are none."""
    words = name.split()[-6:]
    ranks = (found[1] + 5 * start for start in range(len(words)) if (found := naming.ranked(" ".join(words[start:]))))
    return next(ranks, 500)


def _values(
    names: list[str],
    units: list[str],
    meanings: list[str | None],
    words: tuple[str, ...],
    naming: Naming,
    taken: set[int | None],
    bar: bool,
) -> tuple[tuple[int, str, float], ...]:
    found: dict[str, tuple[int, float, int]] = {}
    for at, (name, unit, ours) in enumerate(zip(names, units, meanings, strict=True)):
        if at in taken or (bar and unit == "%") or words[at].rstrip().endswith("/") or ours in ("step", "epoch", "total_steps"):
            continue
        named = _figure(name, unit, ours)
        if named is None:
            continue
        ours, factor = named
        rank = _rank(name, naming)
        if ours not in found or rank < found[ours][2]:
            found[ours] = at, factor, rank
    return tuple((at, ours, factor) for ours, (at, factor, _) in found.items())


def _figure(name: str, unit: str, ours: str | None) -> tuple[str, float] | None:
    """Our name and the factor for a number with these words before it and this unit behind it; None for one that says nothing."""
    key = key_of(name)
    dimension, factor = _SCALES.get(unit, ("", 1.0))
    if ours in FIGURES:
        return ours, 1.0
    if unit in _RATES and not key:
        return "tokens_per_s", 1.0
    if unit.startswith("%") and unit.endswith("mfu"):
        return "mfu", 1.0
    if unit in ("ms/step", "s/step", "us/step", "ms/it", "s/it"):
        return "step_s", _SCALES[unit.partition("/")[0]][1]
    if unit == "it/s":
        return "steps_per_s", 1.0
    if dimension == "s" and (key in _STEP_TIMES or (unit != "s" and key in ("", "time"))):
        return "step_s", factor
    if key.removesuffix("_ms") in _STEP_TIMES and key.endswith("_ms"):
        return "step_s", 1e-3
    if dimension == "B" and key in _MEMORY:
        return "memory_bytes", factor
    if ours is not None and ours != "time":
        return ours, {"k": 1e3, "m": 1e6, "b": 1e9}.get(unit, 1.0) if ours in ("tokens", "tokens_per_s") else 1.0
    if not key or len(name) > 60 or key.endswith("_of"):
        return None
    return f"{name} ({unit})" if dimension else name if name not in OURS else f"{name}_logged", 1.0


def _unnamed_step(names: list[str], words: tuple[str, ...], bar: bool) -> tuple[int | None, int | None]:
    """`100/1000` without a name, or a bare number that the line begins with: the step, and the last step where it is said."""
    for at in range(len(names) - 1):
        if words[at + 1].strip() == "/" and (not names[at] or bar or at == 0) and not words[at].rstrip().endswith(":"):
            return at, at + 1
    if names and not words[0].strip(" [#") and words[1].lstrip(" ]").startswith(("|", ":", ",", "\t")):
        return 0, None
    return None, None
