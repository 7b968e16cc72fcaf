"""`tinytales-tui stories …`, with a real library, and a real engine where a story is written again."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from library.made_stories import generated, recipe, small_story

from tinytales_tui import paths
from tinytales_tui.cli import run as run_command
from tinytales_tui.library.importing import read
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import Story
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Edit, Tree


@pytest.fixture
def tell(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`tell("list")`: exit code, standard output and standard error of that command."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run_command(["stories", *arguments])
        heard = capfd.readouterr()
        assert "Traceback" not in heard.err
        return code, heard.out, heard.err

    return call


@pytest.fixture
def stories() -> list[Story]:
    """Two stories: a lost dog (favourite, tagged) and an edited one with text that must not reach a terminal."""
    with Library.open(paths.library_file()) as library:
        dog = library.add(small_story(), tags=["bedtime"], favourite=True, created=10.0, changed=20.0)
        tree = generated(Tree(), None, "A boat \x1b[31mred\x1b[0m \u202e sailed.", topic="a boat")
        tree = tree.edit(1, Edit(2, 6, "ship"), now=5.0).change(1, rating=3, bookmark=True)
        return [dog, library.add(tree, created=30.0, changed=40.0)]


def test_list_and_search(tell: Callable, stories: list[Story]) -> None:
    dog, boat = stories
    code, out, err = tell("list")
    assert tell() == (code, out, err) and code == 0 and not err and "\x1b" not in out and "\u202e" not in out
    lines = out.splitlines()
    assert lines[0].split() == ["id", "name", "words", "parts", "rating", "model", "tags", "age", "begins"]
    assert lines[1].split()[:3] == [boat.id, "a", "boat"] and lines[2].split()[:5] == [dog.id, "*", "a", "lost", "dog"]
    assert tell("list", "--sort", "words")[1].splitlines()[1].startswith(dog.id)
    assert tell("list", "--sort", "odd")[0] == 2
    assert len(tell("list", "--favourites")[1].splitlines()) == 2 and dog.id in tell("list", "--tag", "Bedtime")[1]
    assert "1 more" in tell("list", "--limit", "1")[2]
    rows = json.loads(tell("list", "--json")[1])
    assert [(row["id"], row["tags"], row["words"]) for row in rows] == [(boat.id, [], 5), (dog.id, ["bedtime"], 14)]
    code, out, _ = tell("search", "in the wood", "spot")
    assert code == 0 and len(out.splitlines()) == 2 and "lost in the wood." in out
    assert tell("search", "zebra")[0] == 1 and "No story has that." in tell("search", "zebra")[2]
    assert [row["id"] for row in json.loads(tell("search", "--json", "once")[1])] == [dog.id]
    assert tell("search", "zebra", "--json")[:2] == (1, "[]\n")


def test_an_empty_library(tell: Callable) -> None:
    assert tell("list")[:2] == (0, "") and "There are no stories yet" in tell("list")[2]
    assert tell("list", "--json")[1] == "[]\n" and "trash is empty" in tell("list", "--trash")[2]
    assert tell("show", "abc")[0] == 1 and "There is no story 'abc'" in tell("show", "abc")[2]
    assert tell("export", "--all")[0] == 2 and tell("delete", "--trash")[0] == 0


def test_ids_can_be_completed(stories: list[Story]) -> None:
    typed = stories[0].id[:3]
    environment = os.environ | {"_TINYTALES_TUI_COMPLETE": "complete_bash", "COMP_WORDS": f"tinytales-tui stories show {typed}"}
    code = "from tinytales_tui.cli import app; app(prog_name='tinytales-tui')"
    done = subprocess.run([sys.executable, "-c", code], env=environment | {"COMP_CWORD": "3"}, capture_output=True, text=True)
    assert stories[0].id in done.stdout.split(), done.stderr


def test_show(tell: Callable, stories: list[Story]) -> None:
    dog, boat = stories
    code, out, _ = tell("show", dog.id[:5])
    assert (
        code == 0
        and out.startswith("a lost dog\nid ")
        and out.endswith("\n\nA dog named Spot was lost in the wood. He barked at the moon.\n")
    )
    assert "a lost dog, with a sad ending" in out and "default, seed 9" in out and "3 in all branches, 2 in this one" in out
    assert (
        tell("show", dog.id, "--node", "1")[1].endswith("\n\nOnce there was a dog.\n")
        and tell("show", dog.id, "--node", "9")[0] == 2
    )
    tree = tell("show", dog.id, "--tree")[1].splitlines()
    assert [line.split()[:2] for line in tree[:2]] == [["1", "Once"], [">", "2"]] and tree[2].startswith(">   3  He barked")
    assert tree[2].endswith("(written, in front)") and tree[0].startswith("  1  Once")
    tree = tell("show", boat.id, "--tree")[1].splitlines()
    assert tree[0].endswith("(written, bookmark, 3 of 5)") and tree[1].endswith("(edited, in front)")
    tokens = tell("show", boat.id, "--tokens")[1]
    assert "node 2" in tokens and "writer  'ship'" in tokens and "60.7%" in tokens and "\x1b" not in tokens
    data = json.loads(tell("show", dog.id, "--json")[1])
    assert (data["id"], data["ending"], data["text"], len(data["nodes"])) == (dog.id, "sad", dog.text, 3)


def test_export_and_import(tell: Callable, stories: list[Story], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dog, boat = stories
    code, out, _ = tell("export", dog.id, "--to", "txt")
    assert code == 0 and out == dog.text + "\n"
    assert json.loads(tell("export", dog.id, "--json")[1])["stories"][0]["text"] == dog.text
    assert tell("export", dog.id)[1].startswith("# a lost dog\n\n*with a sad ending")
    for name in ("a.html", "a.epub", "a.md", "a.txt"):
        code, out, err = tell("export", "--all", "-o", str(tmp_path / name), "--title", "Ours")
        assert (code, out) == (0, "") and "2 stories written to" in err and (tmp_path / name).stat().st_size > 90
    assert "<h1>Ours</h1>" in (tmp_path / "a.html").read_text() and (tmp_path / "a.epub").read_bytes()[:2] == b"PK"
    before = (tmp_path / "a.md").read_bytes()
    assert tell("export", dog.id, "-o", str(tmp_path / "a.md"))[0] == 2 and (tmp_path / "a.md").read_bytes() == before
    assert tell("export", dog.id, "-o", str(tmp_path / "a.md"), "--force")[0] == 0
    assert (
        tell("export")[0] == tell("export", dog.id, "--all")[0] == tell("export", dog.id, "-o", str(tmp_path / "a.pdf"))[0] == 2
    )
    assert tell("export", dog.id, "-o", str(tmp_path / "none" / "a.md"))[0] == 1
    assert tell("export", "--all", "--tag", "bedtime", "-o", str(tmp_path / "all.json"))[0] == 0
    assert tell("export", "--all", "-o", str(tmp_path / "all.json"), "--force")[0] == 0
    assert len(read((tmp_path / "all.json").read_bytes(), "all")) == 2

    monkeypatch.setenv("TINYTALES_HOME", str(tmp_path / "another"))
    code, out, err = tell("import", str(tmp_path / "all.json"))
    assert code == 0 and sorted(out.split()) == sorted([dog.id, boat.id]) and "2 stories taken in." in err
    with Library.open(paths.library_file()) as library:
        assert library.get(dog.id) == dog and library.get(boat.id) == boat
    assert json.loads(tell("import", str(tmp_path / "all.json"), "--json")[1]) == {"added": [], "already_there": 2}
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "story": "b"}\nnot json\n')
    code, out, err = tell("import", str(tmp_path / "all.json"), str(tmp_path / "bad.jsonl"))
    assert code == 2 and not out and "bad.jsonl, line 2: this is not JSON" in err and tell("import", "gone.json")[0] == 2


def test_a_story_of_batch_mode_can_be_piped_in(tiny_checkpoint: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = f'"{sys.executable}" -m tinytales_tui'
    write = f'{command} -p "a cat" --json -q --count 2 --seed 5 --max-tokens 12 --device cpu --checkpoint "{tiny_checkpoint}"'
    done = subprocess.run(f"{write} | {command} stories import -", shell=True, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    first = done.stdout.split()[0]
    done = subprocess.run(f"{command} stories replay {first}", shell=True, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("node 1: the same, ") and "letters" in done.stdout


def test_delete_and_restore(tell: Callable, stories: list[Story]) -> None:
    dog, boat = stories
    assert tell("delete")[0] == tell("delete", dog.id, "--trash")[0] == 2
    assert tell("delete", dog.id, "nothing")[0] == 1 and tell("list", "--trash", "--json")[1] == "[]\n"
    code, _, err = tell("delete", dog.id[:6], dog.id)
    assert (
        code == 0
        and f"In the trash: {dog.id} (a lost dog)" in err
        and dog.id not in tell("list")[1]
        and dog.id in tell("list", "--trash")[1]
    )
    assert tell("restore", boat.id)[0] == 2 and json.loads(tell("restore", dog.id, "--json")[1]) == {"restored": [dog.id]}
    assert dog.id in tell("list")[1]
    code, _, err = tell("delete", dog.id, "--now")
    assert code == 2 and "say --yes" in err and dog.id in tell("list")[1]
    assert json.loads(tell("delete", dog.id, "--now", "--yes", "--json")[1]) == {"deleted": [dog.id], "for_good": True}
    tell("delete", boat.id)
    assert "Removed for good" in tell("delete", "--trash", "-y")[2] and tell("list", "--trash", "--json")[1] == "[]\n"


def test_it_asks_before_a_story_is_gone_for_good(stories: list[Story]) -> None:
    for answer, left in ((b"n\n", True), (b"y\n", False)):
        mine, theirs = pty.openpty()
        command = [sys.executable, "-m", "tinytales_tui", "stories", "delete", stories[0].id, "--now"]
        process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
        os.write(mine, answer)
        process.communicate(timeout=60)
        assert b"for good? [y/N]" in os.read(mine, 10_000) and process.returncode == (1 if left else 0)
        os.close(mine), os.close(theirs)
        with Library.open(paths.library_file()) as library:
            assert (stories[0].id in [line.id for line in library.listing()]) is left


def test_rename_and_tag(tell: Callable, stories: list[Story]) -> None:
    dog, _ = stories
    assert tell("rename", dog.id, "My \x1b[1m dog")[0] == 0 and "My [1m dog" in tell("list")[1]
    assert json.loads(tell("rename", dog.id, "", "--json")[1])["name"] == "a lost dog"
    assert tell("tag", dog.id, "New", "long one", "--remove", "BEDTIME")[:2] == (0, "long one\nnew\n")
    assert "no favourite any more" in tell("tag", dog.id, "--no-favourite")[2]
    assert json.loads(tell("tag", dog.id, "--favourite", "--json")[1])["favourite"] is True
    assert json.loads(tell("tag", dog.id, "--json")[1])["tags"] == ["long one", "new"]


def test_a_list_starts_in_a_blink(stories: list[Story]) -> None:
    code = "import sys\nfrom tinytales_tui.cli import run\n"
    code += "for c in (['list'], ['search', 'dog'], ['export', '--all']): run(['stories', *c])\n"
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not {"torch", "numpy", "textual", "filelock", "rich.table"} & set(done.stderr.split())
    code = "import sys, tinytales_tui.cli, tinytales_tui.batch, tinytales_tui.app, tinytales_tui.start\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.split()
    assert "tinytales_tui.app" in loaded and not [
        name
        for name in loaded
        if name.startswith(("tinytales_tui.library.store", "tinytales_tui.library.pane", "sqlite3", "numpy"))
    ]


# Replay


@pytest.fixture
def written(tiny_checkpoint: Path) -> Story:
    """A story that the tiny model really wrote: an opening, a part of 20 tokens, and one that was stopped after 10."""
    import torch

    from engine.held import Holder, write
    from engine.protocol import Finished, Load, Token
    from engine.settings import SamplingSettings
    from engine.version import __version__
    from tinytales_tui.library.identity import identity

    held = Holder().load(Load(0, str(tiny_checkpoint), "cpu", "fp32", 1, None, "plain"))
    about = {
        "device": "cpu",
        "torch": torch.__version__,
        "threads": 1,
        "step": "plain",
        "precision": "fp32",
        "program": __version__,
    }
    about |= {"checkpoint": str(tiny_checkpoint), "sha256": identity(tiny_checkpoint).sha256}
    tree = Tree().write(None, "Once upon a time", now=1.0)
    for seed, stopped in ((7, None), (8, 10)):
        sampling = SamplingSettings(max_tokens=20, stop_loops=False, min_tokens=20)
        made = Recipe("a cat", "sad", seed=seed, sampling=sampling.to_json(), **about)
        tree = tree.add(tree.current, now=2.0, recipe=made)
        drawn: list[int] = []
        asked = made.request(tree.text_before(tree.current))
        for event in write(held, asked, lambda drawn=drawn, stopped=stopped: len(drawn) == stopped):
            if isinstance(event, Token):
                drawn.append(event.token)
                tree = tree.grow(tree.current, event.text, Tokens.of([(event.token, len(event.text), event.logprob)]), now=3.0)
            elif isinstance(event, Finished):
                tree = tree.grow(tree.current, event.text, now=3.0).change(tree.current, stop_reason=event.reason)
    assert [len(node.tokens) for node in tree.path(3)] == [0, 20, 10] and tree.node(3).stop_reason == "cancelled"
    with Library.open(paths.library_file()) as library:
        return library.add(tree)


def changed(story: Story, number: int, **fields: object) -> Tree:
    import dataclasses

    node = story.tree.node(number)
    return story.tree.change(number, recipe=dataclasses.replace(node.recipe, **fields))


def test_replay_writes_the_same_again(tell: Callable, written: Story) -> None:
    code, out, err = tell("replay", written.id)
    assert (code, out) == (0, "node 2: the same, 20 tokens\nnode 3: the same, 10 tokens\n"), err
    assert "1 of its parts were typed" in err and tell("replay", written.id, "--node", "2", "-q")[1:] == (
        "node 2: the same, 20 tokens\n",
        "",
    )
    data = json.loads(tell("replay", written.id, "--json")[1])
    assert data["same"] and [(node["node"], node["tokens"]) for node in data["nodes"]] == [(2, 20), (3, 10)]


def test_replay_says_exactly_where_and_why(tell: Callable, written: Story, plain_checkpoint: Path, tmp_path: Path) -> None:
    node = written.tree.node(2)
    tokens = list(node.tokens)
    swapped = [*tokens[:11], tokens[11]._replace(id=tokens[11].id ^ 1), *tokens[12:]]
    import dataclasses

    runs = tuple(dataclasses.replace(run, tokens=Tokens.of(swapped)) for run in node.runs)
    wrong = Tree({**written.tree.nodes, 2: dataclasses.replace(node, runs=runs)}, 2)
    with Library.open(paths.library_file()) as library:
        other_token = library.add(wrong).id
        elsewhere = library.add(changed(written, 2, torch="1.0", threads=3, device="cpu", sha256="0" * 64, seed=9).go(2)).id
        bare = library.add(changed(written, 2, torch="", sha256="", device="", seed=9).go(2)).id
        gone = library.add(changed(written, 2, checkpoint=str(tmp_path / "gone")).go(2)).id
        reason = library.add(written.tree.change(2, stop_reason="end of text").go(2)).id
    code, out, _ = tell("replay", other_token)
    assert code == 1 and "node 2: not the same; token 12 of 20, after " in out and f"(token {tokens[11].id ^ 1}) then" in out
    assert f"(token {tokens[11].id}) now" in out or f"token {tokens[11].id} now" in out
    assert "  nothing that the recipe tells is otherwise" in out
    code, out, _ = tell("replay", elsewhere)
    assert code == 1 and "token 1 of 20, after 'Once upon a time'" in out
    assert "  torch: 1.0 then, " in out and "the checkpoint's weights (sha256): 0000000000000000 then, " in out
    assert "the recipe does not tell: torch" not in out and "nothing that the recipe" not in out
    code, out, _ = tell("replay", bare)
    assert code == 1 and "the recipe does not tell: the checkpoint's weights (sha256), torch, the device" in out
    code, out, _ = tell("replay", gone)
    assert code == 1 and out.startswith("node 2: It cannot be written again: ") and "gone" in out
    code, out, _ = tell("replay", reason)
    assert code == 1 and "after all 20 tokens: it ended by end of text then, and by length now" in out
    code, out, _ = tell("replay", written.id, "--node", "2", "--checkpoint", str(plain_checkpoint))
    assert code == 1 and "It cannot be written again" in out  # that one knows no endings
    assert (
        tell("replay", written.id, "--node", "1")[0] == 2 and "was not generated" in tell("replay", written.id, "--node", "1")[2]
    )


def test_replay_of_text_without_tokens(tell: Callable, written: Story) -> None:
    import dataclasses

    tree = written.tree
    for number in (2, 3):
        node = tree.node(number)
        runs = tuple(dataclasses.replace(run, tokens=Tokens()) for run in node.runs)
        tree = Tree({**tree.nodes, number: dataclasses.replace(node, runs=runs)}, 3)
    node = tree.node(2)
    odd = "x" if node.text[4] != "x" else "y"
    run = dataclasses.replace(node.runs[0], text=node.text[:4] + odd + node.text[5:])
    with Library.open(paths.library_file()) as library:
        same = library.add(tree).id
        other = library.add(Tree({**tree.nodes, 2: dataclasses.replace(node, runs=(run,))}, 2)).id
    code, out, _ = tell("replay", same)
    assert code == 0 and out.count("letters") == 2
    code, out, _ = tell("replay", other)
    assert code == 1 and f"letter 5 of {len(node.text)}, after " in out and "then, " in out


def test_a_recipe_that_was_made_up_cannot_be_written(tell: Callable) -> None:
    with Library.open(paths.library_file()) as library:
        odd = library.add(generated(Tree(), None, "x").change(1, recipe=recipe(sampling={"temperature": 99.0}))).id
    code, out, _ = tell("replay", odd)
    assert code == 1 and "It cannot be written again: temperature must lie between" in out
