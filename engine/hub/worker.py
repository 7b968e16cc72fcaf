"""The process that downloads one repository: only a process can be stopped in the middle of a file. Knows no torch.

    python -P -m engine.hub.worker

One request comes as a line of JSON on standard input (`repo`, `revision`, `pattern`); events go as lines of JSON to standard output:

    planned    plan                        what will be fetched (`Plan.to_json`)
    partial    path                        the half-written file that this process has open; who kills it removes that file
    progress   file, done, total           bytes, at most five times a second
    checking   file                        its checksum is computed
    file_done  file, cached                whole and right, and in the cache
    done       path                        the folder with the files
    failed     message, kind               one sentence; `kind` as in `failures`

The end of standard input, SIGTERM and SIGINT all end it at once, with the half-written file removed. The environment decides the
rest (HF_HOME, HF_ENDPOINT, HF_TOKEN, proxies ...), as it does for every program that uses huggingface_hub.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine import files
from engine.errors import NetworkError, TinyTalesError
from engine.hub.checksums import checksum_of
from engine.hub.deletion import DOWNLOAD_LOCK
from engine.hub.failures import damaged_on_the_way, kind_of, plain, told
from engine.hub.needed import RemoteFile
from engine.hub.planning import Plan, PlannedFile, is_cached, look, refuse_if_full
from engine.hub.reporting import Bar, Reporter

PATIENCE = 0.4
"""Seconds that an orderly end may take."""
LOCK_WAIT = 10.0
"""Seconds that taking something out of the repository's folder may take; renames are quick."""
CHUNK = 1 << 17
"""Bytes that huggingface_hub reads at a time. Its own 10 MB would show no progress for minutes on a slow line."""


def download(plan: Plan, reporter: Reporter) -> Path:
    """Fetch what is missing of a plan, file after file, and check it; returns the folder with the files.

    The branch or tag that was asked for points at the commit only when all its files are there: one who is offline finds the old
    revision whole rather than the new one in part. Raises `NetworkError` where files have gone again meanwhile.
    """
    with _kept_from_deletion(plan):
        for file in plan.files:
            reporter.event("file_done", file=file.name, cached=_fetch(plan, file, reporter))
        gone = [file for file in plan.files if not _is_there(plan.snapshot / file.name, file)]
        if gone:  # another program cleans the cache without asking
            raise NetworkError(f"{plan.repo} lost {plain(gone[0].name)} while it was downloaded; try again.")
        _write_ref(plan)
    return plan.snapshot


@contextlib.contextmanager
def _kept_from_deletion(plan: Plan) -> Iterator[None]:
    """Hold the lock that says that this repository is being downloaded, along with other workers at it.

    Raises `NetworkError` where something is being taken out of it for long. Where no lock can be made (a cache that can only be read,
    a file system without locks) the download goes on without.
    """
    if sys.platform == "win32":  # it has no lock that several can hold
        yield
        return
    import fcntl

    lock = plan.cache / ".locks" / plan.folder.name / DOWNLOAD_LOCK
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield
        return
    try:
        ends = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > ends:
                    raise NetworkError(f"{plan.repo} is being deleted at this moment; try again when that is done.") from error
                time.sleep(0.02)
            except OSError:
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)


def _fetch(plan: Plan, file: PlannedFile, reporter: Reporter) -> bool:
    """Bring one file into the cache; whether it was there before."""
    from huggingface_hub import hf_hub_download

    path = plan.snapshot / file.name
    if _is_there(path, file):
        return True
    known = is_cached(plan.folder, plan.commit, RemoteFile(file.name, file.size, file.checksum))  # by now; the plan may be old
    reporter.begin(file, plan.folder / "blobs")
    blob = plan.folder / "blobs" / file.checksum if file.checksum else None
    cut_short = [place for place in (path, blob) if place and place.is_file() and place.stat().st_size != file.size]
    hf_hub_download(
        plan.repo,
        file.name,
        revision=plan.commit,
        cache_dir=plan.cache,
        tqdm_class=Bar,  # type: ignore[arg-type]
        force_download=bool(cut_short),
    )
    reporter.end()
    if file.cached and known and not cut_short:
        return True  # its bytes were there under another commit
    reporter.event("checking", file=file.name)
    right = path.stat().st_size == file.size and (not file.checksum or checksum_of(path, file.checksum) == file.checksum)
    if not right:
        _remove(path)
        raise damaged_on_the_way(plan.repo, file.name)
    return False


def _is_there(path: Path, file: PlannedFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def _remove(path: Path) -> None:
    """Take a damaged file out of the cache: the link in the snapshot and what it leads to, also in the store that repositories share."""
    while True:
        target = path.parent / path.readlink() if path.is_symlink() else None
        path.unlink(missing_ok=True)
        if target is None:
            return
        path = target


def _write_ref(plan: Plan) -> None:
    """Note the commit that the branch or tag stands for, as huggingface_hub does."""
    name = plan.asked or "main"
    if name == plan.commit:
        return
    ref = plan.folder / "refs" / name
    if not ref.is_file() or ref.read_text(errors="replace") != plan.commit:
        ref.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(ref, plan.commit)


def _note_files(plan: Plan, listed: list[RemoteFile]) -> None:
    """Note which files the commit has, where and as huggingface_hub notes them; `fetch` then tells offline what is missing."""
    if any(file.size is None for file in listed):
        return
    with contextlib.suppress(Exception):  # a help for later that no download may fail by; other versions of the library have none
        from huggingface_hub._tree_cache import TreeCacheEntry, write_tree_cache

        entries = {
            file.name: TreeCacheEntry(
                size=file.size or 0,
                blob_id="" if file.lfs else file.checksum,
                lfs_sha256=file.checksum if file.lfs else None,
                lfs_size=file.size if file.lfs else None,
            )
            for file in listed
        }
        write_tree_cache(str(plan.folder), plan.commit, entries)


def _stop_when_told(reporter: Reporter) -> None:
    """End in order on a signal or when nobody listens any more, and in any case soon."""

    def at_last() -> None:
        for path in reporter.partials:
            with contextlib.suppress(OSError):
                path.unlink()
        os._exit(143)

    def on_signal(*_: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        timer = threading.Timer(PATIENCE, at_last)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt  # what huggingface_hub cleans up after, with xet too

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        signal.raise_signal(signal.SIGTERM) if sys.platform == "win32" else os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Serve one request; returns the exit status (0 done, 1 failed, 143 stopped)."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no event
    reporter = Reporter(out)
    Bar.reporter = reporter
    repo = ""
    try:
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(0, 1)):
            line += byte
        _stop_when_told(reporter)
        request = json.loads(line)
        repo = request["repo"]
        from huggingface_hub import constants

        constants.DOWNLOAD_CHUNK_SIZE = CHUNK
        plan, listed = look(repo, request.get("revision"), request.get("pattern"))
        reporter.event("planned", plan=plan.to_json())
        refuse_if_full(plan)
        folder = download(plan, reporter)
        _note_files(plan, listed)
        reporter.event("done", path=str(folder))
        return 0
    except KeyboardInterrupt:
        return 143
    except BrokenPipeError:  # nobody reads what is said
        return 143
    except Exception as error:
        failure = error if isinstance(error, TinyTalesError) else told(error, repo)
        with contextlib.suppress(BrokenPipeError):
            reporter.event("failed", message=str(failure), kind=kind_of(failure))
        return 1


if __name__ == "__main__":
    status = main()
    os._exit(status)  # threads of libraries do not keep a finished download waiting
