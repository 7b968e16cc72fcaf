"""What deleting revisions from the Hub's cache would take away, and how many bytes that would free. Changes nothing; knows no torch.

Revisions of a repository share blobs, so deleting one frees only what no other uses; the figures are those of huggingface_hub's own
`delete_revisions`. Bytes are free once the trash is emptied (`engine.hub.trash`), not before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.readers.common import shown
from engine.errors import UsageError
from engine.hub.cache import Cache, Partial, Revision

MARKER = ".huggingface-shared-blobs"
"""The file that says that `<cache>/blobs` is huggingface_hub's store of blobs that several repositories share."""


@dataclass(frozen=True)
class Deletion:
    """What would go."""

    cache: Path
    revisions: tuple[tuple[str, str], ...]
    """(repository, commit) of each."""
    partials: tuple[Path, ...]
    whole_repos: tuple[str, ...]
    """Repositories of which nothing stays."""
    moves: tuple[str, ...]
    """Paths inside the cache in the order in which they go: refs, snapshots, blobs; of a whole repository its folder alone."""
    freed: int
    """Bytes that will be free once the trash is emptied; those of shared blobs once, and only if nobody else uses them."""
    kept_shared: int
    """Bytes of files of these revisions that stay, because other revisions or repositories use them."""

    @property
    def words(self) -> str:
        """What it takes, for a list of deletions: `owner/name` or `owner/name@0123abc and 2 more`."""
        named = [repo if repo in self.whole_repos else f"{repo}@{commit[:7]}" for repo, commit in self.revisions]
        named = list(dict.fromkeys(named)) or [path.name[:20] for path in self.partials]
        return shown(named[0] if named else "nothing") + (f" and {len(named) - 1} more" if len(named) > 1 else "")


def preview(cache: Cache, revisions: Sequence[tuple[str, str]], partials: Sequence[Partial] = ()) -> Deletion:
    """What deleting these revisions (repository, commit) and partial files would do.

    Raises `UsageError` where one of them is not in the cache, or is being downloaded at this moment.
    """
    chosen = [_find(cache, repo, commit) for repo, commit in dict.fromkeys(revisions)]
    for path in sorted({revision.folder for revision in chosen}):
        refuse_if_busy(cache, path)
    for partial in partials:
        if is_being_written(partial.path):
            raise UsageError(
                f"A file of {shown(partial.repo)} is being downloaded at this moment; wait for it, or cancel it first."
            )
    whole, moves, blobs = [], list[str](), dict[Path, int]()
    for repo in dict.fromkeys(revision.repo for revision in chosen):
        going = [revision for revision in chosen if revision.repo == repo]
        staying = [revision for revision in cache.of(repo) if revision not in going]
        blobs |= _freed_blobs(going, staying)
        if staying:
            moves += _moves(cache.folder, going, staying)
        else:
            whole.append(repo)
            moves.append(going[0].folder.name)
    extra = [partial for partial in partials if partial.path.is_file()]
    moves += [str(partial.path.relative_to(cache.folder)) for partial in extra if partial.repo not in whole]
    used = {file.blob: file.size for revision in chosen for file in revision.files}
    freed = _freed(cache.folder, blobs)
    return Deletion(
        cache.folder,
        tuple((revision.repo, revision.commit) for revision in chosen),
        tuple(partial.path for partial in extra),
        tuple(whole),
        tuple(moves),
        freed + sum(partial.size for partial in extra),
        sum(used.values()) - freed,
    )


def refuse_if_busy(cache: Cache, repo_folder: Path) -> None:
    """Raises `UsageError` where a process is downloading into a repository's folder."""
    locks = cache.folder / ".locks" / repo_folder.name
    if any(_is_held(lock) for lock in _lock_files(locks)):
        name = repo_folder.name.partition("--")[2].replace("--", "/")
        raise UsageError(
            f"{shown(name)} is being downloaded at this moment; wait until it is there, or cancel the download first."
        )


def is_being_written(partial: Path) -> bool:
    """Whether a process is at work on a partial file: huggingface_hub holds the lock of a blob while it downloads it."""
    etag = partial.name.split(".")[0]
    return _is_held(partial.parent.parent.parent / ".locks" / partial.parent.parent.name / f"{etag}.lock")


@contextlib.contextmanager
def locked(cache: Path, repo_folders: Sequence[str]) -> Iterator[None]:
    """Hold huggingface_hub's own locks of all blobs of these repositories, as far as there are any.

    Raises `UsageError` where a download holds one of them.
    """
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as stack:
        for folder in repo_folders:
            for lock in _lock_files(cache / ".locks" / folder):
                try:
                    stack.enter_context(FileLock(lock, timeout=0))
                except Timeout as error:
                    name = folder.partition("--")[2].replace("--", "/")
                    raise UsageError(
                        f"{shown(name)} is being downloaded at this moment; wait until it is there, or cancel the download first."
                    ) from error
        yield


def has_shared_store(cache: Path) -> bool:
    """Whether repositories of this cache share blobs (huggingface_hub 2.4 and later, for files that come over Xet)."""
    return (cache / "blobs" / MARKER).is_file()


def _find(cache: Cache, repo: str, commit: str) -> Revision:
    found = next((revision for revision in cache.of(repo) if revision.commit == commit), None)
    if found is None:
        raise UsageError(f"{shown(repo)}@{shown(commit, 12)} is not in the Hub's cache; look again at what is there.")
    return found


def _freed_blobs(going: list[Revision], staying: list[Revision]) -> dict[Path, int]:
    """The blobs that nobody in their repository uses afterwards, with their sizes."""
    used = {file.blob for revision in staying for file in revision.files}
    return {file.blob: file.size for revision in going for file in revision.files if file.blob not in used}


def _moves(cache: Path, going: list[Revision], staying: list[Revision]) -> list[str]:
    refs = [revision.folder / "refs" / ref for revision in going for ref in revision.refs]
    folders = [revision.path for revision in going]
    blobs = [
        blob for blob in _freed_blobs(going, staying) if blob.parent.name == "blobs" and blob.parent.parent == going[0].folder
    ]
    return [str(path.relative_to(cache)) for path in (*refs, *folders, *sorted(blobs))]


def _freed(cache: Path, blobs: dict[Path, int]) -> int:
    """Bytes that deleting these blobs frees. Of a link into the shared store only huggingface_hub knows who else uses it."""
    if not has_shared_store(cache):
        return sum(blobs.values())
    from huggingface_hub import scan_cache_dir

    found = scan_cache_dir(cache)
    files = [file for repo in found.repos for revision in repo.revisions for file in revision.files]
    gone = [file for file in files if file.blob_path in blobs]
    known = {file.blob_path for file in gone}
    return found.delete_files(*gone).expected_freed_size + sum(n for blob, n in blobs.items() if blob not in known)


def _lock_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(".lock"))
    except OSError:
        return []


def _is_held(lock: Path) -> bool:
    """Whether a process holds a lock file; one that nobody holds is left as it was."""
    from filelock import FileLock, Timeout

    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
