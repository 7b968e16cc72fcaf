"""What `--prompt` and the app are started with, as options of the command line. No Textual, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.prompts import STYLES
from engine.settings import SAMPLING_PRESETS, STORY_FEATURES, SamplingSettings, ranges

_LIMITS = ranges(SamplingSettings)
_STORY, _SAMPLING, _OUTPUT, _ENGINE = "The story", "Sampling", "Output", "Engine"
_CHOICES = "If a checkpoint is taken for something else"


def _sampling_option(*names: str, setting: str) -> Any:
    limits = _LIMITS[setting]
    return typer.Option(*names, help=f"{limits.help} ({limits.low:g} to {limits.high:g})", rich_help_panel=_SAMPLING)


Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        "-p",
        metavar="TEXT",
        help="Write one story about TEXT to standard output, without the app. `-` reads prompts from standard input, one a line.",
        rich_help_panel=_STORY,
    ),
]
Ending = Annotated[
    str | None,
    typer.Option(
        "--ending",
        "-e",
        metavar="happy|sad|none",
        help="How the story ends; none continues TEXT as it stands. Left out: happy.",
        rich_help_panel=_STORY,
    ),
]
Raw = Annotated[bool, typer.Option("--raw", help="The same as --ending none.", rich_help_panel=_STORY)]
Count = Annotated[
    int, typer.Option("--count", "-n", metavar="N", help="Stories a prompt; story i has seed + i.", rich_help_panel=_STORY)
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        "-c",
        metavar="SOURCE",
        help="The model: a folder, a file or a Hub id (owner/name). Left out: the one that comes with the program.",
        rich_help_panel=_ENGINE,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="|".join(SAMPLING_PRESETS),
        help="A set of sampling values. Left out: what the checkpoint recommends, else balanced.",
        rich_help_panel=_SAMPLING,
    ),
]
Temperature = Annotated[float | None, _sampling_option("--temperature", "-t", setting="temperature")]
TopK = Annotated[int | None, _sampling_option("--top-k", setting="top_k")]
TopP = Annotated[float | None, _sampling_option("--top-p", setting="top_p")]
MinP = Annotated[float | None, _sampling_option("--min-p", setting="min_p")]
RepetitionPenalty = Annotated[float | None, _sampling_option("--repetition-penalty", setting="repetition_penalty")]
NoRepeatNgram = Annotated[int | None, _sampling_option("--no-repeat-ngram", setting="no_repeat_ngram")]
MaxTokens = Annotated[int | None, _sampling_option("--max-tokens", setting="max_tokens")]
MinTokens = Annotated[int | None, _sampling_option("--min-tokens", setting="min_tokens")]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        "-s",
        help="Start of the random draw: the same seed and step give the same bytes. Left out: a new one, named on standard error.",
        rich_help_panel=_SAMPLING,
    ),
]
Ban = Annotated[
    list[str] | None,
    typer.Option("--ban", metavar="WORD", help="A word that must not appear; may be repeated.", rich_help_panel=_SAMPLING),
]
Favour = Annotated[
    list[str] | None,
    typer.Option("--favour", metavar="WORD", help="A word to make likelier; may be repeated.", rich_help_panel=_SAMPLING),
]
MustMention = Annotated[
    list[str] | None,
    typer.Option(
        "--must-mention",
        metavar="WORD",
        help="A word to make ever likelier until it has come; may be repeated.",
        rich_help_panel=_SAMPLING,
    ),
]
FavourStrength = Annotated[float | None, _sampling_option("--favour-strength", setting="favour")]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="End the story before this text; may be repeated.", rich_help_panel=_SAMPLING),
]
StopLoops = Annotated[
    bool | None,
    typer.Option("--stop-loops/--no-stop-loops", help="End a story that repeats itself.", rich_help_panel=_SAMPLING),
]
Tidy = Annotated[
    bool,
    typer.Option(
        "--tidy/--no-tidy",
        help="Mend spaces and capitals and drop a last sentence that was cut off; no word is changed.",
        rich_help_panel=_OUTPUT,
    ),
]
JsonLines = Annotated[
    bool, typer.Option("--json", help="One JSON object a story, a line each, with its recipe.", rich_help_panel=_OUTPUT)
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to FILE, whole or not at all, not to the screen.",
        rich_help_panel=_OUTPUT,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes on standard error, only errors.", rich_help_panel=_OUTPUT)]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, mps ... Left out: the best there is.", rich_help_panel=_ENGINE),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="auto|fp32|bf16|int8|int4",
        help="Of the weights. auto: fp32, and in the app and a waiting engine soon what was measured to be fastest here, if it costs "
        "less than 0.5 % in bits per byte. int8 and int4 (experimental) mean --step compiled.",
        rich_help_panel=_ENGINE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", help="CPU threads. Left out: by the model's size.", rich_help_panel=_ENGINE),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="COMMAND",
        help="How the app starts its engine, such as 'ssh host python -m engine.worker'. Left out: here.",
        rich_help_panel=_ENGINE,
    ),
]
Step = Annotated[
    str | None,
    typer.Option(
        "--step",
        metavar="plain|compiled",
        help="What writes: the network itself, or compiled code (faster; with CUDA a graph). Left out: as --precision says.",
        rich_help_panel=_ENGINE,
    ),
]
Warm = Annotated[
    bool,
    typer.Option(
        "--warm/--no-warm", help="Use the engine that `engine start` left running, where one is.", rich_help_panel=_ENGINE
    ),
]
Words = Annotated[
    str | None,
    typer.Option(
        "--words", metavar="WORDS", help="Words to use, between commas; TinyStories-Instruct only.", rich_help_panel=_STORY
    ),
]
Feature = Annotated[
    list[str] | None,
    typer.Option(
        "--feature",
        metavar="NAME",
        help=f"{', '.join(STORY_FEATURES)}; may be repeated. TinyStories-Instruct only.",
        rich_help_panel=_STORY,
    ),
]
Sentence = Annotated[
    str | None,
    typer.Option(
        "--sentence", metavar="TEXT", help="A sentence to occur in it; TinyStories-Instruct only.", rich_help_panel=_STORY
    ),
]
PromptStyle = Annotated[
    str | None,
    typer.Option(
        "--prompt-style", metavar="|".join(STYLES), help="How the model is asked for a story.", rich_help_panel=_CHOICES
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="FILE|gpt2",
        help="A tokenizer.json, tokenizer.model or tokenizer.bin; or gpt2.",
        rich_help_panel=_CHOICES,
    ),
]
EndId = Annotated[
    list[int] | None,
    typer.Option(
        "--end-id",
        metavar="N",
        help="A token that ends a story, besides the tokenizer's own; may be repeated.",
        rich_help_panel=_CHOICES,
    ),
]
BeginId = Annotated[
    int | None,
    typer.Option("--begin-id", metavar="N", help="A token to put before everything; -1: none.", rich_help_panel=_CHOICES, min=-1),
]
