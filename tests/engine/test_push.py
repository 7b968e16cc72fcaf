"""Pushing to the Hub: what is sent and what never is, against a Hub on this machine, and from there back into the program."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, running_hub
from made_cache import MadeCache, commit_of
from small import save_tiny

import engine
from engine.checkpoints.exporting import export
from engine.errors import CheckpointError, UsageError
from engine.hub import pushing

WORK = """
import json, sys
from pathlib import Path
from engine.errors import TinyTalesError
from engine.hub.pushing import plan_push, push
asked = json.load(sys.stdin)
try:
    plan = plan_push(Path(asked["folder"]), asked["repo"], asked["private"], pickles=asked["pickles"])
    said = []
    url = push(plan, "Stories", said.append) if asked["push"] else ""
    files = [file.name for file in plan.files]
    about = {"total": plan.total, "exists": plan.exists, "private": plan.private, "card": plan.card}
    print(json.dumps({"url": url, "said": said, "files": files, "left_out": plan.left_out, "torch": "torch" in sys.modules} | about))
except TinyTalesError as error:
    print(json.dumps({"error": str(error), "kind": type(error).__name__}))
"""
"""Runs in a process of its own, since huggingface_hub reads its environment when it is imported."""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    readme = {"README.md": b"---\nlicense: mit\n---\n"}
    with running_hub({"some/public": {"files": readme}, "some/hidden": {"files": {}, "private": True}}) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with a card."""
    save_tiny(tmp_path / "model", "rope")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n# Stories\n")
    return tmp_path / "model"


def work(
    hub: Hub, folder: Path, repo: str = "some/stories", *, token: str = "good", push: bool = True, **asked: Any
) -> dict[str, Any]:
    environment = hub.environment(folder.parent / "hf", **({"HF_TOKEN": token} if token else {}))
    request = {"folder": str(folder), "repo": repo, "private": False, "pickles": False, "push": push} | asked
    for name in [name for name in request if name.startswith("HF_")]:
        environment[name] = request.pop(name)
    done = subprocess.run(
        [sys.executable, "-c", WORK], input=json.dumps(request), capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    found = json.loads(done.stdout)
    assert "\n" not in found.get("error", "") and "\x1b" not in found.get("error", "")
    return found


def test_a_new_private_repository_with_just_the_planned_files(hub: Hub, folder: Path) -> None:
    (folder / "optimizer.safetensors").write_bytes(b"x" * 5000)
    (folder / "metrics.jsonl").write_text("{}")
    (folder / ".gitignore").write_text("*")
    (folder / "holiday.jpg").write_bytes(b"x")
    (folder / "state").mkdir()
    done = work(hub, folder, "some/first", private=True)
    assert done["url"] == f"{hub.url}/some/first" and done["said"] == ["making the repository", "sending the files"]
    expected = [
        "README.md", "config.json", "generation_config.json", "model.safetensors", "tinytales.json", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    assert done["files"] == expected and done["total"] == sum((folder / name).stat().st_size for name in expected)
    assert (done["exists"], done["private"], done["card"], done["torch"]) == (False, True, True, False)
    assert done["left_out"] == [
        ".gitignore (hidden)", "holiday.jpg (no part of a checkpoint)", "metrics.jsonl (training state)",
        "optimizer.safetensors (training state)", "state (a folder)",
    ]  # fmt: skip
    assert len([seen for seen in hub.log("/some/first/commit/") if seen["method"] == "POST"]) == 1
    again = work(hub, folder, "some/first", private=True)
    assert again["exists"] and again["said"] == ["sending the files"]


def test_what_was_pushed_comes_back_as_it_was(hub: Hub, folder: Path, tmp_path: Path) -> None:
    assert work(hub, folder, "some/returned")["url"]
    script = "import engine; print(engine.load_checkpoint('some/returned', device='cpu').network.parameter_count())"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=hub.environment(tmp_path / "other"), timeout=120
    )
    assert loaded.stdout.strip() == str(engine.load_checkpoint(folder, device="cpu").network.parameter_count()), loaded.stderr
    (snapshot,) = (tmp_path / "other").glob("hub/models--some--returned/snapshots/*")
    came = {path.name for path in snapshot.iterdir()}
    assert {"config.json", "tinytales.json", "tokenizer.json", "model.safetensors"} <= came
    for name in came:
        assert (snapshot / name).read_bytes() == (folder / name).read_bytes()
    assert work(hub, snapshot, "some/again")["url"]  # the cache's links lead out of the folder, into the cache


def test_planning_sends_nothing(hub: Hub, folder: Path) -> None:
    before = len(hub.log())
    plan = work(hub, folder, "some/planned", push=False)
    assert not plan["exists"] and {seen["method"] for seen in hub.log()[before:]} <= {"GET", "HEAD"}


def test_a_public_repository_is_not_taken_for_a_private_one(hub: Hub, folder: Path) -> None:
    assert "public" in work(hub, folder, "some/public", private=True)["error"]
    assert work(hub, folder, "some/hidden", push=False)["private"] is True


@pytest.mark.parametrize(
    ("token", "repo", "kind", "about"),
    [
        ("", "some/stories", "CheckpointError", "needs a token"),
        ("bad", "some/stories", "CheckpointError", "does not accept your token"),
        ("good", "other/stories", "CheckpointError", "may not write to other/stories"),
        ("good", "nobody", "UsageError", "looks like owner/name"),
        ("good", "some/../x", "UsageError", "looks like owner/name"),
    ],
)
def test_who_may_not_push_is_told_why(hub: Hub, folder: Path, token: str, repo: str, kind: str, about: str) -> None:
    done = work(hub, folder, repo, token=token)
    assert done["kind"] == kind and about in done["error"]


def test_a_hub_that_fails_or_is_not_there(hub: Hub, folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    assert "README.md are not what the Hub takes" in work(hub, folder, "some/public")["error"]
    (folder / "README.md").unlink()
    hub.fault("some/public", where="api", status=403)
    assert "may not write" in work(hub, folder, "some/public")["error"]
    hub.fault("some/public", where="api", status=429)
    assert work(hub, folder, "some/public")["kind"] == "NetworkError"
    hub.fault("some/public")
    assert work(hub, folder, "some/public", push=False)["card"] is False
    offline = work(hub, folder, "some/public", HF_HUB_OFFLINE="1")
    assert offline["kind"] == "NetworkError" and "HF_HUB_OFFLINE" in offline["error"]
    nowhere = work(hub, folder, "some/public", HF_ENDPOINT="http://127.0.0.1:9")
    assert nowhere["kind"] == "NetworkError" and "could not be reached" in nowhere["error"]


def sorted_out(folder: Path, pickles: bool = False) -> tuple[list[str], tuple[str, ...]]:
    files, left_out = pushing._sorted_out(pushing._checkpoint_folder(folder), pickles)
    return [file.name for file in files], left_out


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        (".env", "X=1"),
        ("id_rsa", "x"),
        ("my-credentials.json", "{}"),
        ("stored_tokens", "x"),
        ("README.md", "my token is hf_" + "aB3" * 12),
        ("README.md", "gho_" + "a1" * 18),
        ("config2.json", '{"note": "first\\nghp_' + "a1" * 18 + '"}'),
        ("card.md", "github_pat_11ABCDEFG0" + "a" * 59),
        ("train.json", '{"key": "glpat-' + "x" * 20 + '"}'),
        ("settings.json", '{"aws": "AKIA' + "ABCD1234" * 2 + '"}'),
        ("settings.json", '{"keys": "one\\nsk-proj-' + "abc1" * 8 + '"}'),
        ("LICENSE", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ("NOTICE.txt", "-----BEGIN PGP PRIVATE KEY BLOCK-----"),
        ("config.json", '{"key": "-----BEGIN RSA PRIVATE KEY-----"}'),
    ],
)
def test_secrets_are_refused_by_name_and_by_contents(folder: Path, name: str, contents: str) -> None:
    (folder / name).write_text(contents)
    with pytest.raises(CheckpointError, match=r"looks like a") as refusal:
        sorted_out(folder)
    assert "hf_a" not in str(refusal.value) and name in str(refusal.value)


def test_of_texts_only_those_of_a_checkpoint_are_taken(folder: Path) -> None:
    (folder / "notes.txt").write_text("password: hunter2")
    for name in ("LICENSE", "NOTICE.txt", "merges.txt", "vocab.txt"):
        (folder / name).write_text("words that are no secret: ask-me-anything, sk-bratislava-and-the-long-way-home, AKIARA")
    names, left_out = sorted_out(folder)
    assert {"LICENSE", "NOTICE.txt", "merges.txt", "vocab.txt"} <= set(names)
    assert left_out == ("notes.txt (no part of a checkpoint)",)


def test_what_is_too_large_to_be_looked_through_stays_here(folder: Path) -> None:
    with (folder / "extra.json").open("wb") as file:
        file.truncate((1 << 26) + 1)
    names, left_out = sorted_out(folder)
    assert "extra.json" not in names and left_out == ("extra.json (too large to be looked through for secrets)",)


def test_an_export_keeps_the_note_that_it_is_one_here(folder: Path) -> None:
    exported = export(engine.load_checkpoint(folder, device="cpu"), "hf", folder.parent / "exported")
    names, left_out = sorted_out(exported.folder)
    assert set(names) == set(exported.files) - {"export.json"} and left_out == (
        "export.json (says that this folder was exported here)",
    )


def test_a_cache_whose_blobs_are_shared_between_repositories_can_be_pushed_from(folder: Path, tmp_path: Path) -> None:
    cache = MadeCache(tmp_path / "hub")
    snapshot = cache.add_folder("mia/tales", commit_of(1), folder)
    cache.share("mia/tales", (folder / "model.safetensors").read_bytes())
    assert "model.safetensors" in sorted_out(snapshot)[0]
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "diary.json").write_text("{}")
    (snapshot / "diary.json").symlink_to(tmp_path / "blobs" / "diary.json")  # a folder of that name somewhere else
    with pytest.raises(CheckpointError, match="leads out"):
        sorted_out(snapshot)


def test_links_that_lead_out_are_refused_and_those_that_stay_are_not(folder: Path, tmp_path: Path) -> None:
    (folder / "copy.json").symlink_to("config.json")
    assert "copy.json" in sorted_out(folder)[0]
    (tmp_path / "diary.txt").write_text("mine")
    (folder / "extra.txt").symlink_to(tmp_path / "diary.txt")
    with pytest.raises(CheckpointError, match="leads out"):
        sorted_out(folder)


def test_pickles_go_only_where_they_were_asked_for(folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"PK\x03\x04")
    (folder / "tokenizer.bin").write_bytes(b"\7\0\0\0")
    names, left_out = sorted_out(folder)
    assert "model.pt" not in names and "tokenizer.bin" in names and left_out == ("model.pt (a pickle, which can carry code)",)
    assert "model.pt" in sorted_out(folder, pickles=True)[0]
    for name in ("model.safetensors", "tinytales.json"):
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match="only as a pickle"):
        sorted_out(folder)


def test_what_is_no_checkpoint_is_refused_and_a_run_stands_for_its_best(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        sorted_out(tmp_path / "photos")
    with pytest.raises(UsageError, match="no folder"):
        sorted_out(tmp_path / "nowhere")
    shutil.copytree(folder, tmp_path / "run" / "checkpoints" / "best")
    assert "model.safetensors" in sorted_out(tmp_path / "run")[0]
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "model.gguf").write_bytes(b"GGUF\3\0\0\0")
    assert sorted_out(tmp_path / "gguf") == (["model.gguf"], ())


def test_a_folder_that_changed_since_it_was_planned_is_not_sent(folder: Path) -> None:
    files, left_out = pushing._sorted_out(folder, False)
    plan = pushing.PushPlan(folder, "some/stories", files, left_out, True, False, True)
    (folder / "README.md").write_text("another")
    with pytest.raises(CheckpointError, match=r"README\.md has changed"):
        pushing.push(plan, "Stories")
