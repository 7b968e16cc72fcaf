"""How the app's screen looks, as options of every command that opens it. No Textual."""

from __future__ import annotations

from typing import Annotated

import typer

PANEL = "The app's screen"
Theme = Annotated[
    str | None, typer.Option("--theme", metavar="NAME", help="Colours of the app for this start.", rich_help_panel=PANEL)
]
Ascii = Annotated[
    bool | None, typer.Option("--ascii/--no-ascii", help="Draw with plain ASCII. Left out: by the locale.", rich_help_panel=PANEL)
]
LowBandwidth = Annotated[
    bool | None,
    typer.Option(
        "--low-bandwidth/--no-low-bandwidth",
        help="Draw less often, without animation. Left out: on over SSH.",
        rich_help_panel=PANEL,
    ),
]
Mouse = Annotated[
    bool,
    typer.Option("--mouse/--no-mouse", help="Leave the mouse to the terminal, to select text as usual.", rich_help_panel=PANEL),
]
