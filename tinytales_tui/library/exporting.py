"""The forms in which stories leave the library."""

from __future__ import annotations

import json
from collections.abc import Sequence

from engine.errors import UsageError
from tinytales_tui.library import exchange
from tinytales_tui.library.prose import clean, facts, paragraphs
from tinytales_tui.library.story import Story
from tinytales_tui.story import escape_markdown

FORMS = ("md", "txt", "json", "html", "epub")
"""By the ending of the file."""


def export(stories: Sequence[Story], form: str, title: str = "Stories") -> bytes:
    """The stories in one of `FORMS`, as they read at the node in front; `json` has every branch (UsageError for another form)."""
    if form == "md":
        return "\n---\n\n".join(map(_markdown, stories)).encode("utf-8", "replace")
    if form == "txt":
        return "\n* * *\n\n".join(f"{clean(story.text).strip()}\n" for story in stories).encode("utf-8", "replace")
    if form == "json":
        # A story a line: laid out with indents, ten thousand stories would take a minute and half as much again.
        lines = ",\n".join(json.dumps(exchange.to_json(story), ensure_ascii=False) for story in stories)
        head = json.dumps({"format": exchange.FORMAT, "version": exchange.VERSION})[:-1]
        return f'{head}, "stories": [\n{lines}\n]}}\n'.encode("utf-8", "replace")
    if form == "html":
        from tinytales_tui.library.pages import html_page

        return html_page(stories, title).encode("utf-8", "replace")
    if form == "epub":
        from tinytales_tui.library.epub import epub

        return epub(stories, title)
    raise UsageError(f"There is no form {form!r}; choose {', '.join(FORMS)}.")


def _markdown(story: Story) -> str:
    told = facts(story)
    body = "\n\n".join(
        escape_markdown("".join(words for _, words in paragraph)) for paragraph in paragraphs(story.tree.runs(story.tree.current))
    )
    about = f"*{escape_markdown(told)}*\n\n" if told else ""
    return f"# {escape_markdown(clean(story.name))}\n\n{about}{body}\n"
