"""What the app remembers between two starts: theme, sampling, seed, ending, layout. Knows no Textual.

One JSON file, replaced whole. A file that cannot be understood is kept aside and the defaults are used; it never stops the app.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import files
from engine.errors import TinyTalesError, UsageError
from engine.settings import SAMPLING_PRESETS, SamplingSettings
from tinytales_tui import paths, terminal
from tinytales_tui.options import AppOptions
from tinytales_tui.terminal import Terminal

RECOMMENDED = "recommended"
"""The preset that follows whichever checkpoint is loaded."""
CUSTOM = "custom"
"""The sliders stand where a person put them."""
PRESETS = (RECOMMENDED, *SAMPLING_PRESETS, CUSTOM)
ALERT_KINDS = ("failed", "stale", "finished", "warning")
"""What about a training run may be told at once; a run that ended because somebody asked counts as finished."""
NOTIFICATIONS = ("auto", "on", "off")


@dataclass(frozen=True)
class UiSettings:
    """Everything that persists; each field has a default, so that an older file stays readable."""

    theme: str = "tinytales-dark"
    preset: str = RECOMMENDED
    """One of `PRESETS`."""
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    """Where the sliders stood; counts only for the `custom` preset."""
    seed: int = 7
    """The seed that is shown, and used while it is locked."""
    seed_locked: bool = False
    ending: str = "happy"
    """`happy`, `sad` or `none`."""
    ascii: bool | None = None
    low_bandwidth: bool | None = None
    panel: bool = True
    """Whether the panel with the sliders is open where the screen is wide enough for it."""
    save_format: str = "md"
    """`md`, `txt` or `json`."""
    candidates: int = 3
    """How many stories are written at once where one of several is to be picked: 2 to 8."""
    keep_stories: bool = True
    """Whether every story is put into the library."""
    reading_dark: bool | None = None
    """Whether the reading view is dark; None: as the theme is."""
    speech_command: str = ""
    """What reads aloud: a command that takes text on its standard input, such as `espeak-ng -s 140`."""
    alert_toast: bool = True
    """Whether news of a training run is said in the corner of the screen."""
    alert_bell: bool = True
    """Whether the terminal rings for it."""
    alert_notification: str = "auto"
    """Whether the terminal is asked for a notification of the desktop; `auto`: where it is known to show them."""
    alert_kinds: tuple[str, ...] = ALERT_KINDS
    """Which news, of `ALERT_KINDS`."""

    def __post_init__(self) -> None:
        self._one_of("preset", PRESETS)
        self._one_of("ending", ("happy", "sad", "none"))
        self._one_of("save_format", ("md", "txt", "json"))
        self._one_of("alert_notification", NOTIFICATIONS)
        for name, kinds in (
            ("theme", str),
            ("seed_locked", bool),
            ("panel", bool),
            ("keep_stories", bool),
            ("reading_dark", bool | None),
            ("speech_command", str),
            ("alert_toast", bool),
            ("alert_bell", bool),
            ("ascii", bool | None),
            ("low_bandwidth", bool | None),
        ):
            if not isinstance(getattr(self, name), kinds):
                raise UsageError(f"{name} cannot be {getattr(self, name)!r}.")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**63:
            raise UsageError(f"seed cannot be {self.seed!r}.")
        if type(self.candidates) is not int or not 2 <= self.candidates <= 8:
            raise UsageError(f"candidates must be a whole number from 2 to 8, not {self.candidates!r}.")
        kinds = self.alert_kinds
        if not isinstance(kinds, list | tuple) or not all(kind in ALERT_KINDS for kind in kinds):
            raise UsageError(f"alert_kinds must be some of {', '.join(ALERT_KINDS)}, not {kinds!r}.")
        # A file has a list, in any order; equal settings must be equal.
        object.__setattr__(self, "alert_kinds", tuple(kind for kind in ALERT_KINDS if kind in kinds))

    def _one_of(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}.")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> UiSettings:
        """Settings from `to_json`'s dictionary; a key of a newer version is left out, a bad value raises `UsageError`."""
        if not isinstance(data, dict):
            raise UsageError("it does not hold a table of settings.")
        values = {f.name: data[f.name] for f in dataclasses.fields(cls) if f.name in data}
        if "sampling" in values:
            values["sampling"] = SamplingSettings.from_json(values["sampling"])
        return cls(**values)


@dataclass(frozen=True)
class LoadedSettings:
    settings: UiSettings
    notice: str | None = None
    """One sentence if the file could not be used."""


@dataclass(frozen=True)
class Looks:
    """How plainly and how sparingly the screen is drawn."""

    ascii: bool
    low_bandwidth: bool


def looks(options: AppOptions, saved: UiSettings | None = None, here: Terminal | None = None) -> Looks:
    """What the options ask for; where they leave it open, the saved settings; where those do too, what the terminal needs."""
    saved = saved or load(keep_damaged=False).settings
    here = here or terminal.detect()
    return Looks(
        ascii=_first(options.ascii, saved.ascii, not here.unicode),
        low_bandwidth=_first(options.low_bandwidth, saved.low_bandwidth, here.ssh),
    )


def _first(*values: bool | None) -> bool:
    return bool(next((value for value in values if value is not None), False))


def load(path: Path | None = None, *, keep_damaged: bool = True) -> LoadedSettings:
    """The saved settings; defaults if there are none, or (with a notice) if the file cannot be understood.

    `keep_damaged` moves such a file out of the way, as it would be overwritten.
    """
    path = path or paths.settings_file()
    try:
        return LoadedSettings(UiSettings.from_json(json.loads(path.read_text("utf-8"))))
    except FileNotFoundError:
        return LoadedSettings(UiSettings())
    except OSError as error:
        return LoadedSettings(UiSettings(), f"The settings in {paths.shown(path)} cannot be read: {paths.reason(error)}.")
    except (ValueError, TypeError, RecursionError, TinyTalesError):
        aside = _set_aside(path) if keep_damaged else None
        kept = f"; the old file is kept as {aside.name}" if aside else ""
        return LoadedSettings(UiSettings(), f"The settings in {paths.shown(path)} are damaged, so the defaults are used{kept}.")


def save(settings: UiSettings, path: Path | None = None) -> None:
    """Replace the settings file (OSError if the disk refuses)."""
    path = path or paths.settings_file()
    paths.ensure(path.parent)
    files.write_json(path, settings.to_json())


def _set_aside(path: Path) -> Path | None:
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.damaged-{number}")
        if not aside.exists():
            with contextlib.suppress(OSError):
                path.rename(aside)
                return aside
            return None
    return None
