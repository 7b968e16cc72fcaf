"""All checkpoints in one list: shipped, runs, the Hub's cache, added folders; what is partial, in use, or changes meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from made_cache import MadeCache, commit_of
from made_checkpoints import KINDS, files_of, tiny_files
from made_runs import live_trainer, make_run, write_status
from small import save_tiny

import engine
from engine.catalog import holding
from engine.catalog.entries import Entry
from engine.catalog.facts import FactsCache
from engine.catalog.fit import BASE, fit
from engine.catalog.listing import Listing, list_entries
from engine.catalog.notes import Notes
from engine.errors import UsageError
from engine.hub.trash import preview

MEASURED = {"nats_per_token": 1.5, "bits_per_byte": 0.7}


class Place:
    """Folders for runs, a cache and notes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"
        self.cache = MadeCache(folder / "hub")
        self.notes = Notes(folder / "data" / "checkpoints.json")

    def listed(self) -> Listing:
        return list_entries(self.runs, self.notes, cache=self.cache.folder)

    def entries(self) -> dict[str, Entry]:
        return {entry.key: entry for entry in self.listed().entries}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def with_checkpoints(run: Path, *names: str) -> Path:
    for at, name in enumerate(names):
        folder = save_tiny(run / "checkpoints" / name, "rope")
        card = json.loads((folder / "tinytales.json").read_text()) | {"step": 10 * at, "validation": MEASURED}
        (folder / "tinytales.json").write_text(json.dumps(card))
    return run


def test_everything_stands_in_its_order_and_can_be_loaded(place: Place) -> None:
    with_checkpoints(make_run(place.runs, "older"), "best")
    with_checkpoints(make_run(place.runs, "brave"), "best", "step-000010", "step-000020")
    events = place.runs / "older" / "events.jsonl"
    events.write_text(json.dumps({"event": "started", "step": 0, "time": 1000.0}) + "\n")
    files = tiny_files(place.folder / "made", validation=MEASURED, step=7)
    place.cache.add("own/tales", commit_of(1), files | {"README.md": b"---\ntags: [a]\nlicense: apache-2.0\n---\n# Tales\n"})
    KINDS["Hub Llama"](place.folder / "added" / "stories")
    place.notes.add_folder(place.folder / "added")
    entries = place.listed().entries
    assert [(entry.key, entry.origin) for entry in entries] == [
        ("shipped", "shipped"),
        ("run:brave/best", "run"),
        ("run:brave/step-000020", "run"),
        ("run:brave/step-000010", "run"),
        ("run:older/best", "run"),
        (f"hub:own/tales@{commit_of(1)}", "hub"),
        (f"folder:{place.folder / 'added' / 'stories'}", "folder"),
    ]
    for entry in entries:
        loaded = engine.load_checkpoint(entry.path, device="cpu")
        assert (entry.facts.parameters, entry.facts.refused) == (loaded.network.parameter_count(), "")
        assert entry.size == sum(file.size for file in entry.files) > 0 and entry.last_used
        json.dumps(entry.to_json())
    _, best, newest, *_, hub, _ = entries
    assert (best.source, best.run, best.name) == (str(place.runs / "brave/checkpoints/best"), "brave", "brave best")
    assert (newest.step, newest.val_loss, newest.bits_per_byte) == (20, 1.5, 0.7)
    assert (hub.source, hub.repo, hub.revision, hub.refs) == ("own/tales", "own/tales", commit_of(1), ("main",))
    assert (hub.licence, hub.val_loss, hub.step) == ("apache-2.0", 1.5, 7)


def test_each_revision_has_its_source(place: Place) -> None:
    files = tiny_files(place.folder / "made")
    place.cache.add("own/tales", commit_of(1), files, refs=())
    place.cache.add("own/tales", commit_of(2), files)
    place.cache.add("own/tagged", commit_of(3), files, refs=("v1",))
    sources = {entry.revision: entry.source for entry in place.listed().entries if entry.origin == "hub"}
    assert sources == {
        commit_of(1): f"own/tales@{commit_of(1)}",
        commit_of(2): "own/tales",
        commit_of(3): f"own/tagged@{commit_of(3)}",
    }


def test_lone_files_of_weights_get_an_entry_each(place: Place) -> None:
    first, second = KINDS["llama2.c"](place.folder / "a"), KINDS["llama2.c, quantised"](place.folder / "b")
    files = files_of(first.parent) | files_of(second)
    place.cache.add(
        "own/llamas", commit_of(1), {**files, **{f"small/{name}": data for name, data in files_of(first.parent).items()}}
    )
    place.notes.add_folder(shutil.copytree(place.cache.repo("own/llamas") / "snapshots" / commit_of(1), place.folder / "copy"))
    hub = [entry for entry in place.listed().entries if entry.origin == "hub"]
    assert [entry.source for entry in hub] == [f"own/llamas/{name}" for name in ("q8.bin", "small/stories.bin", "stories.bin")]
    for entry in hub:
        loaded = engine.load_checkpoint(entry.path, device="cpu")
        assert (entry.facts.family, entry.facts.parameters) == ("llama2.c", loaded.network.parameter_count())
        assert entry.facts.tokenizer == loaded.tokenizer.name
        assert all(entry.source.rpartition("/")[2] == file.name.rpartition("/")[2] or "tok" in file.name for file in entry.files)
    added = [entry for entry in place.listed().entries if entry.origin == "folder"]
    assert {entry.name for entry in added} == {"copy/q8.bin", "copy/stories.bin", "small"}


def test_one_file_alone_stands_for_its_repository_where_that_is_known_to_have_no_other(place: Place) -> None:
    source = KINDS["half rotary"](place.folder / "made")
    place.cache.add_folder("own/one", commit_of(1), source.parent)
    (entry,) = [entry for entry in place.listed().entries if entry.origin == "hub"]
    assert entry.source == "own/one/best.pth"  # one of how many, nobody knows
    trees = place.cache.repo("own/one") / "trees"
    trees.mkdir()
    for others, named in ((["last.pth"], "own/one/best.pth"), ([], "own/one")):
        files = {name: {"size": source.stat().st_size} for name in ["best.pth", *others]}
        (trees / f"{commit_of(1)}.json").write_text(json.dumps({"files": files}))
        (entry,) = [entry for entry in place.listed().entries if entry.origin == "hub"]
        assert entry.source == named
    assert (entry.facts.weights, entry.facts.safe) == ("best.pth", False)
    assert engine.load_checkpoint(entry.path, device="cpu").family == entry.facts.family


def test_what_is_cut_off_or_leads_outside_is_shown_and_not_opened(place: Place) -> None:
    place.cache.add("own/cut", commit_of(1), {"config.json": b"{}"})
    place.cache.partial("own/cut", 400)
    away = save_tiny(place.folder / "away", "rope")
    snapshot = place.cache.add("own/evil", commit_of(2), {"config.json": b"{}"})
    for name in ("model.safetensors", "tinytales.json"):
        (snapshot / name).symlink_to(away / name)
    listing = place.listed()
    cut, evil = (entry for entry in listing.entries if entry.origin == "hub")
    assert (cut.partial, cut.facts.known) == ("weights", False)
    assert not evil.facts.known and "leads out of the Hub's cache" in evil.facts.refused and evil.bits_per_byte is None
    assert [partial.size for partial in listing.partials] == [400]
    assert any("leads out" in warning for warning in listing.warnings)
    (place.folder / "added").mkdir()
    (place.folder / "added" / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    (place.folder / "added" / "model-2.safetensors").write_bytes(b"")
    place.notes.add_folder(place.folder / "added")
    assert "model-1.safetensors" in place.entries()[f"folder:{place.folder / 'added'}"].partial


def test_looking_is_no_use(place: Place) -> None:
    place.cache.add("own/tales", commit_of(1), tiny_files(place.folder / "made"))
    before = place.entries()[f"hub:own/tales@{commit_of(1)}"].last_used
    weights = place.cache.repo("own/tales") / "snapshots" / commit_of(1) / "model.safetensors"
    os.utime(weights, (1000, 1000))
    for _ in range(2):
        entry = place.entries()[f"hub:own/tales@{commit_of(1)}"]
        assert entry.last_used == 1000 and entry.last_used != before
    place.notes.mark_used("own/tales", 5000.0)
    assert place.entries()[f"hub:own/tales@{commit_of(1)}"].last_used == 5000


def test_the_cache_that_was_found_is_what_deleting_takes(place: Place) -> None:
    place.cache.add("own/tales", commit_of(1), {"model.safetensors": b"x" * 800})
    listing = place.listed()
    assert listing.cache_bytes == preview(listing.cache, [("own/tales", commit_of(1))]).freed == 800


def test_an_added_folder_that_is_gone_is_told(place: Place) -> None:
    gone = place.folder / "gone"
    gone.mkdir()
    place.notes.add_folder(gone)
    gone.rmdir()
    assert any("is not there" in warning for warning in place.listed().warnings)


def test_the_folder_of_a_run_stands_for_its_best(place: Place) -> None:
    run = with_checkpoints(make_run(place.folder / "elsewhere", "kept"), "best", "step-000010")
    place.notes.add_folder(run.parent)
    (entry,) = [entry for entry in place.listed().entries if entry.origin == "folder"]
    assert (entry.source, entry.path) == (str(run), run / "checkpoints" / "best")


def test_nothing_that_vanishes_in_the_middle_stops_the_listing(place: Place) -> None:
    files = tiny_files(place.folder / "made")
    with_checkpoints(make_run(place.runs, "brave"), "best", "step-000010")
    ended = threading.Event()

    def come_and_go() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            place.cache.add("own/tales", commit_of(number), files)
            save_tiny(place.runs / "brave" / "checkpoints" / f"step-{number:06d}", "rope")
            shutil.rmtree(place.cache.repo("own/tales"))
            shutil.rmtree(place.runs / "brave" / "checkpoints" / f"step-{number:06d}")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        found = [place.listed() for _ in range(60)]
    finally:
        ended.set()
        thread.join()
    assert all(listing.entries[0].origin == "shipped" for listing in found)


# In use


def test_what_a_living_process_holds_is_in_use(place: Place) -> None:
    folder = place.notes.path.parent / holding.FOLDER
    place.cache.add("own/tales", commit_of(1), tiny_files(place.folder / "made"))
    with_checkpoints(make_run(place.runs, "brave"), "best", "step-000010")
    holding.hold(folder, ["own/tales", place.runs / "brave" / "checkpoints" / "best"], "the Write pane")
    found = {key: entry.in_use for key, entry in place.entries().items()}
    assert found == {
        "shipped": "",
        "run:brave/best": "the Write pane",
        "run:brave/step-000010": "",
        f"hub:own/tales@{commit_of(1)}": "the Write pane",
    }
    dead = folder / "999999999.json"
    dead.write_text(json.dumps({"pid": 999999999, "started": 1.0, "what": "a ghost", "sources": ["default"]}))
    stale = json.loads((folder / f"{os.getpid()}.json").read_text()) | {"started": 1.0}  # the number of another process by now
    (folder / "1.json").write_text(json.dumps(stale))
    (folder / "2.json").write_text("{")
    assert {one.what for one in holding.held(folder)} == {"the Write pane"}
    assert not dead.exists()
    holding.let_go(folder)
    assert holding.held(folder) == []


def test_a_run_at_work_holds_what_it_was_started_from_and_its_own(place: Place) -> None:
    place.cache.add("own/tales", commit_of(1), tiny_files(place.folder / "made"))
    run = with_checkpoints(make_run(place.runs, "brave"), "best")
    config = json.loads((run / "config.json").read_text())
    config["settings"]["start_from"] = "own/tales"
    (run / "config.json").write_text(json.dumps(config))
    hub = f"hub:own/tales@{commit_of(1)}"
    assert place.entries()[hub].in_use == ""
    with live_trainer(run):
        found = place.entries()
        assert found[hub].in_use == "the run brave"
        assert "at work" in found["run:brave/best"].in_use
    write_status(run, state="finished")
    assert place.entries()[hub].in_use == ""


# Memory


def test_the_memory_that_is_needed_grows_with_the_model(place: Place) -> None:
    import psutil

    facts = place.entries()["shipped"].facts
    found, half = fit(facts), fit(facts, "bf16")
    assert found and half
    cache = 2 * 6 * 512 * 256 * 4
    assert found.needed_bytes == BASE + 8 * facts.parameters + cache == half.needed_bytes + cache // 2
    assert found.fits and 0 < found.available_bytes <= psutil.virtual_memory().total
    huge = fit(type(facts)(family="x", parameters=10**13))
    assert huge and not huge.fits
    assert fit(type(facts)()) is None


def test_facts_are_asked_for_once(place: Place) -> None:
    place.cache.add("own/tales", commit_of(1), tiny_files(place.folder / "made"))
    kept = FactsCache(place.folder / "facts.json")
    first = list_entries(place.runs, place.notes, cache=place.cache.folder, facts_cache=kept)
    kept.save()
    content = json.loads((place.folder / "facts.json").read_text())
    for row in content["facts"].values():
        row["facts"]["family"] = "kept"
    (place.folder / "facts.json").write_text(json.dumps(content))
    kept = FactsCache(place.folder / "facts.json")
    again = list_entries(place.runs, place.notes, cache=place.cache.folder, facts_cache=kept)
    assert {entry.facts.family for entry in first.entries} == {"llama"}
    assert {entry.facts.family for entry in again.entries} == {"kept"}


def test_a_folder_that_is_none_cannot_be_added(place: Place) -> None:
    with pytest.raises(UsageError, match="no folder"):
        place.notes.add_folder(place.folder / "nowhere")
