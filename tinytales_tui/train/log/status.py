"""The one line below a log, in words: where the reader is, how the search stands, what is left out. Knows no Textual and no file."""

from __future__ import annotations

from rich.cells import cell_len

from tinytales_tui.train.log.pager import Page


def bar_words(page: Page, notice: str, width: int) -> str:
    """The line below the log: the most important first, and as much of it as there is room for."""
    state = still = ""
    if page.following:
        state = "following"
    elif page.new_lines:
        state = f"▼ {page.new_lines:,} new line{'s' * (page.new_lines != 1)} (end)"
    else:
        still = "standing still (end: follow)"
    if page.empty:
        state = still = place = ""
    elif page.total is None or page.number is None:
        place = f"{page.thumb[0]:.0%} down, counting lines …"
    elif page.following:
        place = f"{page.total:,} line{'s' * (page.total != 1)}"
    else:
        place = f"line {page.number:,} of {page.total:,}"
    parts = [state, notice or page.notice, page.search, page.filter, still, place, "wrapped" * page.wrap]
    line = ""
    for part in filter(None, parts):
        longer = f"{line} │ {part}" if line else f" {part}"
        if cell_len(longer) <= width or not line:
            line = longer
    return line
