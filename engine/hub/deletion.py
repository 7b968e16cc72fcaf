"""What deleting revisions from the Hub's cache would take away, and how many bytes that would free. Changes nothing; knows no torch.

Revisions of a repository share blobs, so deleting one frees only what no other uses; the figures are those of huggingface_hub's own
`delete_revisions`. Bytes are free once the trash is emptied (`engine.hub.trash`), not before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from engine.checkpoints.readers.common import shown
from engine.errors import UsageError
from engine.hub.cache import Cache, Partial, Revision, scan

MARKER = ".huggingface-shared-blobs"
"""The file that says that `<cache>/blobs` is huggingface_hub's store of blobs that several repositories share."""
DOWNLOAD_LOCK = "tinytales.lock"
"""Beside huggingface_hub's locks of a repository's blobs: held, by all at once, by the workers that are downloading into it (those locks
are free while a file is checked, and between two files), and by one alone who takes something away."""


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
    sizes: tuple[tuple[str, int], ...] = ()
    """Every file that a person was told of: its path inside the cache, and its bytes."""

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
    return _worked_out(cache, chosen, partials)


def looked_at_again(deletion: Deletion) -> Deletion:
    """The same deletion as the cache is now, for who holds `locked`: a ref may point elsewhere by now, another revision use a blob.

    Raises `UsageError` where a file has come, gone or changed since a person saw what would go.
    """
    cache = scan(deletion.cache)
    chosen = [_find(cache, repo, commit) for repo, commit in deletion.revisions]
    for repo in deletion.whole_repos:
        going = {revision.path.name for revision in chosen if revision.repo == repo}
        folder = next(revision.path.parent for revision in chosen if revision.repo == repo)
        if any(path.is_dir() and path.name not in going for path in folder.iterdir()):  # also one that `scan` could not read
            raise UsageError(f"{shown(repo)} has got another revision meanwhile; look again at what would be deleted.")
    now = _worked_out(cache, chosen, [partial for partial in cache.partials if partial.path in deletion.partials])
    if (now.sizes, now.whole_repos) != (deletion.sizes, deletion.whole_repos):
        raise UsageError(f"{deletion.words} has changed meanwhile; look again at what would be deleted.")
    return now


def _worked_out(cache: Cache, chosen: Sequence[Revision], partials: Sequence[Partial]) -> Deletion:
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
    sizes = {revision.path / file.name: file.size for revision in chosen for file in revision.files}
    sizes |= {partial.path: partial.size for partial in extra}
    return Deletion(
        cache.folder,
        tuple((revision.repo, revision.commit) for revision in chosen),
        tuple(partial.path for partial in extra),
        tuple(whole),
        tuple(moves),
        freed + sum(partial.size for partial in extra),
        sum(used.values()) - freed,
        tuple(sorted((str(path.relative_to(cache.folder)), count) for path, count in sizes.items())),
    )


def refuse_if_busy(cache: Cache, repo_folder: Path) -> None:
    """Raises `UsageError` where a process is downloading into a repository's folder."""
    if any(_is_held(lock) for lock in _lock_files(cache.folder / ".locks" / repo_folder.name)):
        _refuse_busy(repo_folder.name)


def is_being_written(partial: Path) -> bool:
    """Whether a process may be at work on a partial file: huggingface_hub holds the lock of a blob while it downloads it, and our
    workers hold one of the whole repository."""
    locks = partial.parent.parent.parent / ".locks" / partial.parent.parent.name
    return _is_held(locks / f"{partial.name.split('.')[0]}.lock") or _is_held(locks / DOWNLOAD_LOCK)


@contextlib.contextmanager
def locked(cache: Path, repo_folders: Sequence[str]) -> Iterator[None]:
    """Hold huggingface_hub's own locks of all blobs of these repositories, as far as there are any, and keep our workers out.

    Raises `UsageError` where a download holds one of them, OSError where no lock can be made.
    """
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as stack:
        for folder in repo_folders:
            locks = cache / ".locks" / folder
            locks.mkdir(parents=True, exist_ok=True)
            for lock in dict.fromkeys((locks / DOWNLOAD_LOCK, *_lock_files(locks))):
                try:
                    stack.enter_context(FileLock(lock, timeout=0))
                except Timeout:
                    _refuse_busy(folder)
        yield


def _refuse_busy(folder: str) -> NoReturn:
    name = shown(folder.partition("--")[2].replace("--", "/"))
    raise UsageError(
        f"{name} is being downloaded at this moment; wait until it is there, or cancel the download first."
    ) from None


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
