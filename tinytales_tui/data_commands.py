"""What can be typed after `tinytales-tui data`: the options and their help. The work is in `data_actions`, imported when it is needed.

Imports neither Textual nor torch nor numpy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(name="data", help="Prepare, inspect and make stories to train on.", no_args_is_help=True)
tokenizer_app = typer.Typer(name="tokenizer", help="Learn a vocabulary from stories, or measure one.", no_args_is_help=True)
data_app.add_typer(tokenizer_app)

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Files (text, JSON lines, JSON, CSV, Parquet; also packed), folders or globs of them, Hub data sets (owner/name, "
        "owner/name:split, owner/name:config:split), or storybook:COUNT:SEED.",
    ),
]
TextField = Annotated[
    str | None, typer.Option("--text-field", metavar="NAME", help="The column with the story. Left out: found by its name.")
]
Divide = Annotated[
    str,
    typer.Option(
        "--divide",
        metavar="auto|end-of-text|blank-line|file",
        help="What stands between two stories of a text file: <|endoftext|>, a blank line, or nothing (a story a file).",
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot be read, and count it, rather than stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Decides every random choice.", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


@data_app.command()
def prepare(
    sources: Sources,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name of the prepared data. Left out: the first source's."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="A folder of your own instead of a name.")
    ] = None,
    tokenizer: Annotated[
        str,
        typer.Option(
            "--tokenizer",
            metavar="gpt2|bpe|PATH",
            help="GPT-2's, one learnt from these stories, or a tokenizer.json or checkpoint.",
        ),
    ] = "gpt2",
    vocab_size: Annotated[
        int, typer.Option("--vocab-size", metavar="N", help="Tokens of a vocabulary that is learnt (bpe).", min=257)
    ] = 4096,
    validation_share: Annotated[
        float, typer.Option("--validation-share", metavar="X", help="Share of the stories that is held out.", min=0, max=0.5)
    ] = 0.01,
    seed: Seed = 1,
    text_field: TextField = None,
    divide: Divide = "auto",
    guess: Annotated[
        bool, typer.Option("--guess", help="Guess topics and endings of plain stories; the guesses are flagged as such.")
    ] = False,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="Keep stories that occur more than once.")] = False,
    skip_bad: SkipBad = False,
    force: Annotated[bool, typer.Option("--force", help="Delete what was prepared there before and start afresh.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Tokenize stories into memory-mapped shards to train on; goes on where it was interrupted.

    Prints the folder with the prepared data, which `train --data` takes.
    """
    from tinytales_tui.data_actions import run_prepare

    wanted = {
        "sources": tuple(sources), "tokenizer": tokenizer, "vocab_size": vocab_size, "validation_share": validation_share,
        "seed": seed, "guess": guess, "text_field": text_field, "divide": divide, "unique": not keep_duplicates,
        "skip_bad": skip_bad,
    }  # fmt: skip
    raise typer.Exit(run_prepare(wanted, name, output, force, as_json, quiet))


@data_app.command("list")
def list_prepared(as_json: AsJson = False) -> None:
    """List the prepared data that have a name."""
    from tinytales_tui.data_actions import run_list

    raise typer.Exit(run_list(as_json))


@data_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FOLDER")],
    verify: Annotated[bool, typer.Option("--verify", help="Read everything and compare it with the manifest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what prepared data hold, where they come from and what was left out."""
    from tinytales_tui.data_actions import run_show

    raise typer.Exit(run_show(name, verify, as_json))


@data_app.command()
def delete(
    name: Annotated[str, typer.Argument(metavar="NAME|FOLDER")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete prepared data; the sources stay."""
    from tinytales_tui.data_actions import run_delete

    raise typer.Exit(run_delete(name, yes))


@data_app.command()
def instruct(
    sources: Sources,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.jsonl", help="Where the records go. Left out: standard output.")
    ] = None,
    balance: Annotated[bool, typer.Option("--balance", help="Keep every sad record and draw as many happy ones.")] = False,
    seed: Seed = 1,
    text_field: TextField = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn instruction data (TinyStoriesInstruct and the like) into records of topic, ending and story."""
    from tinytales_tui.data_actions import run_instruct

    raise typer.Exit(run_instruct(sources, output, balance, seed, (text_field, skip_bad), force, as_json, quiet))


@data_app.command()
def inspect(
    sources: Sources,
    text_field: TextField = None,
    divide: Divide = "auto",
    skip_bad: SkipBad = False,
    seed: Seed = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look through stories: counts, lengths, endings, duplicates, suspicious ones, five samples."""
    from tinytales_tui.data_actions import run_inspect

    raise typer.Exit(run_inspect(sources, (text_field, divide, skip_bad), seed, as_json, quiet))


@data_app.command()
def storybook(
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", metavar="N", help="How many stories. Left out: 1000 into a file, else 3.", min=1),
    ] = None,
    seed: Seed = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A .jsonl or .txt file. Left out: standard output.")
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="JSON lines on standard output, with topic and ending.")] = False,
    force: Force = False,
) -> None:
    """Make simple stories from a grammar, to train on without data. They are marked as synthetic wherever they go."""
    from tinytales_tui.data_actions import run_storybook

    raise typer.Exit(run_storybook(count, seed, output, json_lines, force))


@tokenizer_app.command("train")
def tokenizer_train(
    sources: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The tokenizer.json to write.")],
    vocab_size: Annotated[int, typer.Option("--vocab-size", metavar="N", help="Tokens: 4096, 10000 ...", min=257)] = 4096,
    text_field: TextField = None,
    divide: Divide = "auto",
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Learn a byte-level BPE vocabulary (from the first 200 MB) and report how well it fits."""
    from tinytales_tui.data_actions import run_tokenizer_train

    raise typer.Exit(run_tokenizer_train(sources, output, vocab_size, (text_field, divide, skip_bad), force, as_json, quiet))


@tokenizer_app.command("report")
def tokenizer_report(
    tokenizer: Annotated[str, typer.Argument(metavar="gpt2|FILE", help="gpt2, a tokenizer.json, or a folder that holds one.")],
    sources: Sources,
    text_field: TextField = None,
    divide: Divide = "auto",
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Report how well a vocabulary fits stories: bytes a token, what it cannot say, the commonest tokens."""
    from tinytales_tui.data_actions import run_tokenizer_report

    raise typer.Exit(run_tokenizer_report(tokenizer, sources, (text_field, divide, skip_bad), as_json, quiet))
