"""What stands in the form that starts a run: its fields, what a person typed over the recipe, and what is wrong with it.

The fields are the trainer's own settings, and so are their limits and sentences; typed texts are read exactly as the command line reads
them. Knows no Textual and no torch; only `read_recipes` touches the disk.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.settings import MODEL_PRESETS
from engine.training.recipes import about_recipe, load_recipe, recipe_names
from engine.training.settings import TrainSettings, options
from tinytales_tui.changes import setting_options
from tinytales_tui.run_plan import RunRequest, run_folder

RECIPE, NAME = "recipe", "name"
"""The two fields that are no training settings."""
COMMON = ("model", "steps", "epochs", "batch_tokens", "learning_rate", "device", "start_from")
"""Settings that are changed most often; they stand above all others."""
LABELS = {"start_from": "from"}
"""Names on the command line that differ from the setting's own."""
LEFT_OUT = {
    "steps": "by the epochs",
    "epochs": "by the steps",
    "device": "the best there is",
    "threads": "as many as the machine gives",
    "start_from": "new weights",
    "micro_tokens": "the whole step at once",
}
"""What an empty field means; anything else is `as the model preset says`."""


@dataclass(frozen=True)
class Field:
    """One line of the form."""

    key: str
    label: str
    """As it is called on the command line."""
    group: str
    help: str
    kind: str
    """As in `Option.kind`."""
    choices: tuple[str, ...] = ()

    @property
    def typed(self) -> bool:
        """Whether it is typed, not chosen."""
        return self.kind not in ("choice", "switch")


@dataclass(frozen=True)
class Heading:
    """The line above a group of fields."""

    group: str
    count: int
    changed: int
    open: bool


@dataclass(frozen=True)
class Recipe:
    """A recipe with its settings, or why it cannot be used (`trouble`)."""

    name: str
    about: str
    settings: TrainSettings
    trouble: str = ""


def read_recipes(also: str) -> dict[str, Recipe]:
    """The recipes in the package by name, and `also` (a name or the path of a TOML file)."""
    found = {}
    for name in dict.fromkeys((*recipe_names(), also)):
        try:
            about = about_recipe(name) if name in recipe_names() else "A recipe of your own."
            found[name] = Recipe(name, about, load_recipe(name, {}))
        except UsageError as error:
            found[name] = Recipe(name, "", TrainSettings(), str(error))
    return found


def form_fields(recipes: Sequence[str]) -> tuple[Field, ...]:
    """All lines in their order: recipe, data and name, the common settings, then the rest by group."""
    known = options()
    models = (*MODEL_PRESETS, "llama", "gpt2")

    def setting(key: str) -> Field:
        about = known[key]
        kind, choices = ("choice", models) if key == "model" else (about.kind, about.choices)
        return Field(key, LABELS.get(key, key.replace("_", "-")), about.group, about.help, kind, choices)

    return (
        Field(RECIPE, "recipe", "", "What every other setting starts from.", "choice", tuple(recipes)),
        setting("data"),
        Field(NAME, "name", "", "What the run is called in the list of runs; recipe and time if left empty.", "text"),
        *(setting(key) for key in COMMON),
        *(setting(key) for key in known if key not in (*COMMON, "data")),
    )


@dataclass(frozen=True)
class RunForm:
    """The form as it stands; changing it gives another one."""

    recipes: Mapping[str, Recipe]
    recipe: str
    typed: Mapping[str, str] = field(default_factory=dict)
    """Texts by field; only of those that a person changed. It stays when the recipe changes."""

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        return form_fields(tuple(self.recipes))

    @cached_property
    def by_key(self) -> dict[str, Field]:
        return {about.key: about for about in self.fields}

    @property
    def base(self) -> Recipe:
        return self.recipes[self.recipe]

    def recipe_text(self, key: str) -> str:
        """The recipe's own value of a setting as it is typed; empty where it leaves it out."""
        if key in (RECIPE, NAME):
            return ""
        if key == "steps" and "epochs" in self.typed:
            return ""  # the recipe's own length gives way
        return _as_text(getattr(self.base.settings, key))

    def text(self, key: str) -> str:
        """What stands in a field."""
        return self.recipe if key == RECIPE else self.typed.get(key, self.recipe_text(key))

    def placeholder(self, key: str) -> str:
        """What an empty field means, in a few words."""
        if key == NAME:
            return f"{Path(self.recipe).stem}-date-time"
        if key == "data":
            return "storybook, prepared data, story files"
        return self.recipe_text(key) or LEFT_OUT.get(key, "as the model preset says")

    def with_text(self, key: str, text: str) -> RunForm:
        """Another text in a field; an empty one, or the recipe's own, puts the recipe's value back."""
        if key == RECIPE:
            return dataclasses.replace(self, recipe=text)
        text = text.replace("\0", "")  # no path, name or number holds one, and the system refuses it
        typed = {name: value for name, value in self.typed.items() if name != key}
        if text.strip() and text != dataclasses.replace(self, typed=typed).recipe_text(key):
            typed[key] = text
        return dataclasses.replace(self, typed=typed)

    def stepped(self, key: str, steps: int) -> RunForm:
        """The next choice of a field, or the one before."""
        about = self.by_key[key]
        choices = ("off", "on") if about.kind == "switch" else about.choices
        text = self.text(key)
        place = choices.index(text) if text in choices else -1 if steps > 0 else 0
        return self.with_text(key, choices[(place + steps) % len(choices)])

    @cached_property
    def changed(self) -> frozenset[str]:
        """Fields whose value is another than the recipe's."""
        return frozenset(key for key in self.typed if key == NAME or self._differs(key))

    def _differs(self, key: str) -> bool:
        try:
            return self._value(key) != getattr(self.base.settings, key)
        except UsageError:
            return True

    def _value(self, key: str) -> Any:
        """What was typed, as the trainer takes it; raises `UsageError`."""
        about, text = self.by_key[key], self.typed[key]
        if about.kind == "texts":
            return tuple(_split(text))
        if about.kind == "switch":
            return text == "on"
        return setting_options([f"--{key.replace('_', '-')}={text.strip()}"])[key]

    @cached_property
    def problems(self) -> dict[str, str]:
        """What is wrong, a sentence a field, in the trainer's own words; what needs a look at the disk is not looked at here."""
        if self.base.trouble:
            return {RECIPE: self.base.trouble}
        found, values = {}, {}
        for key in self.typed:
            try:
                if key == NAME:
                    run_folder(RunRequest((), self.recipe, self.typed[NAME].strip(), None, (), ()))
                    continue
                values[key] = self._value(key)
                dataclasses.replace(TrainSettings(start_from="default"), **{key: values[key]})
            except UsageError as error:
                found[key] = str(error)
        return found or self._problem_of_all(values)

    def _problem_of_all(self, values: dict[str, Any]) -> dict[str, str]:
        try:
            if {"steps", "epochs"} <= values.keys():
                load_recipe(self.recipe, values)  # says so
            settings = dataclasses.replace(self.base.settings, **values)
            if not settings.start_from:
                settings.model_config(settings.vocab_size)
        except UsageError as error:
            return {self.field_named_in(str(error)): str(error)}
        return {}

    def field_named_in(self, sentence: str) -> str:
        """The setting that a sentence is about, as well as can be told; the model where it names none."""
        for about in self.fields:
            if about.key in self.typed and re.search(rf"(?<![\w-]){re.escape(about.label)}(?![\w-])", sentence):
                return about.key
        return "model"

    def request(self) -> RunRequest:
        """What the form asks for; raises `UsageError` for a list that cannot be read."""
        data = tuple(_split(self.typed["data"])) if "data" in self.changed else ()
        start_from = self.typed["start_from"].strip() if "start_from" in self.changed else None
        return RunRequest(data, self.recipe, self.typed.get(NAME, "").strip() or None, start_from, (), tuple(self._options()))

    def _options(self) -> list[str]:
        words = []
        for about in self.fields:
            if about.key not in self.changed or about.key in (NAME, "data", "start_from"):
                continue
            text, option = self.typed[about.key].strip(), f"--{about.label}"
            if about.kind == "switch":
                words.append(option if text == "on" else f"--no-{about.label}")
                continue
            texts = _split(text) if about.kind == "texts" else [text]
            if about.kind == "texts" and any(item.startswith("[") for item in texts):
                texts = [json.dumps(texts, ensure_ascii=False)]  # a text like this would be read as a list by itself
            for item in texts:
                words += _option(option, item)
        return words


def command(request: RunRequest, program: Sequence[str] = ("tinytales-tui",)) -> list[str]:
    """The command line that asks for the same."""
    words = [*program, "train", *_option("--recipe", request.recipe)]
    for text in request.data:
        words += _option("--data", text)
    words += _option("--name", request.name) if request.name else []
    words += _option("--from", request.start_from) if request.start_from else []
    return [*words, *request.others]


def estimate_command(request: RunRequest) -> list[str]:
    """The command line that measures what the run would take, and prints it as JSON."""
    nameless = dataclasses.replace(request, name=None)
    return [*command(nameless, (sys.executable, "-m", "tinytales_tui")), "--dry-run", "--json"]


def rows(form: RunForm, opened: frozenset[str], wanted: str) -> list[Field | Heading]:
    """The lines that are shown: the first fields, then each group under its heading; or all fields with `wanted` in them."""
    if wanted.strip():
        words = wanted.lower().split()
        return [about for about in form.fields if all(word in f"{about.label} {about.help}".lower() for word in words)]
    first = 3 + len(COMMON)
    lines: list[Field | Heading] = list(form.fields[:first])
    rest = form.fields[first:]
    for group in dict.fromkeys(about.group for about in rest):
        inside = [about for about in rest if about.group == group]
        lines.append(Heading(group, len(inside), sum(about.key in form.changed for about in inside), group in opened))
        lines += inside if group in opened else []
    return lines


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return shlex.join(value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError("A quotation mark is not closed.") from error


def _option(option: str, value: str) -> list[str]:
    return [f"{option}={value}"] if value.startswith("-") else [option, value]
