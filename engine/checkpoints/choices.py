"""What a person chose about a checkpoint where its files leave it open, or where they know better. Knows no torch."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from engine.errors import CheckpointError, UsageError
from engine.prompts import STYLES, StyleName
from engine.settings import JsonRoundTrip

if TYPE_CHECKING:
    from engine.checkpoints.native import Checkpoint
    from engine.tokenizer import Tokenizer

NO_BEGINNING = -1
"""As `begin_id`: put no token before everything."""


@dataclass(frozen=True)
class Choices(JsonRoundTrip):
    """None leaves a thing as the checkpoint's adapter found it."""

    prompt_style: StyleName | None = None
    tokenizer: str | None = None
    """`gpt2`, or the path of a `tokenizer.json`, `tokenizer.model` or `tokenizer.bin`."""
    end_ids: tuple[int, ...] | None = None
    """Tokens that end a story besides the tokenizer's own end token."""
    begin_id: int | None = None
    """A token to put before everything; `NO_BEGINNING`: none."""

    def __post_init__(self) -> None:
        if self.prompt_style is not None and self.prompt_style not in STYLES:
            raise UsageError(f"There is no prompt style {self.prompt_style!r}; choose {', '.join(STYLES)}.")
        if self.tokenizer is not None and (not isinstance(self.tokenizer, str) or not self.tokenizer.strip()):
            raise UsageError("A tokenizer is gpt2 or the path of a tokenizer.json, tokenizer.model or tokenizer.bin.")
        ids = () if self.end_ids is None else self.end_ids
        if any(type(id) is not int or id < 0 for id in ids):
            raise UsageError(f"The numbers of tokens that end a story are whole and not negative, not {ids!r}.")
        if self.begin_id is not None and (type(self.begin_id) is not int or self.begin_id < NO_BEGINNING):
            raise UsageError(f"The number of a token is whole and not negative, not {self.begin_id!r}.")

    def __bool__(self) -> bool:
        return self != Choices()

    @classmethod
    def from_json(cls, data: Any) -> Self:
        if isinstance(data, dict) and isinstance(data.get("end_ids"), list):
            data = data | {"end_ids": tuple(data["end_ids"])}
        return super().from_json(data)

    def over(self, below: Choices) -> Choices:
        """These, and where they are silent those below."""
        mine = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return dataclasses.replace(below, **mine)

    def in_words(self) -> list[str]:
        """One short phrase a choice, for a person."""
        begin = "no token before everything" if self.begin_id == NO_BEGINNING else f"token {self.begin_id} before everything"
        said = [
            (self.prompt_style, f"prompt style {self.prompt_style}"),
            (self.tokenizer, f"tokenizer {self.tokenizer}"),
            (self.end_ids, f"ends at {', '.join(map(str, self.end_ids or ())) or 'no further tokens'}"),
            (self.begin_id, begin),
        ]
        return [words for value, words in said if value is not None]


def load_tokenizer(choice: str) -> Tokenizer:
    """The tokenizer that a choice names; raises `CheckpointError` or `UsageError`."""
    from engine import llama_tokenizer
    from engine.tokenizer import GPT2Tokenizer

    if choice == "gpt2":
        return GPT2Tokenizer()
    path = Path(os.path.expanduser(choice))  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    if path.is_dir() and (path / "tokenizer.json").is_file():
        path = path / "tokenizer.json"
    if not path.is_file():
        raise UsageError(f"There is no tokenizer at {choice}; name a tokenizer.json, tokenizer.model or tokenizer.bin, or gpt2.")
    return llama_tokenizer.read(path)


def check_tokenizer(choices: Choices) -> Choices:
    """The choices with the tokenizer's path made absolute, after reading it once; raises as `load_tokenizer`."""
    if choices.tokenizer is None:
        return choices
    load_tokenizer(choices.tokenizer)
    if choices.tokenizer == "gpt2":
        return choices
    place = Path(os.path.expanduser(choices.tokenizer)).absolute()  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    return dataclasses.replace(choices, tokenizer=str(place))


def apply(checkpoint: Checkpoint, choices: Choices) -> None:
    """Change what was chosen, apart from the tokenizer, which has to be there before the rest; `CheckpointError` where it cannot be."""
    if choices.prompt_style is not None:
        checkpoint.prompt_style = dataclasses.replace(checkpoint.prompt_style, name=choices.prompt_style)
    if choices.end_ids is not None:
        checkpoint.end_ids = choices.end_ids
    if choices.begin_id is not None:
        checkpoint.begin_id = None if choices.begin_id == NO_BEGINNING else choices.begin_id
    rows = checkpoint.config.vocab_size
    for id in (*checkpoint.end_ids, checkpoint.begin_id):
        if id is not None and id >= rows:
            raise CheckpointError(f"There is no token {id:,}: {checkpoint.name} has {rows:,}.")
