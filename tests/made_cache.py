"""A Hub cache on disk, laid out as huggingface_hub does it: blobs called after their checksums, snapshots of links, refs.

`MadeCache(folder).add("owner/name", commit, files)`; the same bytes in two revisions of a repository are one blob.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

LARGE = 256
"""Bytes from which a file counts as one of LFS, whose blob is called after its SHA-256; smaller ones go by git's SHA-1."""
MARKER = ".huggingface-shared-blobs"


def commit_of(number: int) -> str:
    return f"{number:040x}"


class MadeCache:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def repo(self, repo: str, kind: str = "model") -> Path:
        return self.folder / f"{kind}s--{repo.replace('/', '--')}"

    def add(
        self, repo: str, commit: str, files: Mapping[str, bytes], refs: tuple[str, ...] = ("main",), kind: str = "model"
    ) -> Path:
        """A revision; returns its snapshot."""
        folder = self.repo(repo, kind)
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True, exist_ok=True)
        (folder / "blobs").mkdir(exist_ok=True)
        for name, data in files.items():
            blob = folder / "blobs" / etag(data)
            if not blob.exists():
                blob.write_bytes(data)
            self.link(snapshot / name, blob)
        for ref in refs:
            path = folder / "refs" / ref
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(commit)
        return snapshot

    def add_folder(self, repo: str, commit: str, folder: Path, refs: tuple[str, ...] = ("main",)) -> Path:
        """A revision with the files of a folder."""
        names = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return self.add(repo, commit, {str(path.relative_to(folder)): path.read_bytes() for path in names}, refs)

    def link(self, path: Path, blob: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(blob, path.parent))

    def partial(self, repo: str, size: int = 100, data: bytes = b"never finished") -> Path:
        """What a download that was killed leaves behind."""
        path = self.repo(repo) / "blobs" / f"{etag(data)}.0a1b2c3d.incomplete"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\1" * size)
        return path

    def lock(self, repo: str, data: bytes) -> Path:
        """The lock file of a blob, which nobody holds."""
        path = self.folder / ".locks" / self.repo(repo).name / f"{etag(data)}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def share(self, repo: str, data: bytes) -> Path:
        """Move a blob into the store that repositories share, as huggingface_hub does with what comes over Xet."""
        store = self.folder / "blobs"
        store.mkdir(exist_ok=True)
        (store / MARKER).write_text("1\n")
        name = hashlib.sha256(b"xet" + data).hexdigest()
        payload = store / name[:2] / name
        payload.parent.mkdir(exist_ok=True)
        if not payload.exists():
            payload.write_bytes(data)
        blob = self.repo(repo) / "blobs" / etag(data)
        blob.unlink()
        blob.symlink_to(os.path.relpath(payload, blob.parent))
        with payload.with_name(f"{name}.refs").open("a") as manifest:
            manifest.write(f"{blob.relative_to(self.folder).as_posix()}\n")
        return payload


def etag(data: bytes) -> str:
    """What the Hub calls a file's contents."""
    if len(data) >= LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def tree(folder: Path) -> dict[str, object]:
    """Everything below a folder: bytes of files, targets of links, None for folders. Lock files do not count."""
    found: dict[str, object] = {}
    for root, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(root) / name
            if ".locks" in path.parts:
                continue
            shown = str(path.relative_to(folder))
            found[shown] = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
    return found
