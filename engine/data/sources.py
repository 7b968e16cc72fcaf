"""Where stories come from, as a person names it: files, folders and globs of them, Hub data sets, the storybook.

`open_sources` turns names into sources; nothing is read before one of them is asked for its records. Knows nothing of tokens. Knows no
torch.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from engine.data.file_source import KINDS, FileSource, kind_of
from engine.data.records import Record
from engine.data.source import ReadingOptions, Source
from engine.data.storybook import STORYBOOK, storybook_sha256, storybook_stories
from engine.errors import UsageError

__all__ = ["FileSource", "ReadingOptions", "Source", "StorybookSource", "open_sources"]


class StorybookSource(Source):
    """`storybook:COUNT:SEED`: stories made by the grammar of `engine.data.storybook`."""

    def __init__(self, text: str) -> None:
        words = text.split(":")[1:]
        if len(words) > 2 or not all(word.isascii() and word.isdigit() for word in words):
            raise UsageError(
                f"{text} is not understood; the storybook is named storybook, storybook:COUNT or storybook:COUNT:SEED."
            )
        count, self._seed = (int(words[0]) if words else 20_000), int(words[1]) if len(words) > 1 else 1
        super().__init__(f"{STORYBOOK}:{count}:{self._seed}", STORYBOOK, size=count)
        self._done = 0

    def fingerprint(self) -> str:
        return storybook_sha256(self.size, self._seed)

    @property
    def done(self) -> int:
        return self._done

    def _read(self) -> Iterator[Record]:
        for number, record in enumerate(itertools.islice(storybook_stories(self._seed), self.size), 1):
            self._done = number
            yield record


def open_sources(texts: Iterable[str], options: ReadingOptions | None = None) -> list[Source]:
    """The sources that a person named, folders and globs as the files in them (sorted by path), each file once.

    Raises `UsageError` where there is no such thing, or a folder or glob has no file of a known kind.
    """
    found: dict[object, Source] = {}
    for text in texts:
        for source in _open(text, options or ReadingOptions()):
            found.setdefault(source.path.resolve() if isinstance(source, FileSource) else source.name, source)
    return list(found.values())


def _open(text: str, options: ReadingOptions) -> Sequence[Source]:
    if text == STORYBOOK or text.startswith(STORYBOOK + ":"):
        return [StorybookSource(text)]
    path = Path(text).expanduser() if text.startswith("~") else Path(text)
    if path.is_dir():
        return [FileSource(file, options) for file in _files_in(path)]
    if path.exists():
        return [FileSource(path, options)]
    if glob.has_magic(text):
        files = [Path(name) for name in sorted(glob.glob(text, recursive=True)) if Path(name).is_file()]  # noqa: PTH207
        if not files:
            raise UsageError(f"No file fits {text}.")
        return [FileSource(file, options) for file in files]
    from engine.data.hub_sets import HUB_NAME, HubSource

    if HUB_NAME.fullmatch(text) and kind_of(path) is None:
        return [HubSource(text, options)]
    raise UsageError(f"There is no file or folder {text}.")


def _files_in(folder: Path) -> list[Path]:
    from engine.data.shards import is_prepared

    if is_prepared(folder):
        raise UsageError(f"{folder} holds prepared data already, not stories.")
    inside = sorted(folder.rglob("*"))
    files = [
        path
        for path in inside
        if path.is_file() and kind_of(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise UsageError(f"{folder} holds no story file; known are {', '.join(KINDS)}, also packed.")
    return files
