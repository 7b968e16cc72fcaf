"""Reports about data as plain text: a table, a histogram, samples. They take the same dictionaries that `--json` prints. No Textual."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinytales_tui.paths import shown
from tinytales_tui.text import one_line, safe_text

BAR_WIDTH = 40


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows below their heads; numbers to the right with thousands divided, nothing for None."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(head), *(len(row[at]) for row in cells)) for at, head in enumerate(heads)]
    right = [any(isinstance(row[at], int) for row in rows) for at in range(len(heads))]
    shown_rows = []
    for row in [list(heads), *cells]:
        aligned = [cell.rjust(w) if to_right else cell.ljust(w) for cell, w, to_right in zip(row, widths, right, strict=True)]
        shown_rows.append("  ".join(aligned).rstrip())
    return "\n".join(shown_rows)


def _cell(value: object, width: int = 60) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else one_line(str(value), width)


def _pairs(pairs: Sequence[tuple[str, object]]) -> Iterator[str]:
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        yield f"{name:<{width}}  {_cell(value, 200)}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "nothing"


def prepared_lines(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """What a prepared folder holds."""
    settings, train, valid = manifest["settings"], manifest["splits"]["train"], manifest["splits"]["valid"]
    yield from _pairs(
        [
            ("folder", shown(folder)),
            ("prepared", manifest["created"]),
            ("synthetic", "yes: at least some stories were made by the storybook" if manifest["synthetic"] else "no"),
            ("vocabulary", manifest["tokenizer"]["name"]),
            ("to train on", f"{train['stories']:,} stories, {train['tokens']:,} tokens, {train['text_bytes']:,} bytes of text"),
            ("held out", f"{valid['stories']:,} stories, {valid['tokens']:,} tokens, {valid['text_bytes']:,} bytes of text"),
            ("with a prompt", f"{train['prompted'] + valid['prompted']:,} stories (topic and ending known or guessed)"),
            ("shards", len(train["shards"]) + len(valid["shards"])),
            ("data hash", manifest["data_sha256"]),
        ]
    )
    changed = {key.replace("_", "-"): value for key, value in settings.items() if key != "sources" and value not in (None, False)}
    yield f"settings: {', '.join(f'{key} {value}' for key, value in changed.items())}"
    yield ""
    yield table(
        ("source", "kind", "stories", "left out"),
        [(one_line(s["name"], 50), s["kind"], s["stories"], _counts(s["dropped"])) for s in manifest["sources"]],
    )


def inspection_lines(found: dict[str, Any]) -> Iterator[str]:
    """What a look through sources found."""
    words, endings = found["words"], found["endings"]
    yield table(
        ("source", "kind", "stories", "left out"),
        [(one_line(s["name"], 50), s["kind"], s["stories"], _counts(s["dropped"])) for s in found["sources"]],
    )
    yield ""
    pairs = [
        ("stories", found["stories"]),
        ("text", f"{found['text_bytes'] / 1e6:,.1f} MB, {words['total']:,} words"),
        (
            "words a story",
            f"{words['median']:,} (median), {words['least']:,} to {words['most']:,}, 95 % up to {words['95th percentile']:,}",
        ),
        ("with a topic", found["with_topic"]),
        ("endings", _counts(endings)),
        ("duplicates", found["duplicates"]),
        ("suspicious", f"{found['suspicious']:,}" + (f" ({_counts(found['reasons'])})" if found["reasons"] else "")),
    ]
    yield from _pairs(pairs + ([("synthetic", found["synthetic"])] if found["synthetic"] else []))
    yield ""
    yield "Length in words"
    most = max(bar["stories"] for bar in words["histogram"])
    for bar in words["histogram"]:
        name = f"{bar['from']:>5} to {bar['below'] - 1:<5}"
        yield f"{name} {'#' * round(BAR_WIDTH * bar['stories'] / most):<{BAR_WIDTH}} {bar['stories']:,}"
    for reason, places in found["examples"].items():
        yield ""
        yield f"Suspicious: {reason}"
        for place in places:
            yield f"  {one_line(place, 150)}"
    for number, sample in enumerate(found["samples"], 1):
        yield ""
        about = ", ".join(part for part in (sample["topic"], sample["ending"]) if part)
        yield f"Sample {number}" + (f": {one_line(about, 100)}" if about else "")
        for line in safe_text(sample["story"]).split("\n"):
            yield from textwrap.wrap(line, 100, initial_indent="  ", subsequent_indent="  ")


def instruct_lines(report: dict[str, Any]) -> Iterator[str]:
    """What became of instruction records."""
    before, after = report["before"], report["after"]
    yield from _pairs(
        [
            ("records", report["records"]),
            ("left out", _counts(report["dropped"])),
            ("before", _counts(before)),
            ("written", _counts(after) + (" (balanced)" if report["balanced"] else "")),
        ]
    )
    if report["balanced"] and after["happy"] < after["sad"]:
        yield "There are fewer happy records than sad ones, so all of both were kept."


def vocabulary_lines(report: dict[str, Any]) -> Iterator[str]:
    """How well a vocabulary fits stories."""
    yield from _pairs(
        [
            ("vocabulary", report["tokenizer"]),
            ("measured on", f"{report['stories']:,} stories, {report['text_bytes']:,} bytes"),
            ("bytes a token", f"{report['bytes_per_token']:.3f}"),
            ("tokens a story", f"{report['tokens_per_story']:.1f}"),
            ("unknown", f"{100 * report['unknown_share']:.4f} % of the text does not come back"),
            ("pieces", f"{100 * report['partial_character_share']:.4f} % of the tokens are parts of a character"),
            ("never used", report["tokens_never_used"]),
        ]
    )
    yield ""
    yield "The commonest tokens"
    for row in report["commonest"]:
        yield f"  {row['token']:>6}  {100 * row['share']:6.2f} %  {safe_text(repr(row['text']))}"
