"""The small parts of downloading, each by itself: sentences, checksums, revisions, the bar that huggingface_hub counts on."""

from __future__ import annotations

import errno
import hashlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.errors import CheckpointError, NetworkError, TinyTalesError, UsageError
from engine.hub.checksums import checksum_of
from engine.hub.failures import failure_of, kind_of, plain, told
from engine.hub.planning import PlannedFile, refuse_odd_revision
from engine.hub.reporting import Bar, Reporter, own_partials


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk of the Hub's cache is full; make room"),
        (errno.EDQUOT, "is full"),
        (errno.EACCES, "no permission to write there; set HF_HOME"),
        (errno.EPERM, "no permission"),
        (errno.EROFS, "that disk is read-only; set HF_HOME"),
        (errno.ENOTDIR, "/some/place is in the way; move it"),
        (errno.EEXIST, "is in the way"),
        (errno.EIO, "input/output error"),
    ],
)
def test_what_the_disk_says_has_a_sentence_of_its_own(code: int, words: str) -> None:
    error = OSError(code, "Input/output error", "/some/place")
    found = told(error, "some/model")
    assert isinstance(found, CheckpointError) and words in str(found) and str(found).startswith("some/model ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_in_truth() -> None:
    with pytest.raises(OSError) as raised, open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    assert "is full" in str(told(raised.value, "some/model"))


def test_what_is_not_known_is_worth_another_try() -> None:
    found = told(RuntimeError("\x1b[2J words of a library"), "some/model")
    assert isinstance(found, NetworkError) and "RuntimeError" in str(found) and "HF_HUB_DISABLE_XET=1" in str(found)
    assert "words of a library" not in str(found)
    size = OSError("Consistency check failed: file should be of size 5 but has size 3 (model.bin).")
    assert isinstance(told(size, "some/model"), NetworkError) and "damaged on the way" in str(told(size, "some/model"))
    assert told(found, "some/model") is found


def test_a_cause_says_more_than_what_it_was_wrapped_in() -> None:
    try:
        try:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        except OSError as inner:
            raise FileNotFoundError("not in the cache") from inner
    except OSError as error:
        found = told(error, "some/model")
    assert isinstance(found, NetworkError) and "nothing answers at its address" in str(found)


@pytest.mark.parametrize("cls", [NetworkError, CheckpointError, UsageError])
def test_a_failure_goes_from_one_process_to_another(cls: type[TinyTalesError]) -> None:
    again = failure_of(kind_of(cls("words")), "words")
    assert type(again) is cls and str(again) == "words"
    assert type(failure_of("of another version", "words")) is CheckpointError


def test_words_from_outside_cannot_steer_a_terminal() -> None:
    assert plain("a\x1b[2J\u202e\nb") == "a[2Jb" and len(plain("x" * 500)) == 120


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "refs/pr/1", "a" * 40, "feature/words_and-more"])
def test_names_that_a_revision_can_have(revision: str | None) -> None:
    refuse_odd_revision(revision)


@pytest.mark.parametrize(
    "revision", ["", "..", "a/../b", "/etc", "a//b", "a b", "a\x1b[2J", "a\\b", "~x", "a" * 201, "./a", "a..b"]
)
def test_names_that_no_revision_has(revision: str) -> None:
    with pytest.raises(UsageError, match="is no revision"):
        refuse_odd_revision(revision)


def test_checksums_are_those_of_the_hub(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello\n" * 300_000)
    assert checksum_of(path, "0" * 64) == hashlib.sha256(path.read_bytes()).hexdigest()
    read: list[int] = []
    path.write_bytes(b"hello\n")
    assert checksum_of(path, "0" * 40, read.append) == "ce013625030ba8dba906f756967f9e9ca394464a"  # as `git hash-object` says
    assert read == [6]


def test_the_bar_counts_what_xet_tells() -> None:
    reporting = pytest.importorskip("huggingface_hub.utils._xet_progress_reporting")
    out = io.StringIO()
    reporter = Reporter(out)
    Bar.reporter = reporter
    reporter.begin(PlannedFile("model.safetensors", 1000, cached=False), Path())
    with reporting.XetDownloadProgressReporter(
        reconstruction_desc="", total=1000, log_level=20, name="x", tqdm_class=Bar
    ) as progress:
        for received, written in ((400, 0), (900, 500), (900, 1000)):  # less comes over the network than the file has
            report = SimpleNamespace(
                total_bytes_completed=written,
                total_transfer_bytes_completed=received,
                total_bytes_completion_rate=None,
                total_transfer_bytes_completion_rate=1.0,
                total_bytes=1000,
            )
            progress.update_progress(report)
            reporter._look()
    reporter.end()
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["done"] for event in events] == [0, 400, 900, 1000] and {event["total"] for event in events} == {1000}


def test_half_written_files_of_other_processes_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "a.12345678.incomplete").write_bytes(b"theirs")
    with (tmp_path / "a.87654321.incomplete").open("wb") as ours:
        ours.write(b"ours")
        assert own_partials(tmp_path) == {tmp_path / "a.87654321.incomplete"}
    assert own_partials(tmp_path) == set() and own_partials(tmp_path / "missing") == set()
