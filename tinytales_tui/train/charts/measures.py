"""What is drawn of a run: the measures, how their values are written, and how a person looks at them. Knows no Textual."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tinytales_tui.figures import short_count, size
from tinytales_tui.plot.scale import value_label
from tinytales_tui.text import one_line

Axis = Literal["step", "tokens", "time"]
AXES: tuple[Axis, ...] = ("step", "tokens", "time")
AXIS_WORDS = {"step": "step", "tokens": "tokens", "time": "time since its start"}
SMOOTHING = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Weights of the moving average that a key steps through."""
MOST_OVERLAID = 6
"""Runs in one chart."""


@dataclass(frozen=True)
class Measure:
    """One chart: what is drawn in it, and how its values are written."""

    id: str
    title: str
    raw: str | None = None
    """A series measured at every step: drawn faint, with its moving average over it."""
    checks: str | None = None
    """A series measured now and then: a line with a dot at each value."""
    short: str = ""
    """A word for the raw series where there is little room."""
    write: Callable[[float], str] = value_label
    """A value on the axis."""
    exact: Callable[[float], str] = "{:,.6g}".format
    """A value under the cursor."""
    log: bool = False
    """Drawn on a logarithmic scale unless the person chooses otherwise."""


def _bytes(value: float) -> str:
    return size(value).replace(" ", "")


LOSS = Measure("loss", "Loss (nats a token)", "train_loss", "val_loss", "loss", exact="{:.4f}".format, log=True)
MEASURES = (
    LOSS,
    Measure("bits", "Validation, bits a byte", None, "val_bits_per_byte", "bits a byte", exact="{:.4f}".format),
    Measure("lr", "Learning rate", "lr", None, "learning rate", exact="{:.3g}".format),
    Measure("grad_norm", "Gradient norm", "grad_norm", None, "gradient norm", exact="{:.3g}".format, log=True),
    Measure("tokens_per_s", "Tokens a second", "tokens_per_s", None, "tokens/s", exact="{:,.0f}".format),
    Measure("memory_bytes", "Memory", "memory_bytes", None, "memory", write=_bytes, exact=size),
    Measure("val_perplexity", "Validation, perplexity", None, "val_perplexity", "perplexity", exact="{:.3f}".format, log=True),
    Measure(
        "train_loss_estimate", "Training loss at the validations", None, "train_loss_estimate", "training", exact="{:.4f}".format
    ),
    Measure("step_s", "Seconds a step", "step_s", None, "s a step", exact="{:.3g}".format),
    Measure("mfu", "Share of the hardware's operations, %", "mfu", None, "used %", exact="{:.3g}".format),
)
_KNOWN = {name for measure in MEASURES for name in (measure.raw, measure.checks) if name}
_MOST_OTHERS = 24


def measures_of(names: Iterable[str]) -> list[Measure]:
    """The measures that series of these names can fill; names that are not ours get a chart of their own. Loss at least."""
    names = list(names)
    found = [measure for measure in MEASURES if measure.raw in names or measure.checks in names]
    others = [name for name in names if name not in _KNOWN][:_MOST_OTHERS]
    return (found or [LOSS]) + [
        Measure(f"own:{name}", one_line(name, 60), name, None, one_line(name, 24), write=_any) for name in others
    ]


def _any(value: float) -> str:
    return short_count(value) if abs(value) >= 10_000 else value_label(value)


@dataclass(frozen=True)
class Looking:
    """How a person looks at the charts; changed by keys and mouse, the same for all charts of the pane."""

    measure: str = "loss"
    axis: Axis = "step"
    log: bool | None = None
    """None: as the measure has it."""
    smoothing: float = 0.9
    span: tuple[float, float] | None = None
    """The x range that was zoomed to; None: the whole or its end."""
    recent: float = 1.0
    """Share of the whole x range, from its end, that is shown where there is no span."""
    cursor: float | None = None
    """x of the cursor; None: it stays with the newest."""
    trim: bool = False
    """Let the y range ignore the few highest and lowest."""

    def change(self, **changes: object) -> Looking:
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def smoother(self, steps: int) -> Looking:
        """The next weight up, or down."""
        at = min(range(len(SMOOTHING)), key=lambda place: abs(SMOOTHING[place] - self.smoothing))
        return self.change(smoothing=SMOOTHING[min(len(SMOOTHING) - 1, max(0, at + steps))])

    def range(self, first: float, last: float) -> tuple[float, float]:
        """The x range that is shown, where the data reach from `first` to `last`."""
        if self.span is not None:
            return self.span
        return last - (last - first) * self.recent, last

    def zoomed(self, factor: float, first: float, last: float) -> Looking:
        """`factor` < 1: closer, around the cursor (around the end where there is none); never beyond the data."""
        low, high = self.range(first, last)
        if self.cursor is None:
            recent = min(1.0, max(1e-6, (high - low) * factor / max(last - first, 1e-9)))
            if self.span is None:
                return self.change(recent=recent)
        middle = self.cursor if self.cursor is not None and low <= self.cursor <= high else (low + high) / 2
        width = max((high - low) * factor, (last - first) * 1e-6)
        if width >= last - first:
            return self.change(span=None, recent=1.0)
        share = (middle - low) / (high - low) if high > low else 0.5
        return self.change(span=_inside(middle - share * width, width, first, last))

    def panned(self, share: float, first: float, last: float) -> Looking:
        """Moved by a share of what is shown; never beyond the data."""
        low, high = self.range(first, last)
        if high - low >= last - first:
            return self
        return self.change(span=_inside(low + share * (high - low), high - low, first, last))

    def showing(self, x: float, first: float, last: float) -> Looking:
        """Moved just so far that x is in view."""
        low, high = self.range(first, last)
        if low <= x <= high:
            return self
        return self.change(span=_inside(x - (high - low) / 2, high - low, first, last))


def _inside(low: float, width: float, first: float, last: float) -> tuple[float, float]:
    low = max(first, min(low, last - width))
    return low, low + width
