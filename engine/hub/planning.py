"""What a download would fetch, and whether it fits: the Hub is asked, the cache looked into, and not a byte of a file fetched.

A plan names a commit. Who fetches it later by the name of a branch has it planned anew (`engine.hub.worker`), and gets what the branch
holds by then; who fetches `Plan.commit` gets what was shown. Knows no torch.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.errors import CheckpointError, TinyTalesError, UsageError
from engine.hub.cache import cache_folder
from engine.hub.failures import plain, told
from engine.hub.needed import RemoteFile, needed

RESERVE = 64_000_000
"""Bytes of the disk that a download leaves free."""
LARGEST = 1 << 44
"""Bytes that a file may claim to have."""
MOST_FILES = 100_000
_WAITS = (0.5, 1.0)
"""Seconds before the Hub is asked again when it has trouble of its own."""
COMMIT = re.compile(r"[0-9a-f]{40}")
"""A commit by its whole name."""
_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class PlannedFile:
    """A file that a download brings."""

    name: str
    size: int
    cached: bool
    """Whether its bytes are in the cache already."""
    checksum: str = ""
    """As in `RemoteFile`."""
    lfs: bool = False


@dataclass(frozen=True)
class Plan:
    """What a download of a repository fetches."""

    repo: str
    asked: str | None
    """The branch, tag or commit that was asked for; None is `main`."""
    commit: str
    """What that is at present, 40 hex digits."""
    files: tuple[PlannedFile, ...]
    free_bytes: int
    """Of the disk that the cache lies on."""
    cache: Path
    """huggingface_hub's folder of repositories."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def to_fetch(self) -> int:
        """Bytes that are not in the cache yet."""
        return sum(file.size for file in self.files if not file.cached)

    @property
    def fits(self) -> bool:
        """Whether the disk holds that, with `RESERVE` to spare."""
        return not self.to_fetch or self.to_fetch + RESERVE <= self.free_bytes

    @property
    def folder(self) -> Path:
        """The repository's folder in the cache."""
        return storage(self.cache, self.repo)

    @property
    def snapshot(self) -> Path:
        """The folder with the files of the commit."""
        return self.folder / "snapshots" / self.commit

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"cache": str(self.cache)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        files = tuple(PlannedFile(**file) for file in data["files"])
        return cls(**(data | {"files": files, "cache": Path(data["cache"])}))


def plan(repo: str, revision: str | None = None, pattern: str | None = None) -> Plan:
    """What fetching `repo` at `revision` (None: `main`) would bring; `pattern` as in `needed`.

    Raises `NetworkError`, `CheckpointError` or `UsageError`, each with its sentence.
    """
    return look(repo, revision, pattern)[0]


def look(repo: str, revision: str | None = None, pattern: str | None = None) -> tuple[Plan, list[RemoteFile]]:
    """`plan`, and all files that the repository has at that commit."""
    refuse_odd_revision(revision)
    try:
        info = _ask(repo, revision)
        commit = str(info.sha or "")
        if not COMMIT.fullmatch(commit):
            raise CheckpointError(f"The Hub named no commit of {plain(repo)} that makes sense; check HF_ENDPOINT.")
        listed = [_remote(repo, sibling) for sibling in info.siblings or ()]
        if len(listed) > MOST_FILES:
            raise CheckpointError(f"{plain(repo)} has more than {MOST_FILES:,} files and is no checkpoint; choose another model.")
        return _planned(repo, revision, commit, needed(listed, pattern, repo=repo), gated=bool(info.gated)), listed
    except TinyTalesError:
        raise
    except Exception as error:
        raise told(error, repo, what=revision or "") from error


def refuse_if_full(plan: Plan) -> None:
    """Raise `CheckpointError` where the disk of the cache has no room for what is still to fetch."""
    if not plan.fits:
        raise CheckpointError(
            f"{plan.repo} needs {_size(plan.to_fetch)} more, and the disk of {plain(str(plan.cache))} has {_size(plan.free_bytes)} "
            f"free, and {_size(RESERVE)} of it stay free; make room, or set HF_HOME to a folder on another disk."
        )


def refuse_odd_revision(revision: str | None) -> None:
    """Raise `UsageError` for what no branch, tag or commit can be called; such a name could also lead out of the cache."""
    odd = revision is not None and (
        not revision.isprintable()
        or not re.fullmatch(r"[^\s~^:?*\[\\]{1,200}", revision)
        or any(part in ("", ".", "..") for part in revision.split("/"))
        or ".." in revision
    )
    if odd:
        raise UsageError(f"{plain(revision or '') or 'An empty name'} is no revision; name a branch, a tag or a commit.")


def storage(cache: Path, repo: str) -> Path:
    """The folder of a model's repository in the cache."""
    return cache / "--".join(["models", *repo.split("/")])


def _ask(repo: str, revision: str | None) -> Any:
    """The Hub's description of a repository, asked again where the Hub has trouble of its own."""
    from huggingface_hub import HfApi, constants, errors

    for wait in (*_WAITS, None):
        try:
            return HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        except errors.HfHubHTTPError as error:
            if wait is None or error.response.status_code < 500:
                raise
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _remote(repo: str, sibling: Any) -> RemoteFile:
    """A file that the Hub lists, refused where its name could leave the cache or its size makes no sense."""
    name = sibling.rfilename
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    odd = not parts or not name.isprintable() or "\\" in name or name.startswith("/") or name != "/".join(parts) or ".." in parts
    if odd or len(name) > 1000:
        raise CheckpointError(
            f"{plain(repo)} lists a file with a name that is not safe ({plain(str(name))}); choose another model."
        )
    size = sibling.lfs.size if sibling.lfs else sibling.size
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= LARGEST):
        raise CheckpointError(f"{plain(repo)} says of {plain(name)} that it has {plain(str(size))} bytes; choose another model.")
    checksum = str((sibling.lfs.sha256 if sibling.lfs else sibling.blob_id) or "").lower()
    return RemoteFile(name, size, checksum if _CHECKSUM.fullmatch(checksum) else "", bool(sibling.lfs))


def _planned(repo: str, revision: str | None, commit: str, files: list[RemoteFile], *, gated: bool) -> Plan:
    cache = cache_folder()
    folder = storage(cache, repo)
    absent = [file for file in files if not is_cached(folder, commit, file)]
    if gated and absent:
        _asked_by_name(repo, commit, absent[0])  # a gated repository lists its files to everyone and gives them to few
    planned = []
    for file in files:
        known = file if file.size is not None else _asked_by_name(repo, commit, file)
        cached = is_cached(folder, commit, known)
        planned.append(PlannedFile(known.name, known.size or 0, cached, known.checksum, known.lfs))
    return Plan(repo, revision, commit, tuple(planned), _free(cache, must_be_writable=bool(absent)), cache)


def is_cached(folder: Path, commit: str, file: RemoteFile) -> bool:
    """Whether a file's bytes are in a repository's folder of the cache, with the right size."""
    places = [folder / "snapshots" / commit / file.name]
    if file.checksum:
        places.append(folder / "blobs" / file.checksum)
    return any(place.is_file() and file.size in (None, place.stat().st_size) for place in places)


def _asked_by_name(repo: str, commit: str, file: RemoteFile) -> RemoteFile:
    """A file with its size and checksum as the address of the file itself says them."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    found = get_hf_file_metadata(hf_hub_url(repo, file.name, revision=commit), timeout=constants.HF_HUB_ETAG_TIMEOUT)
    size = file.size if file.size is not None else found.size
    if size is None or not 0 <= size <= LARGEST:
        raise CheckpointError(f"The Hub does not say how large {plain(file.name)} of {plain(repo)} is; choose another model.")
    checksum = file.checksum or (found.etag if found.etag and _CHECKSUM.fullmatch(found.etag) else "")
    return RemoteFile(file.name, size, checksum, file.lfs or len(checksum) == 64)


def _free(cache: Path, *, must_be_writable: bool) -> int:
    """Free bytes of the disk that `cache` lies on or would lie on; OSError where nothing can be written there and has to be."""
    place = cache
    while not place.exists() and place != place.parent:
        place = place.parent
    if must_be_writable:
        if not place.is_dir():
            raise NotADirectoryError(20, "Not a directory", str(place))
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", str(place))
    return shutil.disk_usage(place).free


def _size(count: int) -> str:
    """Bytes as a person reads them."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:,.1f} {unit}"
    return f"{count} bytes"
