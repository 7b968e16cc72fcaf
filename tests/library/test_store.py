"""The store, with real files: what is kept comes back, lists and searches, the trash, other files in the library's place."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from library.made_stories import generated, recipe, small_story
from library.test_tree import grown_trees

from tinytales_tui.library import schema
from tinytales_tui.library.finding import ORDERS, Wanted
from tinytales_tui.library.store import ID_LETTERS, Library
from tinytales_tui.library.story import LibraryError, StoryChanged
from tinytales_tui.library.tree import Tree


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "stories.db"


@pytest.fixture(params=[True, False], ids=["index", "no index"])
def library(path: Path, request: pytest.FixtureRequest) -> Iterator[Library]:
    with Library.open(path, full_text=request.param) as library:
        yield library


@pytest.fixture
def plain(path: Path) -> Iterator[Library]:
    with Library.open(path) as library:
        yield library


def ids(library: Library, words: str = "", **more: object) -> set[str]:
    return {line.id for line in library.listing(Wanted(words, **more))}  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(grown_trees(), grown_trees())
def test_any_tree_comes_back_as_it_was(tmp_path: Path, one: Tree, other: Tree) -> None:
    with Library.open(tmp_path / "any.db") as library:
        story = library.add(one)
        assert library.get(story.id) == story and story.tree == one
        for number in other.nodes:  # and grows by any other
            node = other.nodes[number]
            one = one.add(None, node.runs, now=node.created, recipe=node.recipe)
            story = library.save(story, one, now=story.changed + 1)
            assert library.get(story.id) == story and story.tree == one
        library.delete(story.id)


def test_a_story_keeps_everything(library: Library) -> None:
    tree = small_story().change(2, rating=4, bookmark=True, recipe=recipe(sha256="ab", revision="c0", device="cpu")).delete(1)
    story = library.add(tree, title=" The  dog ", tags=["Night", "for  Mia"], favourite=True, created=5.0, changed=6.0)
    found = library.get(story.id)
    assert found == story and found.tags == ("for mia", "night") and found.name == "The dog"
    assert len(story.id) == 8 and set(story.id) <= set(ID_LETTERS)
    [line] = library.listing()
    assert (line.id, line.name, line.topic, line.ending, line.words) == (story.id, "The dog", "a lost dog", "sad", 14)
    assert (line.nodes, line.rating, line.favourite, line.checkpoint, line.tags) == (3, 4, True, "default", ("for mia", "night"))
    assert (line.created, line.changed) == (5.0, 6.0) and line.begins.startswith("A dog named Spot")


def test_only_what_changed_is_written(plain: Library, path: Path) -> None:
    story = plain.add(generated(Tree(), None, "Once. " * 20_000))
    tree = story.tree.add(1, now=5.0, recipe=recipe())
    story = plain.save(story, tree)
    log = path.with_name("stories.db-wal")
    size = log.stat().st_size
    story = plain.save(story, story.tree.grow(2, " And then.", now=6.0))
    assert log.stat().st_size - size < 60_000  # a few pages, not the story
    assert len(story.text) > 120_000 and plain.get(story.id).text.endswith("And then.")


def test_ids_are_found_by_their_beginning(plain: Library) -> None:
    for id in ("abcd2345", "abcd6789", "xyz23456"):
        assert plain.add(small_story(), id=id).id == id
    assert plain.find("x") == "xyz23456" and plain.get(" ABCD2 ").id == "abcd2345" and plain.find("abcd2345") == "abcd2345"
    assert plain.add(small_story(), id="xyz23456").id != "xyz23456"  # taken
    for name, words in (
        ("abcd", "Several stories begin with 'abcd': abcd2345, abcd6789"),
        ("o", "no story 'o'"),  # a letter that no id has
        ("", "no story"),
        ("%", "no story"),
    ):
        with pytest.raises(LibraryError, match=words):
            plain.find(name)


def test_a_search_looks_everywhere(library: Library) -> None:
    dog = library.add(small_story("a lost dog"), tags=["bedtime"]).id
    boat = library.add(generated(Tree(), None, "The café by the sea had 100% rain.", topic="a red boat"), title="Sea tale").id
    assert ids(library, "dog") == {dog} and ids(library, "DOG spot") == {dog} and ids(library, "barked") == {dog}
    assert ids(library, "once") == {dog}  # in a branch that is not in front
    assert ids(library, "bedt") == {dog} and ids(library, "red") == {boat} and ids(library, "tale") == {boat}
    assert ids(library, "the") == {dog, boat} and ids(library, "dog boat") == set() and ids(library, "dog bedtime moon") == {dog}
    assert ids(library, '"in the wood"') == {dog} and ids(library, '"the in wood"') == set()
    assert ids(library, "100%") == {boat} and ids(library, "%%") == set() and ids(library, "_") == set()
    for odd in ('"', '""', "'; DROP TABLE", "a*b", "NEAR(", "- AND OR", "\\", "\0", "a\0b"):
        library.listing(Wanted(odd))
    [line] = library.listing(Wanted("barked"))
    assert line.excerpt == " He barked at the moon." and library.listing()[0].excerpt == ""


def test_the_index_follows_the_text(library: Library, path: Path) -> None:
    story = library.add(Tree().add(None, now=1.0, recipe=recipe("x")))
    for word in (" zebra", " giraffe", "s"):
        story = library.save(story, story.tree.grow(1, word, now=2.0))
    assert ids(library, "zebra giraffes") == {story.id}
    story = library.save(story, story.tree.write(1, " typed", now=3.0))
    with Library.open(path) as other:  # with an index, whoever wrote
        assert ids(other, "zebra") == ids(other, "typed") == {story.id}
    library.delete(story.id)
    with Library.open(path) as other:
        assert ids(other, "zebra") == set() and other.count() == 0
        other._connection.execute("INSERT INTO node_words (node_words) VALUES ('integrity-check')")


def test_a_list_is_sorted_and_narrowed(library: Library) -> None:
    one = library.add(small_story("bees"), created=1.0, changed=30.0, tags=["x"]).id
    two = library.add(generated(Tree(), None, "Short.", topic="ants").change(1, rating=5), created=2.0, changed=20.0).id
    three = library.add(
        generated(Tree(), None, "A b c.", topic="Cats"), created=3.0, changed=10.0, favourite=True, tags=["x", "y"]
    ).id
    orders = {order: [line.id for line in library.listing(order=order)] for order in ORDERS}
    assert orders == {
        "changed": [one, two, three], "created": [three, two, one], "name": [two, one, three], "words": [one, three, two],
        "rating": [two, three, one],
    }  # fmt: skip
    assert [line.id for line in library.listing(most=1, skip=1)] == [two] and library.count() == 3
    assert (
        ids(library, tags=("x",)) == {one, three}
        and ids(library, tags=("X", "y")) == {three}
        and ids(library, favourites=True) == {three}
    )
    assert library.tags() == {"x": 2, "y": 1}


def test_notes_the_trash_and_a_duplicate(library: Library) -> None:
    story = library.add(small_story())
    library.rename(story.id, "A \n new name")
    library.favour(story.id)
    assert library.tag(story.id, add=["B", "a, c"], remove=["none"]) == ("a c", "b")
    assert library.tag(story.id, remove=["A  C"]) == ("b",)
    found = library.get(story.id)
    assert (found.title, found.favourite, found.tags, found.revision) == ("A new name", True, ("b",), 0)
    copy = library.duplicate(story.id)
    assert (
        copy.title == "A new name (copy)"
        and copy.tree == story.tree
        and copy.id != story.id
        and ids(library, "copy") == {copy.id}
    )
    library.trash(story.id)
    assert (
        ids(library) == {copy.id}
        and ids(library, trashed=True) == {story.id}
        and ids(library, trashed=None) == {copy.id, story.id}
    )
    assert library.get(story.id).trashed and library.tags() == {"b": 1}
    library.restore(story.id)
    assert ids(library) == {copy.id, story.id}
    library.delete(story.id)
    with pytest.raises(LibraryError, match="no story"):
        library.get(story.id)
    with pytest.raises(LibraryError, match="no story"):
        library.rename(story.id, "x")
    assert ids(library, "dog") == {copy.id}


def test_two_who_write_in_one_story_lose_nothing(path: Path) -> None:
    with Library.open(path) as mine, Library.open(path) as yours:
        story = mine.add(small_story())
        theirs = yours.get(story.id)
        yours.rename(story.id, "what a person notes is in nobody's way")
        assert mine.save(story, story.tree).revision == 0  # nothing to save
        mine.save(story, story.tree.write(3, " mine", now=5.0))
        with pytest.raises(StoryChanged, match="by another process"):
            yours.save(theirs, theirs.tree.write(3, " yours", now=6.0))
        copy = yours.add(theirs.tree.write(3, " yours", now=6.0))
        assert mine.get(story.id).text.endswith("mine") and mine.get(copy.id).text.endswith("yours")
        mine.delete(story.id)
        with pytest.raises(StoryChanged, match="deleted"):
            yours.save(theirs, theirs.tree.write(3, " yours", now=6.0))


def test_odd_letters_are_kept(plain: Library) -> None:
    text = "nul \0, tab \t, 🐉, \u202e, \x1b[31m, é\r\n"
    story = plain.add(generated(Tree(), None, text), title="\x1b[0m🐉")
    assert plain.get(story.id).text == text and plain.get(story.id) == dataclasses.replace(story, title="\x1b[0m🐉")
    half = plain.add(generated(Tree(), None, "half \ud83d of it"))
    assert plain.get(half.id).text == "half ? of it"


def test_only_the_owner_can_read_it(plain: Library, path: Path) -> None:
    plain.add(small_story())
    assert {stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()} == {0o600}
    assert plain._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert plain._connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def damaged_file(path: Path, kind: str) -> bytes:
    path.parent.mkdir(exist_ok=True)
    if kind == "foreign":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE stories (x)")
        other.close()
    elif kind == "noise":
        path.write_bytes(os.urandom(9000))
    elif kind == "text":
        path.write_bytes(b"not a database at all, but long enough to have a header" * 20)
    else:
        with Library.open(path) as library:
            library.add_all([library.add(small_story(f"story {n}")) for n in range(50)])
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 3] if kind == "cut off" else data[:4096] + b"\xff" * 8192 + data[12_288:])
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["foreign", "noise", "text", "cut off", "holes"])
def test_a_damaged_file_is_set_aside(path: Path, kind: str) -> None:
    data = damaged_file(path, kind)
    library = Library.open(path)
    notice = library.notice
    if not notice:  # it is noticed where the damaged place is read
        with pytest.raises(LibraryError) as caught:
            for line in library.listing(Wanted(trashed=None)):
                library.get(line.id)
            library.add_all([library.get(line.id) for line in library.listing()])
        notice = str(caught.value)
    assert "was damaged: it is kept as stories.db.damaged-1; a new one was begun, " in notice
    assert path.with_name("stories.db.damaged-1").read_bytes()[:4096] == data[:4096]
    if kind in ("foreign", "noise", "text"):
        assert "as nothing in it could be read." in notice and library.count() == 0
    story = library.add(small_story())
    library.close()
    with Library.open(path) as library:
        assert library.get(story.id) == story and not library.notice


def test_what_can_be_read_of_a_damaged_file_is_taken_over(path: Path) -> None:
    with Library.open(path) as library:
        made = {s.id: s for s in (library.add(generated(Tree(), None, f"{n} " * 600), tags=[f"t{n}"]) for n in range(60))}
    data = bytearray(path.read_bytes())
    place = data.rindex(b"30 30 30 30") // 4096 * 4096  # the page with a node of the thirtieth
    data[place : place + 4096] = os.urandom(4096)
    path.write_bytes(data)
    with Library.open(path) as library:
        assert not library.notice
        with pytest.raises(LibraryError, match=r"a new one was begun, with the [0-9]+ stories that could still be read"):
            for id in made:
                library.get(id)
        found = {line.id: library.get(line.id) for line in library.listing()}
        assert 40 < len(found) < 60 and all(story == dataclasses.replace(made[id], revision=0) for id, story in found.items())
        some = next(iter(found.values()))
        assert ids(library, some.text.split()[0], tags=some.tags) == {some.id}


def test_a_second_damaged_file_gets_the_next_name(path: Path) -> None:
    for _ in range(2):
        damaged_file(path, "text")
        Library.open(path).close()
        path.unlink()
    assert {p.name for p in path.parent.glob("*damaged-?")} == {"stories.db.damaged-1", "stories.db.damaged-2"}


def test_a_damaged_index_is_made_anew(plain: Library) -> None:
    story = plain.add(small_story())
    plain._connection.execute("UPDATE node_words_data SET block = x'ff' WHERE id > 10")
    with pytest.raises(LibraryError, match="has been made anew"):
        for _ in range(3):
            plain.listing(Wanted("barked"))
            plain.save(story, story.tree.write(3, " More of it.", now=3.0))
    assert ids(plain, "barked") == {story.id}


def test_a_newer_version_is_left_alone(path: Path) -> None:
    Library.open(path).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(LibraryError, match="written by a newer version of tinytales-tui"):
        Library.open(path)
    assert [found.name for found in path.parent.iterdir() if "damaged" in found.name] == []


_OLD = ("CREATE TABLE stories (key INTEGER PRIMARY KEY, id TEXT, name TEXT)", f"PRAGMA application_id = {schema.APPLICATION}")
_NEW = ("ALTER TABLE stories RENAME COLUMN name TO title", "ALTER TABLE stories ADD COLUMN words INTEGER NOT NULL DEFAULT 0")


def test_an_older_file_becomes_one_of_this_version(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.db", isolation_level=None) as old:
        schema.migrate(old, [_OLD])
        old.execute("INSERT INTO stories VALUES (1, 'abc', 'The dog')")
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(old, [_OLD, (*_NEW, "ALTER TABLE none ADD COLUMN x")])
        assert old.execute("SELECT name FROM stories").fetchall() == [("The dog",)]  # whole or not at all
        schema.migrate(old, [_OLD, _NEW])
        schema.migrate(old, [_OLD, _NEW])
        assert old.execute("SELECT * FROM stories").fetchall() == [(1, "abc", "The dog", 0)]
        assert old.execute("PRAGMA user_version").fetchone() == (2,)
    old.close()


def test_a_file_of_version_0_written_by_hand_becomes_a_library(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as empty:
        empty.execute("CREATE TABLE gone (x)")
        empty.execute("DROP TABLE gone")
    empty.close()
    assert path.stat().st_size and path.read_bytes()[60:64] == bytes(4)  # a database of version 0
    with Library.open(path) as library:
        assert not library.notice and library.count() == 0 and ids(library, "x") == set()
        assert library._connection.execute("PRAGMA user_version").fetchone()[0] == len(schema.STEPS)


def test_the_same_file_with_and_without_an_index(path: Path) -> None:
    with Library.open(path, full_text=False) as without:
        story = without.add(small_story())
        assert ids(without, "barked") == {story.id}
    with Library.open(path) as library:
        assert ids(library, "barked") == {story.id}
    with Library.open(path, full_text=False) as without:
        without.delete(story.id)
    with Library.open(path) as library:
        assert ids(library, "barked") == set()
