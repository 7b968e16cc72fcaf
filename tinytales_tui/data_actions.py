"""The commands below `tinytales-tui data`: results on standard output, narration and progress on standard error. No Textual."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import UsageError
from tinytales_tui import paths
from tinytales_tui.data_reports import inspection_lines, instruct_lines, prepared_lines, table, vocabulary_lines
from tinytales_tui.output import json_line, note
from tinytales_tui.progress_line import ProgressLine
from tinytales_tui.report import INTERRUPTED
from tinytales_tui.text import safe_text

if TYPE_CHECKING:
    from engine.data.records import Record
    from engine.data.source import Source

Reading = tuple[str | None, str, bool]
"""Text field, divide, skip bad."""


def run_prepare(wanted: dict[str, Any], name: str | None, output: Path | None, force: bool, as_json: bool, quiet: bool) -> int:
    """Prepare sources and print the folder."""
    from engine.data.prepare import PrepareSettings, erase, prepare

    if name and output:
        raise UsageError("--name and --output both say where the data go; give one of them.")
    settings = PrepareSettings(**wanted)
    folder = output.absolute() if output else _named_folder(name or _name_of(settings.sources[0]))
    if force and folder.exists():
        erase(folder)
    line = ProgressLine(quiet)
    try:
        shards = prepare(settings, folder, line.say, progress=line)
    except KeyboardInterrupt:
        line.end()
        note("Interrupted; run the same command again to go on.")
        return INTERRUPTED
    finally:
        line.end()
    for words in [] if quiet else _told(shards.manifest):
        note(words)
    print(json.dumps({"folder": str(folder)} | shards.manifest) if as_json else folder)
    return 0


def _told(manifest: dict[str, Any]) -> Iterator[str]:
    splits, dropped = manifest["splits"], {}
    for source in manifest["sources"]:
        for reason, count in source["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    yield (
        f"{splits['train']['stories']:,} stories to train on, {splits['valid']['stories']:,} held out, "
        f"{splits['train']['tokens'] + splits['valid']['tokens']:,} tokens; {manifest['tokenizer']['name']}."
    )
    if dropped:
        yield f"Left out: {', '.join(f'{count:,} {reason}' for reason, count in dropped.items())}."
    if manifest["synthetic"]:
        yield "These data are synthetic: at least some of the stories were made by the storybook."


def run_list(as_json: bool) -> int:
    """Print the prepared data below the data folder."""
    rows = []
    root = paths.data_sets_folder()
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if facts := _facts(folder):
            rows.append(facts)
    if as_json:
        print(json.dumps(rows))
    elif not rows:
        note(f"Nothing is prepared in {paths.shown(root)} yet; `tinytales-tui data prepare` does it.")
    else:
        heads = ("name", "stories", "held out", "tokens", "vocabulary", "")
        print(
            table(heads, [[row[key] for key in ("name", "stories", "held_out", "tokens", "vocabulary", "note")] for row in rows])
        )
    return 0


def _facts(folder: Path) -> dict[str, Any] | None:
    """One row of the list; None for a folder that holds no prepared data."""
    from engine.data.shards import UNFINISHED, Shards, is_prepared

    row: dict[str, Any] = {"name": folder.name, "folder": str(folder), "finished": True, "note": ""}
    row |= {"stories": None, "held_out": None, "tokens": None, "vocabulary": ""}
    if not is_prepared(folder):
        return row | {"finished": False, "note": "not finished"} if (folder / UNFINISHED).exists() else None
    try:
        shards = Shards.open(folder)
    except UsageError:
        return row | {"finished": False, "note": "damaged"}
    train, valid = shards.manifest["splits"]["train"], shards.manifest["splits"]["valid"]
    row |= {"stories": train["stories"], "held_out": valid["stories"], "tokens": train["tokens"] + valid["tokens"]}
    return row | {"vocabulary": shards.manifest["tokenizer"]["name"], "note": "synthetic" if shards.synthetic else ""}


def run_show(name: str, verify: bool, as_json: bool) -> int:
    """Print what a prepared folder holds."""
    from engine.data.shards import Shards

    shards = Shards.open(_found(name))
    if verify:
        shards.verify()
        note("All files are as they were written.")
    if as_json:
        print(json.dumps({"folder": str(shards.folder)} | shards.manifest))
    else:
        _print(prepared_lines(shards.folder, shards.manifest))
    return 0


def run_delete(name: str, yes: bool) -> int:
    """Delete prepared data."""
    from engine.data.prepare import erase

    folder = _found(name)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"Deleting {paths.shown(folder)} asks for your word; say --yes to give it at once.")
        note(f"Delete the prepared data in {paths.shown(folder)}? The sources stay. [y/N]")
        if input().strip().lower() not in ("y", "yes"):
            note("Nothing was deleted.")
            return 0
    erase(folder)
    note(f"Deleted {paths.shown(folder)}.")
    return 0


def run_instruct(
    names: list[str],
    output: Path | None,
    balance: bool,
    seed: int,
    reading: tuple[str | None, bool],
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Write records of topic, ending and story, and report what became of the rest."""
    from engine.data.instruct import InstructReport, balanced, instruct_records

    _free(output, force)
    line = ProgressLine(quiet)
    sources = _sources(names, (reading[0], "auto", reading[1]))
    report = InstructReport()
    records = balanced(sources, seed, report, line) if balance else instruct_records(sources, report, line)
    with _lines_out(output) as write, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(line.end)
        for record in records:
            report.written_happy += record.ending == "happy"
            report.written_sad += record.ending == "sad"
            write(json_line(_row(record)))
        if not report.written_happy + report.written_sad:
            found = ", ".join(f"{count:,} {reason}" for reason, count in report.dropped.items()) or "it is empty"
            raise UsageError(f"No record with topic, ending and story was found in {names[0]} ({found}).")
    said = [json.dumps(report.to_json())] if as_json else list(instruct_lines(report.to_json()))
    if output:
        _print(said)
    else:
        for words in [] if quiet else said:
            note(words)
    return 0


def run_inspect(names: list[str], reading: Reading, seed: int, as_json: bool, quiet: bool) -> int:
    """Print what is in the sources."""
    from engine.data.inspect import inspect

    line = ProgressLine(quiet)
    try:
        found = inspect(_sources(names, reading), line, seed).to_json()
    finally:
        line.end()
    if as_json:
        print(json.dumps(found))
    else:
        _print(inspection_lines(found))
    return 0


def run_storybook(count: int | None, seed: int, output: Path | None, json_lines: bool, force: bool) -> int:
    """Write stories of the storybook."""
    from engine.data.storybook import MARK, storybook_stories
    from engine.tokenizer import END_OF_TEXT

    if output and output.suffix not in (".jsonl", ".txt"):
        raise UsageError(f"The storybook writes .jsonl and .txt files, and {output} is neither.")
    _free(output, force)
    count = count or (1000 if output else 3)
    stories = itertools.islice(storybook_stories(seed), count)
    with _lines_out(output) as write:
        if json_lines or (output and output.suffix == ".jsonl"):
            for record in stories:
                write(json_line(_row(record)))
        else:
            write(f"{MARK} {count} stories made by tinytales-tui data storybook --seed {seed}\n{END_OF_TEXT}\n")
            for record in stories:
                write(f"{record.story}\n{END_OF_TEXT}\n")
    if output:
        print(output)
    return 0


def run_tokenizer_train(
    names: list[str], output: Path, vocab_size: int, reading: Reading, force: bool, as_json: bool, quiet: bool
) -> int:
    """Learn a vocabulary, write it, and report how well it fits."""
    from engine.data.vocabulary import learn_vocabulary, measure_vocabulary
    from engine.files import write_text

    _free(output, force)
    line = ProgressLine(quiet)
    try:
        sources = _sources(names, reading)
        tokenizer = learn_vocabulary(sources, vocab_size, line)
        if tokenizer.vocab_size < vocab_size:
            line.say(f"The stories hold too little for {vocab_size:,} tokens; the vocabulary has {tokenizer.vocab_size:,}.")
        write_text(output, tokenizer.to_json())
        report = measure_vocabulary(tokenizer, sources, line).to_json()
    finally:
        line.end()
    _print([json.dumps({"file": str(output)} | report)] if as_json else [f"Wrote {output}.", *vocabulary_lines(report)])
    return 0


def run_tokenizer_report(name: str, names: list[str], reading: Reading, as_json: bool, quiet: bool) -> int:
    """Report how well a vocabulary fits."""
    from engine.data.prepare import open_tokenizer
    from engine.data.vocabulary import measure_vocabulary

    line = ProgressLine(quiet)
    try:
        report = measure_vocabulary(open_tokenizer(name), _sources(names, reading), line).to_json()
    finally:
        line.end()
    _print([json.dumps(report)] if as_json else vocabulary_lines(report))
    return 0


def _sources(names: Iterable[str], reading: Reading) -> list[Source]:
    from engine.data.sources import ReadingOptions, open_sources

    return open_sources(names, ReadingOptions(reading[0], reading[1], reading[2]))  # type: ignore[arg-type]


def _row(record: Record) -> dict[str, Any]:
    """A record as a line of JSON holds it."""
    row: dict[str, Any] = {"topic": record.topic, "ending": record.ending, "story": record.story}
    return row | {"synthetic": True} if record.synthetic else row


def _free(output: Path | None, force: bool) -> None:
    """Refuse to write over a file unless that is wanted."""
    if output and output.is_file() and not force:
        raise UsageError(f"{output} is there already; --force replaces it.")
    if output and not output.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {output.absolute().parent} to write {output.name} into.")


@contextlib.contextmanager
def _lines_out(output: Path | None) -> Iterator[Any]:
    """A function that writes text to the file, or to standard output."""
    if output is None:
        yield sys.stdout.write
        return
    from engine.data.whole_file import whole_file

    with whole_file(output) as file:
        yield file.write


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(safe_text(line))


def _named_folder(name: str) -> Path:
    plain = name.isprintable() and name.strip() and len(name.encode()) <= 200 and name != "storybook"
    if Path(name).name != name or name.startswith((".", "-")) or not plain:
        raise UsageError(f"{name!r} cannot be the name of prepared data; leave out slashes and a leading dot, or use --output.")
    return paths.data_sets_folder() / name


def _found(name: str) -> Path:
    """The prepared data that are called so: a name below the data folder, or a folder."""
    if Path(name).name == name and (paths.data_sets_folder() / name).is_dir():
        return paths.data_sets_folder() / name
    if Path(name).is_dir():
        return Path(name)
    raise UsageError(f"Nothing is prepared under the name {name}; `tinytales-tui data list` shows what there is.")


def _name_of(source: str) -> str:
    """A name after the first source: a file without its endings, or the source with dashes."""
    path = Path(source)
    stem = path.resolve().name.split(".")[0] if path.exists() else source
    words = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in stem).strip("-._")
    return words[:60] or "stories"
