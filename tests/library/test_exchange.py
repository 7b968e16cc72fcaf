"""Stories leave the library in every form, safely, and come back from JSON without loss."""

from __future__ import annotations

import io
import json
import math
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from library.made_stories import generated, small_story
from library.test_tree import grown_trees

from engine.errors import UsageError
from tinytales_tui.library.exporting import FORMS, export
from tinytales_tui.library.importing import add_new, read
from tinytales_tui.library.records import record_of, tree_of
from tinytales_tui.library.runs import Run
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import Story
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Edit, Tree
from tinytales_tui.story import StoryRecord

NASTY = '<script>alert("x")</script> & <b>\n\n# 1. [link](x) *a* _b_ \x1b[31m \x00 \ufffe \u202e end'


def story(tree: Tree | None = None, **more: object) -> Story:
    return Story("abcd2345", tree or small_story(), created=1_790_000_000.0, changed=1_790_000_100.0, **more)  # type: ignore[arg-type]


def edited() -> Tree:
    tree = generated(Tree().write(None, "Once upon a time", now=1.0), 1, " a dog ran.\n\nIt was  happy.")
    place = tree.text(2).index("ran")
    return tree.edit(2, Edit(place, place + 3, "slept"), now=2.0)


@settings(max_examples=60, deadline=None)
@given(grown_trees())
def test_json_keeps_everything(tree: Tree) -> None:
    told = story(tree, title="t", tags=("a", "b"), favourite=True, trashed=1_790_000_200.0)
    data = export([told, story()], "json")
    assert read(data, "x.json") == [told, story()]
    assert json.loads(data)["stories"][0]["text"] == told.text


def test_tokens_survive_json_bit_for_bit() -> None:
    values = [(1, 1, -math.exp(n / 7)) for n in range(-60, 60)] + [(2, 1, -math.inf), (3, 0, -1e-7)]
    tree = Tree().add(None, (Run("model", "x" * 121, Tokens.of(values)),), now=0.0)
    assert read(export([story(tree)], "json"), "x")[0].tree == tree


def test_an_import_is_not_made_twice(tmp_path: Path) -> None:
    with Library.open(tmp_path / "one.db") as one, Library.open(tmp_path / "two.db") as two:
        made = [one.add(small_story(), title="A"), one.add(edited(), tags=["x"])]
        data = export([one.get(s.id) for s in made], "json")
        added, passed = add_new(two, read(data, "x.json"))
        assert [(s.id, s.tree, s.title, s.tags, s.created) for s in added] == [
            (s.id, s.tree, s.title, s.tags, s.created) for s in made
        ] and not passed
        assert add_new(two, read(data, "x.json")) == ([], 2)
        two.save(two.get(made[0].id), made[0].tree.write(3, " More.", now=1.0))
        added, passed = add_new(two, read(data, "x.json"))
        assert passed == 1 and len(added) == 1 and added[0].id not in (made[0].id, made[1].id) and two.count() == 3


def test_a_record_is_taken_in_once(tmp_path: Path) -> None:
    lines = "".join(json.dumps(StoryRecord("a dog", "sad", text, seed=7).to_json()) + "\n" for text in ("One.", "Two.", "One."))
    with Library.open(tmp_path / "stories.db") as library:
        added, passed = add_new(library, read(lines.encode(), "x"))
        assert [s.text for s in added] == ["One.", "Two."] and passed == 1 and len({s.id for s in added}) == 2
        assert add_new(library, read(lines.encode(), "x")) == ([], 3)


def test_records_of_batch_mode_are_imported() -> None:
    first = StoryRecord("a dog", "sad", "Once.", 2, "length", 7, "default", {"seed": 7})
    second = StoryRecord("a dog", "sad", " Twice.", 2, "length", 8, "default", {"seed": 8}, opening="Once.", before=first)
    raw = StoryRecord("One day Mia", None, " ran.", 2, "length", 9, "default", {"seed": 9})
    lines = "\n".join(json.dumps(record.to_json()) for record in (first, second, raw)) + "\n\n"
    one, two, three = read(lines.encode(), "stories.jsonl")
    assert one.text == "Once." and [n.recipe.seed for n in two.tree.path(2)] == [7, 8] and two.text == "Once. Twice."
    assert [run.author for run in three.tree.runs(2)] == ["writer", "model"] and three.text == raw.full_text
    for record, found in ((first, one), (second, two), (raw, three)):
        last = found.tree.nodes[found.tree.current]
        asked = last.recipe.request(found.tree.text_before(last.number))
        assert (asked.topic, asked.ending, asked.sampling.seed) == (record.prompt, record.ending, record.seed)
        assert asked.opening == (record.opening or record.given)
    assert read(json.dumps([first.to_json(), raw.to_json()]).encode(), "x")[1].tree == tree_of(raw)
    kept = {"saved_at": 5.0, "form": {}, "story": second.to_json()}
    assert (read(json.dumps(kept).encode(), "x")[0].text, read(json.dumps(kept).encode(), "x")[0].created) == (
        "Once. Twice.",
        5.0,
    )


def test_a_node_is_a_record_again() -> None:
    first = StoryRecord(
        "a dog", "sad", "Once.", 0, "length", 7, "default", {"seed": 7}, ttft_s=0.5, step="compiled", precision="int8", threads=2
    )
    second = StoryRecord("a dog", "sad", " Twice.", 0, "length", 8, "default", {"seed": 8}, opening="Once.", before=first)
    raw = StoryRecord("One day Mia", None, " ran.", 0, "length", 9, "default", {"seed": 9})
    given = StoryRecord("a dog", "sad", " ran.", 0, "length", 9, "default", {"seed": 9}, opening="A dog")
    for record in (first, second, raw, given):
        tree = tree_of(record)
        assert record_of(tree, tree.current) == record
    tree = tree_of(second)
    tree = tree.edit(2, Edit(len("Once. Tw"), len("Once. Twice."), "o dogs."), now=1.0)
    typed = record_of(tree, tree.current)
    assert (typed.full_text, typed.story, typed.opening) == ("Once. Two dogs.", "", "Once. Two dogs.")
    assert (typed.prompt, typed.ending, typed.seed) == ("a dog", "sad", 7)
    tree = generated(tree, tree.current, " The end.", topic="a dog", seed=5)
    last = record_of(tree, tree.current)
    assert (last.full_text, last.story, last.before, last.tokens) == ("Once. Two dogs. The end.", " The end.", None, 2)
    assert last.request() == tree.node(4).recipe.request("Once. Two dogs.")
    assert record_of(Tree().write(None, "typed", now=0.0), 1).full_text == "typed" and record_of(Tree(), None).full_text == ""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b" \n", "x.json: there is no story in it"),
        (b"\xff\xfe", "x.json, line 1: this is not UTF-8"),
        (b'{"prompt": "a", "story": "b"}\n{"prompt": 5}\n', "x.json, line 2: this is not a story record"),
        (b'{"prompt": "a", "story": "b"}\n\nwhat\n', "x.json, line 3: this is not JSON \\(column 1"),
        (b'{\n "stories": [\n  {]\n}', "x.json, line 3: this is not JSON"),
        (b"5", "x.json: this is not a story record"),
        (b'[{"prompt": "a", "story": "b"}, {}]', "x.json, story 2: this is not a story record"),
        (b'{"prompt": "a", "story": "b", "seed": "x"}', "x.json: seed of a recipe"),
        (b'{"format": "tinytales-tui stories", "version": 9, "stories": []}', "newer version"),
        (b'{"nodes": [{"number": 1, "parent": 1, "runs": []}]}', "x.json: its node 1 stands twice, or hangs below"),
        (b'{"nodes": [], "current": 4}', "the node in front is not there"),
        (b'{"nodes": [{"number": 0, "runs": []}]}', "has no number"),
        (b'{"nodes": [{"number": 1, "runs": [{"author": "god", "text": ""}]}]}', "a run of its node 1"),
        (b'{"nodes": [{"number": 1, "runs": [{"author": "model", "text": "ab", "tokens": [[1, 1, 0]]}]}]}', "a run of its node 1"),
        (b'{"nodes": [{"number": 1, "runs": [{"author": "model", "text": "ab", "tokens": 5}]}]}', "a run of its node 1"),
        (b'{"nodes": [{"number": 1, "runs": [], "recipe": {"seed": -1}}]}', "in its node 1, seed of a recipe"),
        (b'{"nodes": [{"number": 1, "runs": [], "rating": 9}]}', "marks of its node 1"),
        (b'{"nodes": [], "tags": [1]}', "tags"),
        (b'{"nodes": [], "title": 1}', "title"),
        (b'{"nodes": [], "created": "x"}', "created"),
        (b"[" * 100_000, "nested too deeply|not JSON"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_with_the_line(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read(data, "x.json")
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_text_and_markdown() -> None:
    assert export([story()], "txt").decode() == story().text + "\n"
    assert export([story(), story(edited())], "txt").decode().count("* * *") == 1
    told = export([story(generated(Tree(), None, NASTY), title="A *bold* [title]")], "md").decode()
    assert told.startswith("# A \\*bold\\* \\[title\\]\n\n*with a sad ending · 2026-")
    assert "\\<script\\>" in told and "\n\n\\# 1. \\[link\\](x) \\*a\\*" in told and "\x1b" not in told
    with pytest.raises(UsageError, match="choose md, txt, json, html, epub"):
        export([story()], "pdf")


class Checker(HTMLParser):
    """Every element is closed in its turn; gathers ids, links, text and element names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, list[str]] = {"id": [], "href": [], "src": [], "tag": [], "text": []}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen["tag"].append(tag)
        for name, value in attributes:
            self.seen.setdefault(name, []).append(value or "")
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.seen["text"].append(data)


def test_the_html_page_is_whole_and_everything_is_escaped() -> None:
    stories = [story(edited()), story(generated(Tree(), None, NASTY), title='<i> & "me"')]
    page = export(stories, "html").decode()
    checker = Checker()
    checker.feed(page)
    assert not checker.open and not {"script", "b", "i", "img", "iframe"} & set(checker.seen["tag"]) and not checker.seen["src"]
    assert [link.removeprefix("#") for link in checker.seen["href"]] == [i for i in checker.seen["id"] if i.startswith("story")]
    text = "".join(checker.seen["text"])
    assert '<script>alert("x")</script> & <b>' in text and '<i> & "me"' in text and "\x1b" not in page and "\x00" not in page
    assert '<span class="writer">Once upon a time</span> a dog <span class="writer">slept</span>.' in page
    assert "<p>It was  happy.</p>" in page and "underlined with dots" in page
    alone = export(stories[:1], "html").decode()
    assert "<nav>" not in alone and "<h1>a lost dog</h1>" in alone and "<title>a lost dog</title>" in alone
    assert export([], "html")


def test_the_epub_holds_together() -> None:
    stories = [story(edited()), story(generated(Tree(), None, NASTY), title="<i> & 'me'\x07\ufffe")]
    data = export(stories, "epub", "My <stories>")
    assert data == export(stories, "epub", "My <stories>") and data[30:58] == b"mimetypeapplication/epub+zip"
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert book.testzip() is None and book.infolist()[0].compress_type == zipfile.ZIP_STORED
        parsed = {
            name: ElementTree.fromstring(book.read(name)) for name in book.namelist() if name.endswith(("xml", "opf", "xhtml"))
        }
        names = set(book.namelist())
    [rootfile] = parsed["META-INF/container.xml"].iter("{urn:oasis:names:tc:opendocument:xmlns:container}rootfile")
    package = parsed[rootfile.attrib["full-path"]]
    opf = "{http://www.idpf.org/2007/opf}"
    items = {item.attrib["id"]: item.attrib for item in package.iter(f"{opf}item")}
    assert {f"EPUB/{item['href']}" for item in items.values()} == names - {"mimetype", "META-INF/container.xml", "EPUB/book.opf"}
    spine = [ref.attrib["idref"] for ref in package.iter(f"{opf}itemref")]
    assert spine == ["contents", "story-00001", "story-00002"] and set(spine) <= set(items)
    assert [item["href"] for item in items.values() if item.get("properties") == "nav"] == ["contents.xhtml"]
    dc = "{http://purl.org/dc/elements/1.1/}"
    assert package.attrib["version"] == "3.0" and package.find(f"*/{dc}title").text == "My <stories>"
    assert package.find(f"*/{dc}identifier").attrib["id"] == package.attrib["unique-identifier"]
    assert package.find(f"*/{opf}meta").text == "2026-09-21T14:15:00Z"
    links = [a.attrib["href"] for a in parsed["EPUB/contents.xhtml"].iter("{http://www.w3.org/1999/xhtml}a")]
    assert links == [items[name]["href"] for name in spine[1:]]
    assert "".join(parsed["EPUB/story-00002.xhtml"].itertext()).count('<script>alert("x")</script> & <b>') == 1


def test_every_form_is_made_of_an_empty_page_too() -> None:
    for form in FORMS:
        assert export([story(Tree())], form)
