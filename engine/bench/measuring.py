"""One checkpoint's measurements, one after the other, put together as plain JSON values. Knows no torch."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from engine.bench.plan import AGAINST, BITS, BenchSettings, kinds, spread
from engine.bench.process import Child
from engine.checkpoints.exporting import FORMATS
from engine.decode import library
from engine.decode.choose import kernel_folder
from engine.errors import TinyTalesError, UsageError

T = TypeVar("T")
Kind = tuple[str, str]
"""(step, precision) of a row of this program."""
OWN = "tinytales-tui"
_SPREAD = ("prefill_tokens_per_s", "ttft_s", "decode_tokens_per_s")
_LAST = ("prompt_tokens", "prefill_tokens", "memory_bytes", "weight_bytes")


@dataclass(frozen=True, eq=False)
class Contender:
    """A program with weights of one kind, to be measured in a process of its own."""

    program: str
    step: str | None
    precision: str
    job: Mapping[str, Any]

    @property
    def label(self) -> str:
        return in_short(self.step or "", self.precision) if self.program == OWN else f"{self.program} {self.precision}"

    def parameters(self, batch: int) -> dict[str, Any]:
        """Of one run; the other programs are measured with one text at a time only."""
        return {"batch": batch} if self.program == OWN else {}


class Bench:
    """Measures checkpoints with the same settings; `failed` are the sentences for what could not be measured."""

    def __init__(
        self,
        settings: BenchSettings,
        environment: Mapping[str, str],
        show: Callable[[str], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
        refuse: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`environment` is for the processes; `show` is told how far it is, `say` what is worth knowing, `refuse` each failure."""
        self.settings, self._environment = settings, environment
        self._show, self._say, self._refuse = show, say, refuse
        self.failed: list[dict[str, str]] = []
        self._cannot_compile: str | None = None
        """Why; empty where the code is ready, None before it was looked."""
        self._name = ""
        self._what: dict[str, Any] = {}

    def measure(self, source: str | None, choices: Mapping[str, Any], name: str) -> dict[str, Any] | None:
        """All figures of a checkpoint; None where it cannot be opened, which `failed` tells then. `name` is for the progress."""
        self._name, self._what = name, {"source": source, "choices": dict(choices)}
        looked = self._kept("", self._look)
        if looked is None:
            return None
        facts, loads = looked
        for warning in facts["warnings"]:
            self._say(f"{name}: {warning}")
        rows = self._rows(facts, [*loads])
        rates = self._read_rates(rows, facts)
        for row in rows:
            row["load_s"] = loads[row["step"], row["precision"]] if row["program"] == OWN else None
            _add_floor(row, rates)
        told = ("name", "family", "parameters", "context", "vocab_size", "device", "threads", "torch")
        report = {"source": source or "default"} | {key: facts[key] for key in told} | {"rows": rows}
        if self.settings.against:
            report["ratios"] = ratios(rows)
        report["training"] = self._kept("training", lambda: self._train(facts)) if self.settings.train else None
        return report

    def _kept(self, what: str, action: Callable[[], T]) -> T | None:
        """What the action gives; None where it failed, which is noted and said."""
        try:
            return action()
        except TinyTalesError as error:
            self.failed.append({"checkpoint": self._name, "what": what, "error": str(error), "kind": type(error).__name__})
            self._refuse(f"{self._name}{f', {what}' if what else ''}: {error}")
            return None

    def _child(self, kind: str, **more: Any) -> Child:
        return Child({"kind": kind, **self._what, **more}, self._environment)

    def _look(self) -> tuple[dict[str, Any], dict[Kind, dict[str, float]]]:
        """Facts, and by kind of row the seconds of loading; one that cannot be loaded is left out."""
        self._show(f"{self._name}: opening")
        settings = self.settings
        with self._child("look", device=settings.device, threads=settings.threads, tokens=settings.tokens) as child:
            loads = {}
            for step, precision in self._kinds(child.facts):
                label = in_short(step, precision)
                load = functools.partial(child.run, step=step, precision=precision)
                if found := self._kept(label, functools.partial(self._runs, load, f"loading {label}", settings.row_seconds)):
                    loads[step, precision] = spread([figures["load_s"] for figures in found])
            return child.facts, loads

    def _kinds(self, facts: Mapping[str, Any]) -> list[Kind]:
        """The kinds of rows that can be measured; that the compiled ones cannot is a failure only where they were asked for."""
        settings = self.settings
        wanted = kinds(settings.steps, settings.precisions)
        plain = [kind for kind in wanted if kind[0] == "plain"]
        if plain == wanted:
            return plain
        asked = "compiled" in settings.steps or not plain
        if facts["device"] != "cpu":
            why = f"The compiled step runs on the CPU, and this is measured on {facts['device']}; add --device cpu."
            return self._without(plain, why, asked) if asked else plain
        if why := facts["no_compiled_step"]:
            why = f"{why.rstrip('.')}; pip install numba, or measure --step plain."
        else:
            why = self._make_code_ready()
        return self._without(plain, why, asked) if why else wanted

    def _make_code_ready(self) -> str:
        """Compile the step where its code is not on disk, so that nothing of it is in a figure; empty, or why that cannot be done."""
        if self._cannot_compile is None:
            folder = kernel_folder()
            if not library.ready(folder):
                self._show(f"{self._name}: compiling the step, once for this machine (about ten seconds)")
            try:
                library.compile_into(folder)
                self._cannot_compile = ""
            except TinyTalesError as error:
                self._cannot_compile = str(error)
        return self._cannot_compile

    def _without(self, plain: list[Kind], why: str, asked: bool) -> list[Kind]:
        def refuse() -> None:
            raise UsageError(why)

        if asked:
            self._kept("compiled", refuse)
        else:
            reason = why.rpartition("; ")[0] or why  # without the way out, which is of no use here
            self._say(f"{self._name}: {reason.rstrip('.')}; only the plain step is measured.")
        return plain

    def _runs(self, run: Callable[[], dict[str, Any]], label: str, seconds: float | None = None) -> list[dict[str, Any]]:
        """Figures of the runs that count; none is begun after so many seconds but the first."""
        found: list[dict[str, Any]] = []
        self._tell(label, 0)
        run()
        begun = time.monotonic()
        while len(found) < self.settings.repeats and not (found and _over(begun, seconds)):
            self._tell(label, len(found) + 1)
            found.append(run())
        return found

    def _tell(self, label: str, number: int) -> None:
        run = f"run {number} of {self.settings.repeats}" if number else "warming up"
        self._show(f"{self._name}: {label}, {run}")

    def _rows(self, facts: dict[str, Any], measured: Sequence[Kind]) -> list[dict[str, Any]]:
        settings = self.settings
        own = [self._own(step, precision) for step, precision in measured]
        batches, rows = settings.batches, []
        if settings.against:
            with tempfile.TemporaryDirectory(prefix="tinytales-bench-") as folder:
                rows = self._alternate([*own, *self._others(facts, Path(folder))], (1,))
            batches = tuple(batch for batch in batches if batch != 1)
        for contender in own:
            for part in [batches] if settings.together and batches else [(batch,) for batch in batches]:
                rows += self._alternate([contender], part)
        order = [(contender.program, contender.step, contender.precision) for contender in own]
        order += [(row["program"], row["step"], row["precision"]) for row in rows]
        return sorted(rows, key=lambda row: (order.index((row["program"], row["step"], row["precision"])), row["batch"]))

    def _own(self, step: str, precision: str) -> Contender:
        settings = self.settings
        how = {"device": settings.device, "threads": settings.threads, "tokens": settings.tokens}
        job = {"kind": "write", **self._what, **how, "precision": precision, "step": step}
        return Contender(OWN, step, precision, job)

    def _others(self, facts: dict[str, Any], folder: Path) -> list[Contender]:
        """The other programs with the exports that could be made for them."""
        found = []
        common = {"prompt_ids": facts["prompt_ids"], "tokens": facts["tokens"], "threads": facts["threads"]}
        if "transformers" in self.settings.against and (path := self._exported("transformers", "hf", "float32", folder)):
            for number in ("float32", "bfloat16"):
                job = {"kind": "transformers", "folder": path, "number": number, "device": facts["device"], **common}
                found.append(Contender("transformers", None, number, job))
        if "llama.cpp" in self.settings.against:
            for number in FORMATS["gguf"]:
                if path := self._exported("llama.cpp", "gguf", number, folder):
                    found.append(Contender("llama.cpp", None, number, {"kind": "llama.cpp", "folder": path, **common}))
                elif number == FORMATS["gguf"][0]:
                    break  # a model that llama.cpp does not know is refused for every kind of number
        return found

    def _exported(self, program: str, to: str, number: str, folder: Path) -> str | None:
        path = str(folder / f"{to}-{number}")
        self._show(f"{self._name}: exporting for {program}")

        def write() -> str:
            with self._child("export", to=to, stored_as=number, folder=path):
                return path

        return self._kept(program, write)

    def _alternate(self, contenders: Sequence[Contender], batches: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of contenders that stay loaded beside each other and run in turns; one that fails is left out from there on."""
        rows = []
        with contextlib.ExitStack() as stack:
            running: dict[Contender, Child] = {}
            for contender in contenders:
                self._show(f"{self._name}: {contender.label}, loading")
                child = Child(contender.job, self._environment)
                if self._kept(contender.label, functools.partial(stack.enter_context, child)):
                    running[contender] = child
            for batch in batches:
                found: dict[Contender, list[dict[str, Any]]] = {contender: [] for contender in running}
                begun = time.monotonic()
                for number in range(self.settings.repeats + 1):
                    if number == 1:
                        begun = time.monotonic()
                    elif number and _over(begun, self.settings.row_seconds):
                        break
                    for contender, child in list(running.items()):
                        self._tell(f"{contender.label}, batch {batch}", number)
                        run = functools.partial(child.run, **contender.parameters(batch))
                        if (figures := self._kept(f"{contender.label}, batch {batch}", run)) is None:
                            del running[contender]
                        elif number:
                            found[contender].append(figures)
                rows += [_row(contender, child.facts, batch, found[contender]) for contender, child in running.items()]
        return rows

    def _read_rates(self, rows: Sequence[dict[str, Any]], facts: dict[str, Any]) -> dict[int, float]:
        """Bytes a second, by the bytes of a buffer, for all sizes of weights among the rows."""
        sizes = sorted({row["weight_bytes"] for row in rows if row["weight_bytes"]})
        if not sizes:
            return {}

        def read() -> dict[int, float]:
            with self._child_reading(sizes, facts) as child:
                found = self._runs(child.run, "memory's read rate")
            return {size: spread([figures[str(size)] for figures in found])["median"] for size in sizes}

        return self._kept("memory's read rate", read) or {}

    def _child_reading(self, sizes: list[int], facts: dict[str, Any]) -> Child:
        return Child({"kind": "read", "sizes": sizes, "device": facts["device"], "threads": facts["threads"]}, self._environment)

    def _train(self, facts: dict[str, Any]) -> dict[str, Any]:
        settings, threads = self.settings, facts["train_threads"]
        self._show(f"{self._name}: training, loading")
        with self._child("train", device=settings.device, threads=threads, tokens=settings.train_tokens) as child:
            found = self._runs(child.run, "training", settings.train_seconds)
            figures = spread([figures["train_tokens_per_s"] for figures in found])
            return {"tokens_per_s": figures, "runs": len(found), "threads": threads, **child.facts}


def _row(contender: Contender, facts: Mapping[str, Any], batch: int, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "program": contender.program,
        "version": facts.get("version"),
        "step": contender.step,
        "precision": contender.precision,
        "batch": batch,
        "threads": facts["threads"],
        "tokens": facts["tokens"],
        "runs": len(found),
    }
    row |= {key: found[-1].get(key) for key in _LAST}
    return row | {key: spread([one[key] for one in found]) if key in found[-1] else None for key in _SPREAD}


def _over(begun: float, seconds: float | None) -> bool:
    return seconds is not None and time.monotonic() - begun > seconds


def in_short(step: str, precision: str) -> str:
    """A kind of row of this program, in a line of progress or of failure."""
    return precision if step == "plain" else f"{step} {precision}"


def _add_floor(row: dict[str, Any], rates: Mapping[int, float]) -> None:
    """How near a row comes to what reading the weights alone would allow."""
    rate = rates.get(row["weight_bytes"] or 0)
    steps_per_s = row["decode_tokens_per_s"]["median"] / row["batch"]
    row["read_bytes_per_s"] = rate
    row["floor_share"] = None if rate is None else float(f"{steps_per_s * row['weight_bytes'] / rate:.4g}")


def ratios(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each row of another program how many times as fast ours are that have weights as wide, one text at a time."""
    alone = [row for row in rows if row["batch"] == 1]
    return [
        {
            "precision": ours["precision"],
            "step": ours["step"],
            "program": theirs["program"],
            "their_precision": theirs["precision"],
            "times": float(f"{ours['decode_tokens_per_s']['median'] / theirs['decode_tokens_per_s']['median']:.3g}"),
        }
        for ours in alone
        for theirs in alone
        if ours["program"] == OWN
        and theirs["program"] in AGAINST
        and BITS.get(ours["precision"], 0) == BITS.get(theirs["precision"])
    ]
