"""`tinytales-tui evaluate`: how well a checkpoint predicts stories (`--data`), and how well it writes them (`--stories`).

Results on standard output, narration and progress on standard error. What is measured, and how, is in `engine.evaluation`. No Textual.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import TinyTalesError, UsageError
from engine.settings import SAMPLING_PRESETS
from tinytales_tui.batch import check_writable
from tinytales_tui.figures import facts, table
from tinytales_tui.output import note, put, quiet
from tinytales_tui.paths import reason
from tinytales_tui.progress import Progress

if TYPE_CHECKING:
    from engine.checkpoints import Checkpoint
    from engine.data.records import Record
    from engine.evaluation.loss import Loss

SPLITS = ("train", "valid", "all")
SLICE = 200
"""Stories between two looks at the clock."""
_LOSS_METHOD = "every story is read from its own beginning, without a prompt; its end token's loss counts, though it has no bytes"
_LEAST_MARKED = 50
"""Marked stories that --data must hold for the judge's agreement on them to be told."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What the command line asks for; see `tinytales_tui.cli` for the meaning of each."""

    checkpoint: str | None = None
    data: tuple[str, ...] = ()
    split: str | None = None
    most: int | None = None
    stories: bool = False
    count: int = 50
    preset: str | None = None
    seed: int = 1
    output: Path | None = None
    force: bool = False
    json: bool = False
    quiet: bool = False
    device: str | None = None
    threads: int | None = None


def run_evaluate(options: EvaluateOptions) -> int:
    """Measure what the options ask for and print it; raises `TinyTalesError` for what cannot be measured."""
    _check(options)
    say = quiet if options.quiet else note
    from engine.checkpoints import load_checkpoint
    from engine.devices import use_threads

    checkpoint = load_checkpoint(options.checkpoint, device=options.device)
    if options.threads:
        use_threads(options.threads, checkpoint.network.parameter_count())
    for warning in checkpoint.warnings:
        say(warning)
    report: dict[str, Any] = {"checkpoint": checkpoint.source}
    texts: dict[str, Any] = {}
    marked: list[tuple[str, bool]] = []
    if options.data:
        figures, marked = _loss(options, checkpoint, say)
        report |= figures
    if options.stories:
        use_threads(options.threads, checkpoint.network.parameter_count())  # one token a step: often quickest on one thread
        report["written"], texts = _stories(options, checkpoint, marked, say)
    if options.output is not None:
        _write(options.output, _with_texts(report, texts))
        say(f"written to {options.output}")
    if options.json:
        put(json.dumps(report))
    else:
        _print(report)
    return 0


def _check(options: EvaluateOptions) -> None:
    """Refuse what is wrong before torch is imported and the model loaded."""
    if not options.data and not options.stories:
        raise UsageError("Say what to measure: --data FILE for the loss on stories, --stories for how well it writes, or both.")
    if options.split is not None and options.split not in SPLITS:
        raise UsageError(f"A split is {', '.join(SPLITS)}, not {options.split!r}.")
    if (options.split is not None or options.most is not None) and not options.data:
        raise UsageError("--split and --max-samples say which stories of --data are read, and there is no --data.")
    if options.preset is not None and options.preset not in (*SAMPLING_PRESETS, "recommended"):
        raise UsageError(f"There is no preset {options.preset!r}; choose {', '.join(SAMPLING_PRESETS)} or recommended.")
    if options.output is not None:
        if options.output.is_file() and not options.force:
            raise UsageError(f"--output {options.output} is there already; choose another name, or say --force to replace it.")
        check_writable(options.output)


def _loss(
    options: EvaluateOptions, checkpoint: Checkpoint, say: Callable[[str], None]
) -> tuple[dict[str, Any], list[tuple[str, bool]]]:
    """The figures of the loss, and the stories among those that were read whose endings people marked, with whether they end happily."""
    from engine.evaluation.loss import evaluate

    records, told = _read(options, checkpoint)
    rule = told.get("split_rule")
    which = f" of the split {told['split']} (seed {rule['seed']}, {rule['validation_share']:.1%} held out)" if rule else ""
    say(f"measuring the loss on {len(records):,} {'story' if len(records) == 1 else 'stories'}{which} ...")
    texts, begun, total = [record.story for record in records], time.perf_counter(), None
    with Progress("stories read", len(texts), not options.quiet) as progress:
        for start in range(0, len(texts), SLICE):
            part = evaluate(checkpoint.network, checkpoint.tokenizer, checkpoint.prompt_style, texts[start : start + SLICE])
            total = part if total is None else _sum(total, part)
            progress(min(start + SLICE, len(texts)))
    assert total is not None
    told |= {"method": _LOSS_METHOD} | total.to_json() | {"seconds": round(time.perf_counter() - begun, 2)}
    return told, [(record.story, record.ending == "happy") for record in records if record.ending]


def _read(options: EvaluateOptions, checkpoint: Checkpoint) -> tuple[list[Record], dict[str, Any]]:
    """The stories to read, and what to tell of where they come from."""
    from engine.data.shards import is_prepared

    prepared = [Path(path) for path in options.data if Path(path).is_dir() and is_prepared(Path(path))]
    if prepared and len(options.data) > 1:
        raise UsageError(f"{prepared[0]} holds prepared data, which can only be the one --data.")
    split = options.split or ("valid" if prepared else "all")
    told: dict[str, Any] = {"data": list(options.data), "split": split}
    if prepared:
        found = _prepared(prepared[0], split)
    else:
        from engine.data.held_out import is_held_out, rule_of
        from engine.data.stories import read_records

        found = iter(read_records([Path(path) for path in options.data]))
        if split != "all":
            seed, share = rule_of(checkpoint.card)
            told["split_rule"] = {"seed": seed, "validation_share": share}
            found = (record for record in found if is_held_out(record.story, seed, share) == (split == "valid"))
    records = list(itertools.islice(found, options.most))
    if not records:
        raise UsageError(f"There is no story in the split {split} of the data; --split all takes every story.")
    return records, told


def _prepared(folder: Path, split: str) -> Iterator[Record]:
    from engine.data.records import Record
    from engine.data.shards import ENDINGS, MARKED, SPLITS, Shards

    shards = Shards.open(folder)
    for name in SPLITS if split == "all" else (split,):
        stories = shards.split(name)  # type: ignore[arg-type]
        for number, row in enumerate(stories.rows()):
            ending = ENDINGS[row["ending"]] if row["marks"] & MARKED else None
            yield Record(shards.tokenizer.decode(stories.parts(number)[1].tolist()), None, ending)


def _sum(one: Loss, other: Loss) -> Loss:
    return type(one)(**{f.name: getattr(one, f.name) + getattr(other, f.name) for f in dataclasses.fields(one)})


def _stories(
    options: EvaluateOptions, checkpoint: Checkpoint, marked: list[tuple[str, bool]], say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of the stories that the checkpoint writes, and the stories themselves, by preset."""
    from engine.evaluation.endings import EndingJudge
    from engine.evaluation.measures import METHODS
    from engine.evaluation.stories import ENDING_METHOD, measure, presets, write_stories

    asks = checkpoint.prompt_style.name != "plain"
    judge = EndingJudge.load() if asks else None
    chosen = presets(checkpoint, [options.preset] if options.preset else list(SAMPLING_PRESETS))
    figures: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    if not asks:
        say("This checkpoint knows no topics and endings: it goes on from fixed openings, and endings are not judged.")
    stories = "1 story" if options.count == 1 else f"{options.count} stories"
    say(f"writing {stories} {'each ' * (len(chosen) > 1)}with {', '.join(chosen)} ...")
    with Progress("stories written", options.count * len(chosen), not options.quiet) as progress:
        for number, (name, sampling) in enumerate(chosen.items()):
            before = number * options.count
            begun = time.perf_counter()
            written = write_stories(
                checkpoint, sampling, options.count, options.seed, lambda done, before=before: progress(before + done)
            )
            spent = time.perf_counter() - begun
            figures[name] = measure(written, judge) | {
                "tokens_per_s": round(sum(one.tokens for one in written) / spent, 1),
                "sampling": sampling.to_json(),
            }
            texts[name] = [dataclasses.asdict(one) for one in written]
    report: dict[str, Any] = {
        "prompts": "topics and endings" if asks else "openings",
        "seed": options.seed,
        "presets": figures,
        "methods": METHODS | ({"ending_met": ENDING_METHOD} if judge else {}),
    }
    if judge is not None:
        report["judge"] = dict(judge.about)
        if len(marked) >= _LEAST_MARKED:
            agreed = judge.agreement([story for story, _ in marked], [happy for _, happy in marked])
            report["judge"] |= {"agreement_on_data": agreed, "marked_in_data": len(marked)}
    return report, texts


def _with_texts(report: dict[str, Any], texts: dict[str, Any]) -> dict[str, Any]:
    return report | ({"texts": texts} if texts else {})


def _write(path: Path, report: dict[str, Any]) -> None:
    from engine import files

    try:
        files.write_json(path, report)
    except OSError as error:
        raise TinyTalesError(f"--output {path} could not be written: {reason(error)}.") from error


_LOSS = (
    ("bits_per_byte", "bits per byte", ".4f"), ("nats_per_token", "nats per token", ".4f"), ("perplexity", "perplexity", ",.3f"),
    ("tokens", "tokens", ",d"), ("text_bytes", "text bytes", ",d"), ("stories", "stories", ",d"),
)  # fmt: skip
_WRITTEN = (
    ("stories", "stories written", "d"), ("ended_by_themselves", "end by themselves", ".0%"),
    ("ending_met", "asked ending met", ".0%"), ("ending_met_happy", "- where happy was asked", ".0%"),
    ("ending_met_sad", "- where sad was asked", ".0%"), ("topic_words_used", "words of the topic used", ".0%"),
    ("with_article", "with an article (a, an, the)", ".0%"), ("articles_per_100_words", "articles in 100 words", ".1f"),
    ("distinct_1", "distinct words", ".3f"), ("distinct_2", "distinct runs of 2 words", ".3f"),
    ("distinct_3", "distinct runs of 3 words", ".3f"), ("repeated_3_share", "repeated runs of 3 words", ".1%"),
    ("mean_tokens", "mean length in tokens", ".1f"), ("median_tokens", "median length in tokens", ".1f"),
    ("mean_words", "mean length in words", ".1f"), ("median_words", "median length in words", ".1f"),
    ("tidy_changed", "changed by tidying up", ".0%"), ("tidy_characters_removed", "- characters removed", ".1f"),
    ("tokens_per_s", "tokens a second", ",.0f"),
)  # fmt: skip


def _print(report: dict[str, Any]) -> None:
    pairs = [("checkpoint", report["checkpoint"])]
    if "nats" in report:
        pairs.append(("data", f"{', '.join(report['data'])} ({report['split']})"))
        pairs += [(label, format(report[key], shape)) for key, label, shape in _LOSS]
        pairs.append(("seconds", f"{report['seconds']:.1f}"))
    for line in facts(pairs):
        put(line)
    if written := report.get("written"):
        put("")
        _print_written(written)


def _print_written(written: dict[str, Any]) -> None:
    by_preset = written["presets"]
    rows = [
        (label, *(format(figures[key], shape) for figures in by_preset.values()))
        for key, label, shape in _WRITTEN
        if all(key in figures for figures in by_preset.values())
    ]
    for line in table(("", *by_preset), rows):
        put(line)
    if judge := written.get("judge"):
        told = (
            f"Asked ending met: judged by a small model learnt from {judge['happy'] + judge['sad']:,} TinyStories whose endings people "
            f"marked; it agrees with them on {judge['agreement']:.1%} of stories it has not seen (cross-validated)"
        )
        if "agreement_on_data" in judge:
            told += f", and on {judge['agreement_on_data']:.1%} of the {judge['marked_in_data']:,} marked stories in the data"
            told += " (it may have learnt from some of them)"
        put("")
        for line in textwrap.wrap(f"{told}. --json says how every figure is measured.", 79):
            put(line)
