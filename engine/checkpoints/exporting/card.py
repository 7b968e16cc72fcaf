"""The model card (`README.md`) of an exported checkpoint: plain facts, and nothing that nobody knows.

Names, licences and settings come from files of unknown origin, so each is brought onto one line without control characters before it is
written.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from engine.checkpoints.glance import folder_of
from engine.checkpoints.layout import words
from engine.checkpoints.load import locate
from engine.errors import TinyTalesError
from engine.prompts import instruct_prompt, story_prompt
from engine.settings import GenerationRequest

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint

LARGEST = 1 << 20
"""Bytes of a card that is kept; a longer one is none."""
_LICENCE = re.compile(r"[\w.+-]{1,60}")
"""What may stand as a licence in a card's front matter: an identifier such as `mit`."""
NOTICE = (
    "> **8-bit weights (int8), for tinytales-tui alone.** `transformers` cannot open this folder. What it opens is made, best from the\n"
    "> checkpoint that this was made from, with `tinytales-tui checkpoints export path/of/a/checkpoint another-folder --to hf`.\n"
    "> Figures on this page were measured before the weights were rounded to 8 bits, unless it says otherwise.\n\n"
)
"""Stands at the top of the card of a folder in int8."""
_WITH_TRANSFORMERS = """With `transformers`:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/of/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")
```

"""
_HOW = "## How to open it\n\n"
_LIBRARIES = ("\nlibrary_name: transformers\n", "\nlibrary_name: tinytales-tui\n")
"""What the front matter names for floating-point weights, and for int8."""
_FRONT = re.compile(r"---\n.*?\n---\n\n?", re.DOTALL)
_STORED = re.compile(r"^(\| Parameters \| [\d,]+, stored as )\w+(?= \|$)", re.MULTILINE)
"""The row of `model_card` that says how weights are stored."""
_DESIGNS = {"llama": "Llama", "phi3": "Llama with partly rotary heads (layout Phi-3)", "gpt2": "GPT-2", "gpt_neo": "GPT-Neo"}


def card_of(source: str) -> str | None:
    """The README.md of the checkpoint's folder, as it is; None where there is none that can be read.

    A folder that has no config.json and is no repository of the Hub may be anything, and its README.md about anything.
    """
    try:
        folder = folder_of(source) or folder_of(str(locate(source)[0]))
        if folder is None or not ((folder / "config.json").is_file() or folder.parent.name == "snapshots"):
            return None
        path = folder / "README.md"
        return path.read_text(encoding="utf-8") if path.is_file() and path.stat().st_size <= LARGEST else None
    except (TinyTalesError, OSError, ValueError):
        return None


def model_card(checkpoint: Checkpoint, kind: str, stored_as: str) -> str:
    """A card for a checkpoint that has none."""
    config, licence = checkpoint.config, checkpoint.card.get("license")
    tags = ["tinystories", "story-generation", kind.replace("_", "-")]
    licence = licence if isinstance(licence, str) and _LICENCE.fullmatch(licence) else None
    front = [*([f"license: {licence}"] if licence else []), "library_name: transformers", "pipeline_tag: text-generation"]
    facts = {
        "Design": f"{_DESIGNS[kind]}: {config.layers} layers × width {config.width} × {config.heads} heads",
        "Parameters": f"{checkpoint.network.parameter_count():,}, stored as {stored_as}",
        "Context": f"{config.context:,} tokens",
        "Tokenizer": checkpoint.tokenizer.name,
        "Begins with": _tokens(
            checkpoint, words.first_tokens(checkpoint.tokenizer, checkpoint.prompt_style, checkpoint.begin_id)
        ),
        "Ends a story with": _tokens(checkpoint, words.end_tokens(checkpoint.tokenizer, checkpoint.end_ids)),
        "Exported from": _escaped(f"{checkpoint.name} ({checkpoint.family})"),
        **_measured(checkpoint.card),
        "Licence": licence or "not stated by the checkpoint that this was made from",
    }
    table = "\n".join(f"| {name} | {_line(value)} |" for name, value in facts.items())
    return f"""---
{chr(10).join(front)}
tags: [{", ".join(tags)}]
---

# {_line(_escaped(checkpoint.name))}

A small model that writes short stories, exported by tinytales-tui.

| | |
| --- | --- |
{table}

## The prompt

{_prompt(checkpoint)}

{_HOW}{_WITH_TRANSFORMERS}With tinytales-tui:

```
tinytales-tui --checkpoint path/of/this/folder
```
"""


def with_notice(text: str) -> str:
    """A card for a folder in int8: with `NOTICE`, and without what holds for transformers alone; `restated` takes it back."""
    text = text.replace(*_LIBRARIES, 1).replace(_WITH_TRANSFORMERS, "", 1)
    front = _FRONT.match(text)
    at = front.end() if front else 0
    return text[:at] + NOTICE + text[at:]


def restated(text: str, stored_as: str) -> str:
    """A card that came with a checkpoint, for weights of another kind: what this program wrote of their kind is brought up to date."""
    if NOTICE in text:
        text = text.replace(NOTICE, "", 1).replace(*_LIBRARIES[::-1], 1)
        text = text.replace(f"{_HOW}With tinytales-tui:", f"{_HOW}{_WITH_TRANSFORMERS}With tinytales-tui:", 1)
    return _STORED.sub(rf"\g<1>{stored_as}", text)


def _prompt(checkpoint: Checkpoint) -> str:
    """The exact prompt of the checkpoint's style."""
    topic = "a brave knight"
    match checkpoint.prompt_style.name:
        case "topic-ending":
            text = story_prompt(topic, "happy")
        case "instruct-fields":
            text = instruct_prompt(GenerationRequest(topic=topic, ending="happy"))
        case _:
            return "The model goes on from the words that it is given; it was not tuned on topics and endings."
    return (
        f"With a topic and an ending (`happy` or `sad`) the prompt is, to the letter:\n\n```\n{text}```\n\nand the story follows."
    )


def _measured(card: dict[str, Any]) -> dict[str, str]:
    """What the checkpoint says of its training, where it is a number."""
    measured = card.get("validation")
    bits = measured.get("bits_per_byte") if isinstance(measured, dict) else None
    found = {"Training steps": card.get("step"), "Bits per byte, on stories held out": bits}
    return {
        name: f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _tokens(checkpoint: Checkpoint, ids: list[int]) -> str:
    names = words.token_names(json.loads(checkpoint.tokenizer.to_json()))
    return ", ".join(f"`{names.get(token, '').replace('`', ' ')}` ({token})" for token in ids) or "no token of its own"


def _escaped(text: str) -> str:
    """Text of unknown origin that is no HTML, no link and no code in Markdown."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", text)


def _line(text: str) -> str:
    """One line for a table: no control characters, and no end of a column."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())[:300].replace("|", "\\|")
