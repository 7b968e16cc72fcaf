"""Names of checkpoints on the Hub: how they are read, and that whatever the list shows can be loaded by the name that it shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import running_hub
from made_cache import MadeCache, commit_of
from made_checkpoints import KINDS, files_of, tiny_files

import engine
from engine.catalog.listing import list_entries
from engine.catalog.notes import Notes
from engine.checkpoints.glance import glance
from engine.checkpoints.hub_names import HubName, hub_name
from engine.errors import CheckpointError, TinyTalesError, UsageError
from engine.hub.cache import scan


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeCache:
    """A cache that is the one this process uses, and those that it starts."""
    from huggingface_hub import constants

    folder = tmp_path / "hf" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))  # read once, when the library is imported
    return MadeCache(folder)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("owner/name", ("owner/name", None, None)),
        ("owner/name@v1.0", ("owner/name", "v1.0", None)),
        ("owner/name/a.pt", ("owner/name", None, "a.pt")),
        ("owner/name@v1/small/a.safetensors", ("owner/name", "v1", "small/a.safetensors")),
        ("owner/name@feature/new", ("owner/name", "feature/new", None)),
        ("owner/name/step=1.bin", ("owner/name", None, "step=1.bin")),
        ("owner/name/my model + more, v2.bin", ("owner/name", None, "my model + more, v2.bin")),
        ("owner/name/a@b..c.pt", ("owner/name", None, "a@b..c.pt")),
    ],
)
def test_a_name_has_its_parts(cache: MadeCache, text: str, parts: tuple[str | None, ...]) -> None:
    assert hub_name(text) == HubName(*parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "", "nowhere", "./a/b", "/a/b", "~/a/b", "../b", "owner/name/../a.pt", "owner/name/sub//a.pt", "owner/name/", "owner/name@",
        "owner/name/a\x1b.pt", "owner/name\n", "owner/name/a\\b.pt", "own er/name", "owner/name/words.txt", "owner/name@../x",
    ],
)  # fmt: skip
def test_what_is_no_name_is_none(cache: MadeCache, text: str) -> None:
    assert hub_name(text) is None
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        engine.load_checkpoint(text or "no such path", device="cpu")


def test_a_download_takes_patterns_and_branches_with_slashes(cache: MadeCache) -> None:
    def read(text: str) -> tuple[str | None, str | None]:
        named = hub_name(text, patterns=True)
        assert named is not None and named.repo == "owner/name"
        return named.revision, named.file

    assert read("owner/name/small/*") == (None, "small/*")
    assert read("owner/name@v1/README.md") == ("v1", "README.md")
    assert read("owner/name@feature/x") == ("feature/x", None)
    assert read("owner/name@release/1.0") == ("release/1.0", None)
    assert read("owner/name@feature/x/a.pt") == ("feature", "x/a.pt")
    cache.add("owner/name", commit_of(1), {"a.pt": b"a"}, refs=("feature/x",))
    assert read("owner/name@feature/x/a.pt") == ("feature/x", "a.pt")  # now it is known which one is meant


def test_a_name_without_an_owner_has_to_be_in_the_cache(
    cache: MadeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub_name("gpt2") is None
    with pytest.raises(UsageError):
        glance("gpt2")
    files = tiny_files(tmp_path / "made")
    cache.add("gpt2", commit_of(1), files)
    assert hub_name("gpt2") == HubName("gpt2") and glance("gpt2") == "gpt2"
    assert engine.load_checkpoint("gpt2", device="cpu").source == "gpt2"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()  # a path goes before a name
    with pytest.raises(CheckpointError, match="no weights"):
        engine.load_checkpoint("gpt2", device="cpu")


def every_kind_of_row(cache: MadeCache, folder: Path) -> None:
    """Repositories of all the shapes that a cache can hold, whole ones, odd ones, and ones of which a part is missing."""
    own = tiny_files(folder / "own")
    lone = files_of(KINDS["llama2.c"](folder / "llama2c").parent)
    (name,) = [name for name in lone if not name.startswith("tok")]
    weights = lone.pop(name)
    below = {f"small/{file}": data for file, data in lone.items()}
    cache.add("mia/own", commit_of(1), own)
    cache.add("mia/own", commit_of(2), own | {"more.json": b"{}"}, refs=())
    cache.add("mia/tagged", commit_of(3), own, refs=("v1", "feature/x"))
    cache.add("mia/request", commit_of(4), own, refs=("refs/pr/1",))
    cache.add("mia/made-by-hand", "by-hand", own, refs=())
    cache.add("mia/shared", commit_of(5), own)
    cache.share("mia/shared", own["model.safetensors"])
    cache.add("gpt2", commit_of(6), own)
    cache.add("gpt2", commit_of(7), own | {"more.json": b"{}"}, refs=())
    cache.add("old-tales", commit_of(8), {"a.bin": weights, "b.bin": weights} | lone)
    cache.add("mia/one", commit_of(9), {"stories15M.bin": weights} | lone)
    cache.add("mia/two", commit_of(10), {"a.bin": weights, "small/b.bin": weights} | lone | below)
    cache.add("mia/deep", commit_of(11), {"small/b.bin": weights} | below)
    cache.add("mia/signs", commit_of(12), {"step=1.bin": weights, "my model +.bin": weights, "ü@x.bin": weights} | lone)
    cache.add("mia/steering", commit_of(13), {"a\x1b[31m.bin": weights, "b\\c.bin": weights} | lone)
    cache.add("mia/epochs", commit_of(14), {"m_epoch_1.bin": weights, "m_epoch_2.bin": weights} | lone)
    cache.add("mia/below", commit_of(15), {f"checkpoint/{file}": data for file, data in own.items()})
    cache.add_folder("mia/shards", commit_of(16), KINDS["Hub Llama"](folder / "shards"))
    for file in (folder / "shards").rglob("*-of-*.safetensors"):
        cache.share("mia/shards", file.read_bytes())
    cache.add_folder("mia/pickle", commit_of(17), KINDS["half rotary"](folder / "pickle").parent)
    cache.add("mia/broken", commit_of(18), own | {"config.json": json.dumps({"model_type": "bert"}).encode()})
    cache.add("mia/cut", commit_of(19), {"config.json": b"{}"})
    cache.add("mia/none/too-deep", commit_of(20), own)


def test_whatever_the_list_shows_can_be_loaded_by_its_name_without_a_network(cache: MadeCache, tmp_path: Path) -> None:
    every_kind_of_row(cache, tmp_path)
    entries = [one for one in list_entries(tmp_path / "runs", Notes(tmp_path / "notes.json")).entries if one.origin == "hub"]
    assert {entry.repo for entry in entries} == {revision.repo for revision in scan().revisions}
    usable = [entry for entry in entries if not entry.obstacle]
    for entry in usable:
        loaded = engine.load_checkpoint(entry.source, device="cpu")
        assert (loaded.source, loaded.network.parameter_count()) == (entry.source, entry.facts.parameters)
        assert glance(entry.source) == entry.source
    sources = {entry.source for entry in usable}
    assert sources >= {
        "mia/own", f"mia/own@{commit_of(2)}", f"mia/tagged@{commit_of(3)}", f"mia/request@{commit_of(4)}", "mia/made-by-hand@by-hand",
        "mia/shared", "gpt2", f"gpt2@{commit_of(7)}", "old-tales@main/a.bin", "mia/one/stories15M.bin", "mia/two/small/b.bin",
        "mia/deep/small/b.bin", "mia/signs/step=1.bin", "mia/signs/my model +.bin", "mia/signs/ü@x.bin", "mia/epochs/m_epoch_1.bin",
        "mia/below/checkpoint/model.safetensors", "mia/shards",
    }  # fmt: skip
    not_usable = {entry.repo for entry in entries} - {entry.repo for entry in usable}
    assert not_usable == {"mia/steering", "mia/broken", "mia/cut", "mia/none/too-deep"}
    for entry in entries:
        if entry.obstacle:
            with pytest.raises(TinyTalesError):
                engine.load_checkpoint(entry.source, device="cpu")
    assert engine.load_checkpoint("mia/tagged@feature/x", device="cpu").config.layers == 2


SHOWN = """
import json, sys
from pathlib import Path
import engine
from engine.catalog.listing import list_entries
from engine.catalog.notes import Notes
from engine.hub.fetching import fetch
for repo, file in json.loads(sys.argv[1]):
    fetch(repo, file)
entries = [one for one in list_entries(Path("none"), Notes(Path(sys.argv[2]))).entries if one.origin == "hub"]
print(json.dumps({one.source: engine.load_checkpoint(one.source, device="cpu").family for one in entries}))
"""


def test_one_file_of_several_is_shown_by_its_own_name_and_a_lone_one_by_its_repository(tmp_path: Path) -> None:
    lone = files_of(KINDS["llama2.c"](tmp_path / "made").parent)
    (name,) = [name for name in lone if not name.startswith("tok")]
    words = {file: data for file, data in lone.items() if file != name}
    site: dict[str, dict[str, Any]] = {
        "mia/two": {"files": {"stories15M.bin": lone[name], "stories42M.bin": lone[name]} | words},
        "mia/one": {"files": {"stories15M.bin": lone[name]} | words},
    }
    with running_hub(site) as hub:
        for wanted, offline in (([("mia/two", "stories15M.bin"), ("mia/one", None)], ""), ([], ""), ([], "1")):
            environment = hub.environment(tmp_path / "hf", **({"HF_HUB_OFFLINE": offline} if offline else {}))
            code = [sys.executable, "-c", SHOWN, json.dumps(wanted), str(tmp_path / "notes.json")]
            done = subprocess.run(code, capture_output=True, text=True, timeout=120, env=environment)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) == {"mia/one": "llama2.c", "mia/two/stories15M.bin": "llama2.c"}
