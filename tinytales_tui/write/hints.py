"""What stands on an empty page: a few friendly lines for a person who has never seen the program. Plain data."""

from __future__ import annotations

from engine.protocol import CheckpointInfo

Hint = tuple[str, str]
"""(`title` or `hint`, words) a paragraph."""


def hints(checkpoint: CheckpointInfo | None, loaded: bool, trouble: str) -> list[Hint]:
    """The lines for the present state of the model."""
    if trouble and checkpoint is None:
        return [("title", "The model could not be loaded."), ("hint", ""), ("hint", trouble)]
    lines: list[Hint] = [("title", "Every story begins somewhere."), ("hint", "")]
    if checkpoint is not None and checkpoint.prompt_style == "plain":
        lines.append(("hint", "Type how the story begins and press Enter: this model goes on from your words."))
    else:
        lines += [
            ("hint", "Type what the story is about, choose how it ends, and press Enter. It is written here, word by word."),
            ("hint", ""),
            ("hint", "If you have the first words already, put them under Begin with, and the story goes on from there."),
        ]
    if not loaded and not trouble:
        lines += [("hint", ""), ("hint", "The model is being loaded. You can type meanwhile.")]
    return lines
