"""How a checkpoint on the Hub is named: `owner/name`, perhaps with `@` and a revision, perhaps with one file. Knows no torch.

    https://…/roneneldan/TinyStories-33M           the address of its page
    roneneldan/TinyStories-33M                     a repository, at its branch `main`
    owner/name@v1, owner/name@feature/new          a branch, a tag or a commit of it
    owner/name/small/model.pt, owner/name@v1/a.pt  one file of it

A repository without an owner, as a few old ones are called, has a name only where it is in the local cache.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.checkpoints.readers.kinds import ENDINGS

_NAME = re.compile(r"([A-Za-z0-9][\w.-]*(?:/[\w.-]+)?)(?:@(.+))?", re.ASCII)
_ADDRESS = re.compile(r"https?://[^/]+/(?:models/)?([^/?#]+/[^/?#]+)(?:/(?:tree|blob|resolve)/([^?#]+))?/?(?:[?#].*)?")
_WITH_FILE = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)/(.+)", re.ASCII)
_FILE_ENDING = re.compile(r".*(\.[A-Za-z]\w*|[*?\]])", re.ASCII)
"""How the name of a file ends, or a pattern for several; `1.0` is more likely the end of a branch's name."""


@dataclass(frozen=True)
class HubName:
    """A name in its parts."""

    repo: str
    revision: str | None = None
    file: str | None = None
    """With `/` between folders; a pattern where the name was read with `patterns`."""


def hub_name(text: str, *, patterns: bool = False) -> HubName | None:
    """The parts of a name; None for what is none, such as a path.

    The file is one of weights, or with `patterns` any file or pattern. Where a branch with slashes and a file cannot be told apart the
    local cache decides, and where it knows neither the branch is taken to have no slash. Whether the repository is there nobody asks,
    but for one without an owner, which has to be in the cache.
    """
    text = _from_address(text)
    if not _is_safe(text):
        return None
    if named := _WITH_FILE.fullmatch(text):
        repo, file = named.groups()
        return HubName(repo, None, file) if patterns or file.endswith(ENDINGS) else None
    if not (named := _NAME.fullmatch(text)):
        return None
    repo, rest = named.groups()
    if ("/" not in repo and not _has_any(repo)) or (rest is not None and not _is_safe(rest)):
        return None
    return HubName(repo) if rest is None else _with_revision(repo, rest.split("/"), patterns)


def _from_address(text: str) -> str:
    """The name in a page's address as a browser shows it (`https://…/owner/name/tree/main`); anything else as it is."""
    address = _ADDRESS.fullmatch(text)
    if address is None:
        return text
    name, rest = address.groups()
    return f"{name}@{rest}" if rest else name


def can_be_named(repo: str, revision: str, file: str = "") -> bool:
    """Whether something in the cache has a name that can be typed; what a person put there by hand may have any."""
    named = _NAME.fullmatch(f"{repo}@{revision}")
    return named is not None and re.fullmatch(r"[\w.-]+", revision) is not None and (not file or _is_safe(file))


def _with_revision(repo: str, parts: list[str], patterns: bool) -> HubName:
    """The name whose `@` is followed by these parts: a revision, and perhaps a file."""
    for count in range(len(parts), 1, -1):
        revision, file = "/".join(parts[:count]), "/".join(parts[count:])
        if (not file or _may_be(file, patterns)) and _cached(repo, revision):
            return HubName(repo, revision, file or None)
    file = "/".join(parts[1:])
    return HubName(repo, parts[0], file) if file and _may_be(file, patterns) else HubName(repo, "/".join(parts))


def _may_be(file: str, patterns: bool) -> bool:
    return _FILE_ENDING.fullmatch(file) is not None if patterns else file.endswith(ENDINGS)


def _is_safe(text: str) -> bool:
    """No control characters, nothing that leads out of a folder, no empty part."""
    return text.isprintable() and "\\" not in text and all(part not in ("", ".", "..") for part in text.split("/"))


def _has_any(repo: str) -> bool:
    """Whether the cache has any revision of a repository."""
    from engine.hub.cache import cache_folder
    from engine.hub.planning import storage

    return (storage(cache_folder(), repo) / "snapshots").is_dir()


def _cached(repo: str, revision: str) -> bool:
    from engine.hub.fetching import cached_snapshot

    return cached_snapshot(repo, revision) is not None
