"""Stories as a book: an EPUB 3 file of a page a story, with contents. The same stories give the same bytes.

By hand, as the few files that a book of plain pages needs are easier to get right than to hand to a library. What there is: ebooklib is
AGPL; mkepub (MIT) escapes no titles, gives local time out as UTC and a new identifier each time; pypub3 (MIT) wants to fetch pages.
"""

from __future__ import annotations

import io
import time
import uuid
import zipfile
from collections.abc import Sequence
from html import escape

from tinytales_tui.library.pages import story_body
from tinytales_tui.library.prose import clean
from tinytales_tui.library.story import Story

_NAMES = uuid.UUID("6a7ff43c-3f0a-5d9f-9d4e-2f5f4d3f9c11")
"""In which the names of books are made."""
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_PAGE = (
    _HEAD
    + '<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" lang="en" xml:lang="en">\n'
    '<head>\n<title>{title}</title>\n<link rel="stylesheet" type="text/css" href="style.css"/>\n</head>\n'
    "<body>\n{body}\n</body>\n</html>\n"
)
_CONTAINER = (
    _HEAD + '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">\n'
    '<rootfiles><rootfile full-path="EPUB/book.opf" media-type="application/oebps-package+xml"/></rootfiles>\n</container>\n'
)
_STYLE = (
    "body { margin: 1em; line-height: 1.5; }\nh1 { font-weight: normal; }\np { margin: 0; text-indent: 1.4em; }\n"
    "p.first, p.facts { text-indent: 0; }\np.facts { font-size: 0.85em; margin-bottom: 1.5em; }\n"
    ".writer { text-decoration: underline; }\n"
)


def epub(stories: Sequence[Story], title: str = "Stories") -> bytes:
    """The book; `title` where there is more than one story."""
    name = clean(stories[0].name) if len(stories) == 1 else title
    pages = [f"story-{number:05}" for number in range(1, len(stories) + 1)]
    contents = "\n".join(
        f'<li><a href="{page}.xhtml">{escape(clean(story.name))}</a></li>' for page, story in zip(pages, stories, strict=True)
    )
    nav = f'<nav epub:type="toc" id="toc">\n<h1>{escape(name)}</h1>\n<ol>\n{contents}\n</ol>\n</nav>'
    files = {
        "META-INF/container.xml": _CONTAINER,
        "EPUB/book.opf": _package(stories, name, pages),
        "EPUB/contents.xhtml": _PAGE.format(title=escape(name), body=nav),
        "EPUB/style.css": _STYLE,
    }
    for page, story in zip(pages, stories, strict=True):
        files[f"EPUB/{page}.xhtml"] = _PAGE.format(title=escape(clean(story.name)), body=story_body(story, "h1"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        # First and as it is, so that a program can tell the kind of file by its first bytes.
        book.writestr(zipfile.ZipInfo("mimetype"), "application/epub+zip", zipfile.ZIP_STORED)
        for path, text in files.items():
            book.writestr(zipfile.ZipInfo(path), text.encode("utf-8"), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _package(stories: Sequence[Story], name: str, pages: Sequence[str]) -> str:
    changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max((story.changed for story in stories), default=0)))
    identity = uuid.uuid5(_NAMES, " ".join(f"{story.id}@{story.changed!r}" for story in stories))
    items = "\n".join(f'<item id="{page}" href="{page}.xhtml" media-type="application/xhtml+xml"/>' for page in pages)
    spine = "\n".join(f'<itemref idref="{page}"/>' for page in pages)
    return (
        f'{_HEAD}<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="book-id" xml:lang="en">\n'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">\n'
        f'<dc:identifier id="book-id">urn:uuid:{identity}</dc:identifier>\n<dc:title>{escape(name)}</dc:title>\n'
        f'<dc:language>en</dc:language>\n<meta property="dcterms:modified">{changed}</meta>\n</metadata>\n<manifest>\n'
        '<item id="contents" href="contents.xhtml" media-type="application/xhtml+xml" properties="nav"/>\n'
        f'<item id="style" href="style.css" media-type="text/css"/>\n{items}\n</manifest>\n<spine>\n'
        f'<itemref idref="contents"/>\n{spine}\n</spine>\n</package>\n'
    )
