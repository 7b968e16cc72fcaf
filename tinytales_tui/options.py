"""How the app is asked to start: one frozen dataclass between the command line and `tinytales_tui.app`. Knows no Textual."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.checkpoints.choices import Choices

if TYPE_CHECKING:
    from engine.watching.feed import Feed


@dataclass(frozen=True)
class WatchTarget:
    """Runs or logs that were named to be watched, the first of them to be opened."""

    feeds: tuple[Feed, ...]


@dataclass(frozen=True)
class AppOptions:
    """Options of one start of the app; None leaves the choice to the saved settings or to what the terminal can do."""

    checkpoint: str | None = None
    """A folder, a file or a Hub id; None: the standing one, which is the one in the package until another is chosen."""
    choices: Choices = field(default_factory=Choices)
    """What is to be otherwise than the checkpoint's files say."""
    step: str | None = None
    """`plain` or `compiled`; None: as the precision says, or as a waiting engine was started."""
    warm: bool = True
    """Use an engine that was left running."""
    device: str | None = None
    precision: str = "auto"
    threads: int | None = None
    theme: str | None = None
    """Name of a theme for this start; the saved choice stays as it is."""
    ascii: bool | None = None
    """Draw with ASCII only; None: as the settings or the locale say."""
    low_bandwidth: bool | None = None
    """Fewer frames and no animation; None: as the settings say, or on over SSH."""
    mouse: bool = True
    """False leaves the mouse to the terminal, for its own selecting and pasting."""
    worker_command: tuple[str, ...] = ()
    """Command line of the engine worker, such as `ssh host python -m engine.worker`; empty: the one of this installation."""
    pane: str | None = None
    """The pane to begin with; None: the first."""
    watch: WatchTarget | None = None
    """What the Train pane opens; None: the runs of this program, the newest one that is being trained first."""
    readonly: bool = False
    """Runs can be looked at only."""
