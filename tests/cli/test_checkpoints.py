"""`tinytales-tui checkpoints …` against a real Hub on this machine, a cache of its own, and real miniature checkpoints."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, running_hub
from made_checkpoints import KINDS
from small import save_tiny

from engine.catalog import holding
from engine.catalog.notes import Notes

Tell = Callable[..., "Told"]


@dataclass
class Told:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small model of our own, as it would lie on the Hub."""
    folder = save_tiny(tmp_path_factory.mktemp("hub") / "tiny", "rope")
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"README.md": b"---\nlicense: mit\n---\n# Tiny\n"}


@pytest.fixture(scope="module")
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    site = {
        "mia/tales": {"files": files | {"optimizer.pt": b"x" * 5000, "pytorch_model.bin": b"y" * 5000}, "downloads": 1234},
        "mia/other-tales": {"files": files},
        "mia/gated-tales": {"files": files, "gated": "manual"},
        "roneneldan/TinyStories-1M": {"files": {"config.json": b"{}", "pytorch_model.bin": b"z" * 900}, "tags": ["license:mit"]},
    }
    with running_hub(site) as hub:
        yield hub


@pytest.fixture
def tell(hub: Hub, tmp_path: Path) -> Tell:
    """`tell("list", HF_TOKEN="good")`: the command in a process of its own."""

    def call(*arguments: str, typed: str | None = None, **environment: str) -> Told:
        env = hub.environment(tmp_path / "hf", **environment)
        command = [sys.executable, "-m", "tinytales_tui", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, input=typed)
        assert "Traceback" not in done.stderr and "fault of its own" not in done.stderr, done.stderr
        return Told(done.returncode, done.stdout, done.stderr)

    return call


def in_cache(hub: Hub, tmp_path: Path) -> list[str]:
    """What huggingface_hub's own command says is there."""
    command = [str(Path(sys.executable).parent / "hf"), "cache", "ls", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=hub.environment(tmp_path / "hf"))
    if "Cache directory not found" in done.stderr:
        return []
    assert done.returncode == 0, done.stderr
    return sorted(row["repo_id"] for row in json.loads(done.stdout or "[]"))


def test_from_an_empty_cache_to_a_story_and_back(hub: Hub, tell: Tell, tmp_path: Path) -> None:
    found = tell("checkpoints", "search", "tales", "--json").json["models"]
    assert [model["repo"] for model in found][:1] == ["mia/tales"] and found[0]["downloads"] == 1234 and found[0]["size"] < 1e6
    assert tell("checkpoints", "list", "--json").json["checkpoints"][1:] == []

    planned = tell("checkpoints", "download", "mia/tales", "--dry-run", "--json")
    assert "optimizer.pt" not in planned.out and "pytorch_model.bin" not in planned.out and planned.code == 0
    assert "are free" in planned.err and planned.json[0]["to_fetch"] > 0 and in_cache(hub, tmp_path) == []
    done = tell("checkpoints", "download", "mia/tales")
    assert done.code == 0 and Path(done.out.strip(), "model.safetensors").is_file()
    asked = len(hub.log("model.safetensors"))
    again = tell("checkpoints", "download", "mia/tales", "--json")
    assert again.json[0]["state"] == "done" and "in the cache already" in again.err and len(hub.log("model.safetensors")) == asked

    assert in_cache(hub, tmp_path) == ["mia/tales"]
    entry = tell("checkpoints", "list", "mia", "--json").json["checkpoints"][0]
    assert (entry["source"], entry["licence"], entry["refs"], entry["facts"]["safe"]) == ("mia/tales", "mit", ["main"], True)
    assert "mia/tales" in tell("checkpoints").out and "Tiny" in tell("checkpoints", "show", "mia/tales").out
    assert "all right" in tell("checkpoints", "verify").out

    story = ("--prompt", "a kite", "--max-tokens", "8", "--seed", "1", "-q")
    named = tell(*story, "--checkpoint", "mia/tales", HF_HUB_OFFLINE="1")
    assert named.code == 0 and named.out.strip()
    assert tell("checkpoints", "use", "mia/tales", "--prompt-style", "plain").code == 0
    standing = tell(*story[:-1], HF_HUB_OFFLINE="1")
    assert "checkpoint: mia/tales" in standing.err and "knows no endings" in standing.err and standing.out.startswith("a kite")
    assert tell("checkpoints", "use", "mia/tales", "--as-found").code == 0
    assert tell(*story, HF_HUB_OFFLINE="1").out == named.out

    looked = tell("checkpoints", "delete", "mia/tales", "--dry-run", "--json").json
    assert tell("checkpoints", "delete", "mia/tales").code == 2  # nobody is there to be asked
    gone = tell("checkpoints", "delete", "mia/tales", "--yes", "--json")
    assert gone.json["frees_bytes"] == looked["frees_bytes"] > 0 and "standing" in gone.err
    assert in_cache(hub, tmp_path) == [] and tell("checkpoints", "list", "mia").out.count("\n") == 1
    assert tell("checkpoints", "undo").code == 0
    assert "all right" in tell("checkpoints", "verify", "mia/tales").out and len(in_cache(hub, tmp_path)) == 1
    tell("checkpoints", "delete", "mia/tales", "--yes")
    before = sum(path.stat().st_size for path in (tmp_path / "hf").rglob("*") if path.is_file() and path.suffix != ".lock")
    pruned = tell("checkpoints", "prune", "--yes", "--json").json
    after = sum(path.stat().st_size for path in (tmp_path / "hf").rglob("*") if path.is_file() and path.suffix != ".lock")
    assert pruned["freed_bytes"] == looked["frees_bytes"] and before - after >= pruned["freed_bytes"]
    assert tell("checkpoints", "undo").code == 1


def test_exit_codes_say_whether_to_try_again(hub: Hub, tell: Tell) -> None:
    assert tell("checkpoints", "download", "mia/tales", HF_HUB_OFFLINE="1").code == 3
    address = f"{hub.url}/mia/tales/tree/main"
    assert tell("checkpoints", "download", address, "-q").code == 0
    here = tell("checkpoints", "download", "mia/tales", HF_HUB_OFFLINE="1")
    assert here.code == 0 and "is here" in here.err
    assert tell("checkpoints", "search", "tales", HF_ENDPOINT="http://127.0.0.1:9").code == 3
    gated = tell("checkpoints", "download", "mia/gated-tales")
    assert gated.code == 1 and "HF_TOKEN" in gated.err
    assert tell("checkpoints", "download", "mia/gated-tales", "--dry-run", HF_TOKEN="good").code == 0
    assert tell("checkpoints", "download", "mia/nothing").code == 1
    for wrong in (("download", "tales"), ("show", "nothing"), ("delete", "nothing", "--yes"), ("use", "mia/nothing")):
        assert tell("checkpoints", *wrong).code == 2, wrong
    hub.fault("mia/other-tales", status=503)
    try:
        assert tell("checkpoints", "download", "mia/other-tales").code == 3
    finally:
        hub.fault("mia/other-tales")
    mixed = tell("checkpoints", "download", "mia/nothing", "mia/other-tales", "--json")
    assert mixed.code == 1 and mixed.json[0]["state"] == "done"  # what can be had is fetched


def test_a_search_without_a_network_lists_the_known_ones_and_one_that_is_gone_says_so(tell: Tell) -> None:
    offline = tell("checkpoints", "search", "1M", "--json", HF_HUB_OFFLINE="1")
    assert offline.code == 3 and all(model["curated"] for model in offline.json["models"]) and offline.json["trouble"]
    known = {model["source"]: model for model in tell("checkpoints", "search", "TinyStories", "1M", "--json").json["models"]}
    there, gone = known["roneneldan/TinyStories-1M"], known["roneneldan/TinyStories-Instruct-1M"]
    assert there["curated"] and there["size"] == 902 and there["licence"] == "mit" and there["parameters"] == 3_745_984
    assert gone["curated"] and gone["size"] is None and "no repository" in gone["trouble"]


def test_what_is_in_use_is_not_deleted(tell: Tell, own_data_folder: Path) -> None:
    tell("checkpoints", "download", "mia/tales")
    holding.hold(own_data_folder / holding.FOLDER, ["mia/tales"], "the Write pane")  # this very process
    refused = tell("checkpoints", "delete", "mia/tales", "--yes")
    assert refused.code == 2 and "in use (the Write pane)" in refused.err
    holding.let_go(own_data_folder / holding.FOLDER)
    assert tell("checkpoints", "delete", "mia/tales", "--yes", "--now").code == 0
    assert tell("checkpoints", "delete", "default", "--yes").code == 2


def test_a_part_of_a_name_names_nothing(hub: Hub, tell: Tell, tmp_path: Path) -> None:
    tell("checkpoints", "download", "mia/tales", "mia/other-tales")
    commit = tell("checkpoints", "list", "mia/tales", "--json").json["checkpoints"][0]["revision"]
    for part in ("mia/t", "mia", "mia/tale", "mia/tales@", f"mia/tales@{commit[:3]}", f"mia/other@{commit[:7]}"):
        assert tell("checkpoints", "delete", part, "--yes", "--now").code == 2, part
    assert len(in_cache(hub, tmp_path)) == 2
    assert tell("checkpoints", "show", f"mia/tales@{commit[:7]}").code == 0
    assert tell("checkpoints", "delete", "mia/tales@main", "--yes").code == 0
    assert in_cache(hub, tmp_path) == ["mia/other-tales"]


def test_a_damaged_file_is_found(tell: Tell, tmp_path: Path) -> None:
    path = Path(tell("checkpoints", "download", "mia/tales").out.strip())
    weights = (path / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    found = tell("checkpoints", "verify", "--json")
    assert found.code == 1 and found.json[0]["wrong"] == ["model.safetensors"]
    assert "DAMAGED: model.safetensors" in tell("checkpoints", "verify", "mia/tales").out


def test_what_a_broken_off_download_left_is_listed_and_pruned(hub: Hub, tell: Tell, tmp_path: Path) -> None:
    tell("checkpoints", "download", "mia/tales")
    entry = tell("checkpoints", "list", "mia/tales", "--json").json["checkpoints"][0]
    short = ("--prompt", "a kite", "--max-tokens", "3", "-q", "--checkpoint", f"mia/tales@{entry['revision'][:7]}")
    assert tell(*short, HF_HUB_OFFLINE="1").code == 0
    left = next((tmp_path / "hf" / "hub").glob("models--*/blobs")) / ("ab" * 32 + ".0a1b2c3d.incomplete")
    left.write_bytes(b"\0" * 777)
    assert "partial downloads take 777 bytes" in tell("checkpoints", "list").err
    assert tell("checkpoints", "list", "--json").json["partial_files"][0]["size"] == 777
    assert tell("checkpoints", "prune", "--dry-run", "--json").json["frees_bytes"] == 777 and left.exists()
    assert tell("checkpoints", "prune", "--yes").code == 0 and not left.exists()
    assert len(tell("checkpoints", "list", "--json").json["checkpoints"]) == 2


def test_pruning_detached_ones_leaves_what_is_standing_or_pinned(
    hub: Hub, tell: Tell, tmp_path: Path, own_data_folder: Path
) -> None:
    tell("checkpoints", "download", "mia/tales", "mia/other-tales")
    for ref in (tmp_path / "hf" / "hub").glob("models--*/refs/main"):
        ref.unlink()
    source, pinned = sorted(
        (entry["source"] for entry in tell("checkpoints", "list", "--json").json["checkpoints"] if entry["origin"] == "hub"),
        reverse=True,
    )
    assert source.startswith("mia/tales@")
    Notes(own_data_folder / "checkpoints.json").pin(pinned)
    assert tell("checkpoints", "use", source).code == 0
    kept = tell("checkpoints", "prune", "--detached", "--yes")
    assert kept.code == 0 and "is the standing checkpoint and stays" in kept.err and "is pinned and stays" in kept.err
    assert in_cache(hub, tmp_path) == ["mia/other-tales", "mia/tales"]
    Notes(own_data_folder / "checkpoints.json").pin(pinned, False)
    tell("checkpoints", "use", "default")
    assert tell("checkpoints", "prune", "--detached", "--yes").code == 0
    assert in_cache(hub, tmp_path) == []


def test_pruning_takes_only_what_it_has_shown(hub: Hub, tell: Tell, tmp_path: Path) -> None:
    tell("checkpoints", "download", "mia/tales", "mia/other-tales")
    tell("checkpoints", "delete", "mia/tales", "--yes")
    main, side = pty.openpty()
    command = [sys.executable, "-m", "tinytales_tui", "checkpoints", "prune"]
    process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=hub.environment(tmp_path / "hf"))
    os.close(side)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(main, 4096)
    assert b"mia/tales" in said and b"mia/other-tales" not in said
    tell("checkpoints", "delete", "mia/other-tales", "--yes")  # while the question stands
    os.write(main, b"y\n")
    while process.poll() is None:
        time.sleep(0.05)
    os.close(main)
    assert process.returncode == 0
    assert tell("checkpoints", "undo").code == 0 and in_cache(hub, tmp_path) == ["mia/other-tales"]
    assert "nothing in the trash" in tell("checkpoints", "undo").err


def test_folders_are_added_and_forgotten_and_what_is_refused_says_why(tell: Tell, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    KINDS["llama2.c"](mine)
    KINDS["inverted"](mine / "backwards")
    save_tiny(mine / "own", "learned")
    (mine / "bad").mkdir()
    (mine / "bad" / "model.safetensors").write_bytes(b"\xff" * 64)
    assert "4 checkpoints" in tell("checkpoints", "add", str(mine)).err
    listed = tell("checkpoints", "list", "folder", "--json").json["checkpoints"]
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["own"]["facts"]["family"] == "gpt2" and by_name["bad"]["facts"]["refused"]
    kinds = {entry["facts"]["family"]: entry["facts"]["refused"] for entry in listed if entry["name"] not in ("own", "bad")}
    assert kinds.pop("llama2.c") == "" and "the words to come" in next(iter(kinds.values()))
    assert tell("checkpoints", "use", str(mine / "bad")).code == 1
    assert tell("checkpoints", "delete", str(mine / "own"), "--yes").code == 2 and (mine / "own").is_dir()
    assert tell("checkpoints", "forget", str(mine)).code == 0
    assert tell("checkpoints", "list", "folder", "--json").json["checkpoints"] == []
    assert tell("checkpoints", "add", str(tmp_path / "nowhere")).code == 2


def test_a_standing_checkpoint_that_is_gone_is_told(tell: Tell, tmp_path: Path) -> None:
    own = save_tiny(tmp_path / "own", "rope")
    assert tell("checkpoints", "use", str(own)).code == 0
    own.rename(tmp_path / "moved")
    gone = tell("--prompt", "a kite", "--max-tokens", "4")
    assert gone.code == 1 and "no checkpoint at" in gone.err and "checkpoints use default" in gone.err
    assert tell("checkpoints", "use", "default").code == 0
    assert tell("--prompt", "a kite", "--max-tokens", "4", "-q").code == 0


def test_it_asks_a_person_before_it_deletes(hub: Hub, tell: Tell, tmp_path: Path) -> None:
    tell("checkpoints", "download", "mia/tales")
    for answer, left in (("n\n", 1), ("y\n", 0)):
        main, side = pty.openpty()
        command = [sys.executable, "-m", "tinytales_tui", "checkpoints", "delete", "mia/tales"]
        process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=hub.environment(tmp_path / "hf"))
        os.close(side)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(main, 4096)
        os.write(main, answer.encode())
        while process.poll() is None:
            time.sleep(0.05)
        os.close(main)
        assert process.returncode == 0 and len(in_cache(hub, tmp_path)) == left


def test_an_export_opens_as_what_it_was(tell: Tell, tmp_path: Path) -> None:
    own = save_tiny(tmp_path / "own", "rope, interleaved")
    done = tell("checkpoints", "export", str(own), str(tmp_path / "out"), "--to", "llama2c", "--json")
    assert done.code == 0 and "model.bin" in done.json["files"]
    ask = ("--prompt", "a kite", "--max-tokens", "12", "--seed", "3", "-q", "-t", "0", "--checkpoint")
    assert tell("checkpoints", "export", str(own), str(tmp_path / "out")).code == 2  # something stands there
    assert tell("checkpoints", "export", str(own), str(tmp_path / "hf"), "--to", "hf").code == 0
    assert tell(*ask, str(tmp_path / "hf")).out == tell(*ask, str(own)).out != ""
    assert tell("checkpoints", "export", str(own), str(tmp_path / "x"), "--to", "onnx").code == 2


def test_an_export_in_8_bits_is_smaller_and_told_and_written_with(tell: Tell, tmp_path: Path) -> None:
    own, small = save_tiny(tmp_path / "own", "rope"), tmp_path / "mine" / "small"
    done = tell("checkpoints", "export", str(own), str(small), "--to", "int8")
    assert done.code == 0 and "transformers cannot open" in done.err and "--to hf" in done.err and done.out.strip() == str(small)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (small, own)]
    assert sizes[0] < 0.35 * sizes[1]  # the names of the tensors weigh something in so small a file
    assert tell("checkpoints", "add", str(small)).code == tell("checkpoints", "add", str(own)).code == 0
    before, now = (tell("checkpoints", "show", str(folder), "--json").json["facts"] for folder in (own, small))
    assert (before["stored_as"], now["stored_as"]) == ("float32", "int8") and before["parameters"] == now["parameters"]
    assert "int8, a scale a row" in tell("checkpoints", "show", str(small)).out
    head, *rows = tell("checkpoints", "list").out.splitlines()
    assert "weights" in head and any("int8" in row and "small" in row for row in rows) and any("fp16" in row for row in rows)
    assert tell("checkpoints", "verify", str(small)).code == 0
    ask = ("--prompt", "a kite", "--max-tokens", "12", "--seed", "3", "-q", "-t", "0", "--checkpoint")
    written = tell(*ask, str(small)).out
    assert tell("checkpoints", "export", str(small), str(tmp_path / "hf"), "--to", "hf").code == 0
    assert tell(*ask, str(tmp_path / "hf")).out == written != ""
    for wrong in (("--to", "int8", "--precision", "fp16"), ("--to", "hf", "--precision", "int8")):
        refused = tell("checkpoints", "export", str(own), str(tmp_path / "x"), *wrong)
        assert refused.code == 2 and "cannot hold weights as" in refused.err and refused.err.count("\n") == 1
    plan = tell("checkpoints", "push", str(small), "some/small-tales", "--dry-run", "--json", HF_TOKEN="good").json
    assert {"model.safetensors", "tinytales.json", "config.json", "README.md"} <= set(plan["files"])


def test_a_push_shows_what_it_sends_and_sends_it(hub: Hub, tell: Tell, tmp_path: Path) -> None:
    own = save_tiny(tmp_path / "own", "rope")
    (own / "optimizer.pt").write_bytes(b"state")
    shown = tell("checkpoints", "push", str(own), "some/new-tales", "--dry-run", HF_TOKEN="good")
    assert shown.code == 0 and "model.safetensors" in shown.err and "private" in shown.err
    assert tell("checkpoints", "push", str(own), "some/new-tales", HF_TOKEN="good").code == 2  # nobody to be asked
    without = tell("checkpoints", "push", str(own), "some/new-tales", "--dry-run")
    assert without.code == 0 and "model.safetensors" in without.err and "token" in without.err
    sent = tell("checkpoints", "push", str(own), "some/new-tales", "--yes", "--json", HF_TOKEN="good")
    assert sent.code == 0 and sent.json["done"] and "optimizer.pt" not in sent.json["files"]
    fetched = tell("checkpoints", "download", "some/new-tales", HF_TOKEN="good")
    assert Path(fetched.out.strip(), "model.safetensors").read_bytes() == (own / "model.safetensors").read_bytes()
    assert tell("checkpoints", "push", str(own), "some/new-tales", "--yes").code == 1  # no token
