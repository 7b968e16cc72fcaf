"""Recipes: training settings by name, commented TOML files in `engine/recipes`. Knows no torch."""

from __future__ import annotations

import itertools
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.training.settings import TrainSettings, options


def recipe_names() -> list[str]:
    """The recipes in the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str, changes: dict[str, Any]) -> TrainSettings:
    """The settings of a recipe (a name, or the path of a TOML file) with `changes` over them; raises `UsageError`."""
    path = Path(name)
    source = path if name.endswith(".toml") else _folder().joinpath(f"{name}.toml")
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"There is no recipe {name!r}; choose {', '.join(recipe_names())}, or name a .toml file.") from error
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise UsageError(f"The recipe {name} is not valid TOML: {error}.") from error
    if {"epochs", "steps"} <= changes.keys():
        raise UsageError("Give the length in steps or in epochs, not in both.")
    values = {key.replace("-", "_"): value for key, value in values.items()}
    if unknown := sorted((values | changes).keys() - options().keys()):
        where = f"The recipe {name}" if set(unknown) & values.keys() else "Training"
        raise UsageError(f"{where} has no setting called {', '.join(unknown)}; `tinytales-tui train --settings` lists them.")
    if "epochs" in changes and "steps" not in changes:
        values.pop("steps", None)  # the recipe's own length gives way
    try:
        return TrainSettings.from_json(values | changes)
    except TypeError as error:
        raise UsageError(f"The recipe {name} has a value of the wrong kind ({error}).") from error


def about_recipe(name: str) -> str:
    """The first sentence of a recipe's own comment."""
    lines = itertools.takewhile(
        lambda line: line.startswith("# "), _folder().joinpath(f"{name}.toml").read_text("utf-8").splitlines()
    )
    return " ".join(line.removeprefix("# ").strip() for line in lines).split(". ")[0].split(": ")[0].rstrip(".") + "."


def _folder() -> Any:
    return resources.files("engine").joinpath("recipes")
