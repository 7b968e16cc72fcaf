"""A checkpoint's folder for whoever loads it: from the Hub's cache where it lies there whole, else downloaded. Knows no torch."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from engine.checkpoints.readers.common import LARGEST_INDEX
from engine.errors import CheckpointError, NetworkError, TinyTalesError, UsageError
from engine.growing_files import open_plain
from engine.hub.cache import cache_folder
from engine.hub.failures import failure_of, plain, told
from engine.hub.needed import RemoteFile, missing_shards, needed, weights
from engine.hub.planning import COMMIT, refuse_odd_revision, storage
from engine.hub.worker_process import WorkerProcess

_SHORT = re.compile(r"[0-9a-f]{7,39}")
"""The beginning of a commit, as lists show it."""
_LARGEST_REF = 200
"""Bytes of a file that names a commit."""


def fetch(repo_id: str, file: str | None = None, revision: str | None = None) -> Path:
    """The local folder of a Hub checkpoint, or the one `file` of it that is asked for, downloaded where it is not in the cache yet.

    What the cache holds whole of the `revision` (a branch, a tag or a commit; None: `main`) is taken without asking the Hub. Raises
    `NetworkError` where the Hub cannot be reached (also with HF_HUB_OFFLINE=1), `CheckpointError` where it has no such checkpoint or
    no right to it.
    """
    try:
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(repo_id)
        refuse_odd_revision(revision)
        if file and (file.startswith("/") or ".." in file.split("/")):
            raise CheckpointError(f"{repo_id} on the Hub has no file {plain(file)}.")
        if here := fetch_cached(repo_id, file, revision):
            return here
        snapshot = cached_snapshot(repo_id, revision)
        try:
            folder = _download(repo_id, file, revision)
        except NetworkError:
            if snapshot and _readable(snapshot, file):  # a vocabulary may be missing; whoever reads it says so
                return snapshot / file if file else snapshot
            raise
    except UsageError as error:  # for who loads a checkpoint it is one that cannot be found
        raise CheckpointError(str(error)) from error
    except TinyTalesError:
        raise
    except Exception as error:
        raise told(error, repo_id, what=file or revision or "") from error
    return folder / file if file else folder


def fetch_cached(repo: str, file: str | None = None, revision: str | None = None) -> Path | None:
    """What `fetch` gives where the cache holds it whole; else None. Asks no network."""
    snapshot = cached_snapshot(repo, revision)
    if snapshot is None or not _complete(snapshot, file):
        return None
    return snapshot / file if file else snapshot


def cached_snapshot(repo: str, revision: str | None = None) -> Path | None:
    """The folder of the cache with the files of a revision, as far as it is known here and there is one."""
    folder = storage(cache_folder(), repo)
    commit = revision or "main"
    if not COMMIT.fullmatch(commit):
        with contextlib.suppress(OSError, ValueError), open_plain(folder / "refs" / commit) as file:
            commit = file.read(_LARGEST_REF).decode().strip()
    if _SHORT.fullmatch(commit) and not (folder / "snapshots" / commit).is_dir():
        with contextlib.suppress(OSError):
            fitting = [path.name for path in (folder / "snapshots").iterdir() if path.name.startswith(commit)]
            commit = fitting[0] if len(fitting) == 1 else commit
    if commit in ("", ".", "..") or "/" in commit or "\0" in commit:
        return None
    snapshot = folder / "snapshots" / commit  # whose name is a commit, unless somebody made it by hand
    return snapshot if snapshot.is_dir() else None


def stands_alone(snapshot: Path, name: str) -> bool:
    """Whether the repository's own name means this file of weights: the commit has no others, as the note of its files tells.

    False where there is no such note, since the cache may then hold one of several.
    """
    with contextlib.suppress(TinyTalesError):
        return [file.name for file in weights(_listed(snapshot) or ())] == [name]
    return False


def _download(repo: str, file: str | None, revision: str | None) -> Path:
    worker = WorkerProcess(repo, revision, file)
    path, failure = None, None
    try:
        for event in worker.events():
            if event["event"] == "done":
                path = Path(event["path"])
            elif event["event"] == "failed":
                failure = failure_of(event["kind"], event["message"])
    except BaseException:
        worker.stop()
        raise
    finally:
        ended = worker.close()
    if failure:
        raise failure
    if path is None:
        raise NetworkError(f"The download of {repo} ended unexpectedly ({ended}); try again.")
    return path


def _complete(snapshot: Path, file: str | None) -> bool:
    """Whether a snapshot holds all that `needed` would fetch, as far as that can be told without a network.

    The library's note of the commit's files tells it for certain. Without one (another program filled the cache) a vocabulary
    must be there, and the weights must be of a kind whose choice does not hang on what else the repository holds.
    """
    listed = _listed(snapshot)
    if listed is not None:
        with contextlib.suppress(TinyTalesError):
            wanted = needed(listed, file)
            return all(_has(snapshot, one) for one in wanted)
        return False
    names = [one.name for one in _present(snapshot)]
    vocabulary = any(re.fullmatch(r"(.*/)?(tok.*\.(json|model|bin)|vocab\.json|tinytales\.json)", name) for name in names)
    usual = file is not None or any(name.endswith(".safetensors") or name.startswith("pytorch_model") for name in names)
    return vocabulary and usual and _readable(snapshot, file)


def _readable(snapshot: Path, file: str | None) -> bool:
    """Whether a snapshot holds the weights, one and all; of several models that it may hold, none is the one."""
    if file:
        return (snapshot / file).is_file()
    with contextlib.suppress(TinyTalesError, OSError):
        found = weights(_listed(snapshot) or _present(snapshot))
        return all(_has(snapshot, one) for one in found) and not missing_shards(one.name for one in found)
    return False


def _present(snapshot: Path) -> list[RemoteFile]:
    """The files of a snapshot whose bytes are there."""
    return [RemoteFile(path.relative_to(snapshot).as_posix()) for path in sorted(snapshot.rglob("*")) if path.is_file()]


def _has(snapshot: Path, file: RemoteFile) -> bool:
    path = snapshot / file.name
    return path.is_file() and file.size in (None, path.stat().st_size)


def _listed(snapshot: Path) -> list[RemoteFile] | None:
    """The files that the commit has on the Hub, as huggingface_hub noted them; None where it did not."""
    note = snapshot.parent.parent / "trees" / f"{snapshot.name}.json"
    try:
        with open_plain(note) as file:
            contents = file.read(LARGEST_INDEX + 1)
        data: Any = json.loads(contents) if len(contents) <= LARGEST_INDEX else {}
        return [RemoteFile(str(name), int(entry["size"])) for name, entry in data["files"].items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
