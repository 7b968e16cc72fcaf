"""What the Write pane keeps in the library: retries as siblings, going on as children, tokens and recipes, and no trouble."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.protocol import CheckpointInfo, Finished, Started
from engine.settings import SamplingSettings
from tinytales_tui.engine_client import Written
from tinytales_tui.library.identity import identity
from tinytales_tui.library.records import record_of
from tinytales_tui.library.store import Library
from tinytales_tui.library.tree import Tree
from tinytales_tui.story import StoryRecord
from tinytales_tui.write.asking import Asked, going_on
from tinytales_tui.write.desk import Desk
from tinytales_tui.write.keeper import Keeper
from tinytales_tui.write.story_keeper import Sitting, StoryKeeper

INFO = CheckpointInfo(
    "tiny", "default", "llama", 1, 256, "bytes", "topic-ending", "cpu", "int8", SamplingSettings(), step="compiled"
)


def begin(desk: Desk, number: int, asked: Asked, **options: object) -> None:
    request = asked.request(SamplingSettings(seed=number, max_tokens=50), "topic-ending")
    desk.begin(number, request, INFO, **options)  # type: ignore[arg-type]
    desk.on_event(Started(number, 12, 256, number, "prompt", "compiled", "int8", 2, 0.001))


def retry(desk: Desk, number: int) -> None:
    node = desk.last_generated
    assert node is not None
    begin(desk, number, Asked.of(record_of(desk.tree, node.number)), below=node.parent, new=False)


def go_on(desk: Desk, number: int) -> None:
    begin(desk, number, going_on(desk.record), below=desk.tree.current, new=False)


def write(desk: Desk, number: int, *words: str) -> None:
    for place, word in enumerate(words):
        desk.on_event(Written(number, 0, word, 1, 0.1, 0.2, ((40 + place, len(word), -1.0),)))


def finish(desk: Desk, number: int, rest: str = "", tokens: int = 2) -> None:
    desk.on_event(Finished(number, 0, "length", rest, number, 12, tokens, 0.1, 50.0))


def take_back(desk: Desk, keeper: StoryKeeper, record: StoryRecord) -> None:
    found = keeper.reopen(record)
    desk.open(*found) if found else desk.restore(record)


def sitting(desk: Desk) -> Sitting:
    return Sitting(dict(desk.drafts), dict(desk.generations))


def keep(keeper: StoryKeeper, desk: Desk) -> str | None:
    return keeper.keep(sitting(desk))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stories.db"


def test_a_retry_is_a_sibling_and_going_on_a_child(path: Path) -> None:
    desk, keeper = Desk(), StoryKeeper(path)
    begin(desk, 1, Asked("a dog", "", "sad"))
    assert keep(keeper, desk) is None
    with Library.open(path) as library:
        assert library.count() == 0  # an empty beginning is no story
    write(desk, 1, "One", " day")
    keep(keeper, desk)
    write(desk, 1, " a", " dog")
    finish(desk, 1, "!")
    keep(keeper, desk)
    retry(desk, 2)
    write(desk, 2, "Another", " try")
    finish(desk, 2)
    go_on(desk, 3)
    write(desk, 3, " goes", " on")
    keep(keeper, desk)
    finish(desk, 3)
    retry(desk, 4)
    write(desk, 4, " and", " on")
    finish(desk, 4)
    keep(keeper, desk)
    begin(desk, 5, Asked("a cat", "", "happy"))
    write(desk, 5, "A", " cat")
    finish(desk, 5)
    keep(keeper, desk)
    desk.undo()  # a flip back is kept, too
    desk.undo()
    keep(keeper, desk)
    keeper.close()
    with Library.open(path) as library:
        cat, dog = sorted((library.get(line.id) for line in library.listing()), key=lambda story: story.name)
        assert (cat.text, dog.text, dog.topic, dog.ending) == ("A cat", "Another try goes on", "a dog", "sad")
        tree = dog.tree
        assert {n: (node.parent, node.text) for n, node in tree.nodes.items()} == {
            1: (None, "One day a dog!"), 2: (None, "Another try"), 3: (2, " goes on"), 4: (2, " and on")
        }  # fmt: skip
        first = tree.node(1)
        assert [(token.id, token.letters) for token in first.tokens] == [(40, 3), (41, 4), (40, 2), (41, 4)]
        assert [run.author for run in first.runs] == ["model", "model"] and not first.runs[1].tokens
        assert (
            first.stop_reason == "length"
            and first.recipe.seed == 1
            and first.recipe.threads == 2
            and first.recipe.device == "cpu"
        )
        assert (first.recipe.step, first.recipe.precision, first.recipe.precision_loss) == ("compiled", "int8", 0.001)
        assert first.recipe.torch.startswith("2.") and first.recipe.program
        request = tree.node(3).recipe.request(tree.text_before(3))
        assert (
            request == dataclasses.replace(desk.generations[1, 3].request, sampling=request.sampling)
            and request.sampling.seed == 3
        )


def test_words_that_a_story_begins_with_are_the_writers(path: Path) -> None:
    desk, keeper = Desk(), StoryKeeper(path)
    begin(desk, 1, Asked("", "Once upon a time", "none"))
    write(desk, 1, " a dog")
    finish(desk, 1)
    retry(desk, 2)
    write(desk, 2, " a cat")
    keep(keeper, desk)
    with Library.open(path) as library:
        [line] = library.listing()
        tree = library.get(line.id).tree
    assert [(n.parent, n.text, n.runs[0].author) for n in tree.nodes.values()] == [
        (None, "Once upon a time", "writer"), (1, " a dog", "model"), (1, " a cat", "model")
    ]  # fmt: skip
    assert tree.current == 3 and tree.node(3).stop_reason is None


def test_nothing_of_a_cancelled_or_overtaken_story_is_lost(path: Path) -> None:
    desk, keeper = Desk(), StoryKeeper(path)
    begin(desk, 1, Asked("a dog", "", "sad"))
    write(desk, 1, "One")
    retry(desk, 2)  # before anything was kept, and before a word of it came
    retry(desk, 3)
    write(desk, 3, "Three")
    desk.undo()
    begin(desk, 4, Asked("a cat", "", "sad"))  # the desk lets the undone story go
    keep(keeper, desk)
    with Library.open(path) as library:
        [line] = library.listing()
        tree = library.get(line.id).tree
    assert [(n.text, n.stop_reason) for n in tree.nodes.values()] == [("One", "cancelled"), ("Three", "cancelled")]
    assert len(desk.generations) == 3


def test_what_was_restored_goes_on_in_its_own_story(path: Path) -> None:
    desk, keeper = Desk(), StoryKeeper(path)
    begin(desk, 1, Asked("a dog", "", "sad"))
    write(desk, 1, "One")
    keep(keeper, desk)
    keeper.close()
    record = StoryRecord.from_json(desk.record.to_json())
    for restored, count in ((record, 1), (dataclasses.replace(record, seed=99, story="of another library"), 2)):
        desk, keeper = Desk(), StoryKeeper(path)
        take_back(desk, keeper, restored)
        go_on(desk, 2)
        write(desk, 2, " more")
        keep(keeper, desk)
        keeper.close()
        with Library.open(path) as library:
            assert library.count() == count
            [line] = library.listing(most=1)
            assert library.get(line.id).text == restored.full_text + " more" and line.nodes == 2


def test_a_restored_copy_that_is_a_little_longer_goes_on_in_its_story(path: Path) -> None:
    desk, keeper = Desk(), StoryKeeper(path)
    begin(desk, 1, Asked("a dog", "", "sad"))
    write(desk, 1, "One")
    keep(keeper, desk)
    keeper.close()
    write(desk, 1, " day")  # this reached the autosave file, and the end came
    record = StoryRecord.from_json(desk.record.to_json())
    desk, keeper = Desk(), StoryKeeper(path)
    take_back(desk, keeper, record)
    keep(keeper, desk)
    with Library.open(path) as library:
        [line] = library.listing()
        assert (line.begins, line.nodes) == ("One day", 1)


def test_words_to_begin_with_are_no_story_while_nothing_is_written(path: Path) -> None:
    desk, keeper = Desk(), StoryKeeper(path)
    begin(desk, 1, Asked("", "Once upon a time", "none"))
    keep(keeper, desk)
    desk.let_go(forget=True)
    keep(keeper, desk)
    with Library.open(path) as library:
        assert library.count() == 0


def test_the_very_text_is_taken_back_and_not_one_that_begins_so(path: Path) -> None:
    keeper = StoryKeeper(path)
    with Library.open(path) as library:
        whole = library.add(Tree().write(None, "Once upon a time there was a fox", now=1.0))
        library.add(Tree().write(None, "Once upon a time", now=2.0))
    record = StoryRecord("", None, "", opening="Once upon a time there was a fox")
    story, tree = keeper.reopen(record)
    assert (story.id, tree.text(tree.current)) == (whole.id, record.full_text)


def test_the_page_before_the_first_words_is_kept_as_the_newest_branch(path: Path) -> None:
    desk, keeper = Desk(), StoryKeeper(path)
    begin(desk, 1, Asked("a dog", "", "sad"))
    write(desk, 1, "One")
    finish(desk, 1)
    desk.go(None)
    keep(keeper, desk)
    with Library.open(path) as library:
        assert library.get(library.listing()[0].id).text == "One"


def test_a_library_that_refuses_is_said_once_and_tried_again(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.write_text("in the way")
    keeper = Keeper(tmp_path / "autosave", place / "stories.db")
    desk = Desk()
    begin(desk, 1, Asked("a dog", "", "sad"))
    write(desk, 1, "One")
    arguments = (desk.record, {}, desk.revision, sitting(desk))
    trouble = keeper.keep(*arguments)
    assert trouble and trouble.startswith(
        "The story is not in your library for now, but it is still on the page. The library in "
    )
    assert keeper.keep(*arguments) is None and keeper.wants(desk.revision)
    assert len(list((tmp_path / "autosave").glob("*.json"))) == 1  # the other copy is there
    place.unlink()
    assert keeper.keep(*arguments) is None and not keeper.wants(desk.revision)
    keeper.close()
    with Library.open(place / "stories.db") as library:
        assert library.listing()[0].begins == "One"


def test_a_story_that_another_app_has_changed_is_kept_as_one_of_its_own(path: Path) -> None:
    desk, keeper = Desk(), StoryKeeper(path)
    begin(desk, 1, Asked("a dog", "", "sad"))
    write(desk, 1, "One")
    keep(keeper, desk)
    with Library.open(path) as other:
        story = other.get(other.listing()[0].id)
        other.save(story, story.tree.write(1, " by another", now=1.0))
        write(desk, 1, " day")
        assert "a story of its own" in keep(keeper, desk)
        assert keep(keeper, desk) is None
        assert sorted(other.get(line.id).text for line in other.listing()) == ["One by another", "One day"]
        for line in other.listing():
            other.delete(line.id)
        write(desk, 1, " more")
        assert "a story of its own" in keep(keeper, desk) and [line.begins for line in other.listing()] == ["One day more"]


def test_a_damaged_library_is_told_and_the_sitting_goes_into_a_new_one(path: Path) -> None:
    path.write_bytes(b"not a library" * 100)
    desk, keeper = Desk(), StoryKeeper(path)
    begin(desk, 1, Asked("a dog", "", "sad"))
    write(desk, 1, "One")
    assert "was damaged: it is kept as stories.db.damaged-1; a new one was begun" in (keep(keeper, desk) or "")
    assert keep(keeper, desk) is None
    with Library.open(path) as library:
        assert library.count() == 1


def test_a_killed_sitting_loses_nothing_that_was_kept(path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from library.test_story_keeper import *
desk, keeper = Desk(), StoryKeeper(Path(sys.argv[1]))
begin(desk, 1, Asked("a dog", "", "sad"))
for number in range(10_000):
    write(desk, 1, f" {number}")
    keep(keeper, desk)
    print(number, flush=True)
"""
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(tests)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tests.parent)},
    )
    assert process.stdout
    for number in range(21):
        assert process.stdout.readline().strip() == str(number)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    last = int(rest[-1]) if rest else 20
    with Library.open(path) as library:
        [line] = library.listing()
        tree = library.get(line.id).tree
    assert len(tree.text(1).split()) in (last + 1, last + 2) and len(tree.node(1).tokens) == len(tree.text(1).split())


def test_what_a_checkpoint_was(tiny_checkpoint: Path, tmp_path: Path) -> None:
    weights = (tiny_checkpoint / "model.safetensors").read_bytes()
    found = identity(tiny_checkpoint)
    assert found == identity(tiny_checkpoint / "model.safetensors") and found.revision == ""
    assert found.sha256 == hashlib.sha256(weights).hexdigest()
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("ab" * 20)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(weights)
    assert identity(snapshot).revision == "ab" * 20 and identity(str(snapshot)).sha256 == found.sha256
    (snapshot / "model.safetensors").write_bytes(weights + b"x")
    (snapshot / "config.json").write_text("{}")
    assert identity(snapshot).sha256 != found.sha256
    assert identity("").sha256 == identity(tmp_path / "gone").sha256 == ""
