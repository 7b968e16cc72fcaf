"""Colours of parts of a line: a component's style without its background, which what it is drawn on keeps."""

from __future__ import annotations

from rich.style import Style
from textual.widget import Widget


def tone(widget: Widget, component: str) -> Style:
    """Asked for whole and then cut down: a partial style has no colour yet where the theme leaves it to the background."""
    whole = widget.get_component_rich_style(component)
    return Style(color=whole.color, bold=whole.bold, dim=whole.dim, italic=whole.italic, underline=whole.underline)
