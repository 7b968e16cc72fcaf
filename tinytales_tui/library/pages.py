"""Stories as one HTML page that needs nothing else and reads well, on paper and in the dark too."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tinytales_tui.library.prose import clean, facts, paragraphs
from tinytales_tui.library.story import Story

STYLE = """
:root { color-scheme: light dark; --paper: #fbf8f1; --ink: #2b2620; --quiet: #776d60; --line: #ddd4c4; }
@media (prefers-color-scheme: dark) { :root { --paper: #1d1b19; --ink: #e6dfd3; --quiet: #a2978a; --line: #3a352f; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.15rem/1.65 Georgia, "Iowan Old Style", serif; }
main { max-width: 34em; margin: 0 auto; padding: 3em 1.2em 5em; }
h1, h2 { line-height: 1.25; font-weight: normal; text-wrap: balance; overflow-wrap: anywhere; }
article + article { margin-top: 4em; border-top: 1px solid var(--line); padding-top: 2em; }
article p { margin: 0; text-indent: 1.4em; hyphens: auto; overflow-wrap: break-word; }
article p.first { text-indent: 0; }
.facts, nav, footer { color: var(--quiet); font-size: .85em; text-indent: 0; }
.facts { margin: -.6em 0 1.6em; }
nav li { margin: .25em 0; }
a { color: inherit; }
.writer { text-decoration: underline dotted; text-underline-offset: .2em; }
@media print { body { background: none; color: #000; } article { break-before: page; } nav { display: none; } }
""".strip()
_TOLD_APART = "Words underlined with dots were typed by the writer; all others are the model's."


def html_page(stories: Sequence[Story], title: str = "Stories") -> str:
    """The page; several stories stand under a list of contents."""
    name = clean(stories[0].name) if len(stories) == 1 else title
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(name)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>",
    ]
    if len(stories) != 1:
        parts += [f"<h1>{escape(title)}</h1>", "<nav>\n<ol>"]
        parts += [
            f'<li><a href="#story-{number}">{escape(clean(story.name))}</a></li>' for number, story in enumerate(stories, 1)
        ]
        parts.append("</ol>\n</nav>")
    heading = "h1" if len(stories) == 1 else "h2"
    for number, story in enumerate(stories, 1):
        parts.append(f'<article id="story-{number}">\n{story_body(story, heading)}\n</article>')
    if any(run.author == "writer" for story in stories for run in story.tree.runs(story.tree.current)):
        parts.append(f"<footer><p>{escape(_TOLD_APART)}</p></footer>")
    return "\n".join((*parts, "</main>\n</body>\n</html>\n"))


def story_body(story: Story, heading: str) -> str:
    """Heading, facts and paragraphs of one story; sound as HTML and as XHTML."""
    lines = [f"<{heading}>{escape(clean(story.name))}</{heading}>"]
    if told := facts(story):
        lines.append(f'<p class="facts">{escape(clean(told))}</p>')
    for number, paragraph in enumerate(paragraphs(story.tree.runs(story.tree.current))):
        text = "".join(
            f'<span class="writer">{escape(words)}</span>' if author == "writer" else escape(words) for author, words in paragraph
        )
        lines.append(f'<p class="first">{text}</p>' if not number else f"<p>{text}</p>")
    return "\n".join(lines)
