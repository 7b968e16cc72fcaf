"""Sources of stories: every kind is read by streaming, what is broken is named, and where blocks end does not matter."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data import reading
from engine.data.records import Record
from engine.data.sources import ReadingOptions, open_sources
from engine.data.stories import read_records
from engine.data.storybook import storybook_stories
from engine.errors import UsageError
from engine.tokenizer import END_OF_TEXT

TWO = [Record("Mia found a key.\nIt was old."), Record("It rained, and the café was shut.")]


def stories(*names: object, **options: object) -> list[Record]:
    sources = open_sources([str(name) for name in names], ReadingOptions(**options))  # type: ignore[arg-type]
    return [record for source in sources for record in source.records()]


def test_text_in_every_packing(tmp_path: Path) -> None:
    text = f"\ufeff{TWO[0].story}\r\n{END_OF_TEXT}\r\n\r\n{TWO[1].story}\r\n{END_OF_TEXT}\r\n".encode()
    packed = {"a.txt": text, "b.txt.gz": gzip.compress(text), "c.txt.bz2": bz2.compress(text), "d.txt.xz": lzma.compress(text)}
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
        source = open_sources([str(tmp_path / name)])[0]
        assert list(source.records()) == list(source.records()) == TWO
        assert source.done == source.size == len(data) and not source.dropped


@pytest.mark.parametrize(
    ("divide", "found"),
    [
        ("auto", ["One\nline.", "Two."]),
        ("blank-line", ["One\nline.", "Two."]),
        ("file", ["One\nline.\n\n \t\nTwo."]),
        ("end-of-text", ["One\nline.\n\n \t\nTwo."]),
    ],
)
def test_what_divides_stories(tmp_path: Path, divide: str, found: list[str]) -> None:
    (tmp_path / "a.txt").write_text("\n\nOne\nline.\n\n \t\nTwo.\n\n")
    assert [record.story for record in stories(tmp_path / "a.txt", divide=divide)] == found


def test_a_token_divides_also_where_there_are_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"One.\n\nStill one.{END_OF_TEXT}Two.{END_OF_TEXT}{END_OF_TEXT} \n")
    assert [record.story for record in stories(tmp_path / "a.txt")] == ["One.\n\nStill one.", "Two."]


@given(st.lists(st.sampled_from([END_OF_TEXT, "<|", "endoftext|>", "a", "é", "\n", " b"]), max_size=30), st.integers(1, 40))
def test_where_blocks_end_does_not_matter_to_tokens(parts: list[str], block: int) -> None:
    data = "".join(parts).encode()
    pieces = list(reading.divided_by_token(io.BytesIO(data), block))
    assert [piece for _, piece in pieces] == data.split(END_OF_TEXT.encode())
    assert all(data[start : start + len(piece)] == piece for start, piece in pieces)


@given(st.lists(st.sampled_from(["a", "bé", "\n", "\n\n", " \n", "\r\n", "\t"]), max_size=30))
def test_blocks_between_blank_lines(parts: list[str]) -> None:
    data = "".join(parts).encode()
    lines = data.split(b"\n")
    wanted = [[]]  # type: ignore[var-annotated]
    for line in lines:
        wanted.append([]) if not line.strip() else wanted[-1].append(line.strip())
    found = list(reading.divided_by_blank_lines(io.BytesIO(data)))
    assert [[line.strip() for line in block.strip().split(b"\n")] for _, block in found] == [block for block in wanted if block]
    assert all(data[start : start + len(block)] == block for start, block in found)


@given(
    st.lists(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=5)),
    st.integers(1, 30),
    st.sampled_from([None, 1]),
)
def test_a_json_list_is_read_item_by_item(items: list[object], block: int, indent: int | None) -> None:
    data = json.dumps(items, ensure_ascii=False, indent=indent).encode("utf-8", "replace")
    assert list(reading.json_array(io.BytesIO(data), block)) == json.loads(data)


@pytest.mark.parametrize("broken", ["", "{}", '["a"', '["a", ', '["a" "b', "[nothing]", '"text"'])
def test_what_is_no_json_list_is_refused(tmp_path: Path, broken: str) -> None:
    (tmp_path / "a.json").write_text(broken)
    with pytest.raises(UsageError, match=r"a\.json"):
        stories(tmp_path / "a.json")


def test_tables_of_every_kind(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [
        {"topic": "a key", "ending": "sad", "story": 'Mia lost\nit, "so" sad.'},
        {"topic": None, "ending": None, "story": "It rained."},
    ]
    wanted = [Record(rows[0]["story"], "a key", "sad"), Record("It rained.")]  # type: ignore[arg-type]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    (tmp_path / "b.json").write_text(json.dumps(rows))
    (tmp_path / "c.csv").write_text('topic,ending,story\na key,Sad,"Mia lost\nit, ""so"" sad."\n,,It rained.\n')
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress((tmp_path / "c.csv").read_bytes()))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "e.parquet")
    (tmp_path / "f.json").write_text(json.dumps([rows[0]["story"]]))
    for name in ("a.jsonl", "b.json", "c.csv", "d.csv.gz", "e.parquet"):
        assert stories(tmp_path / name) == wanted, name
        assert open_sources([str(tmp_path / name)])[0].labelled()
    assert stories(tmp_path / "f.json") == [Record(rows[0]["story"])]  # type: ignore[arg-type]


def test_the_balanced_instruct_layout(tmp_path: Path) -> None:
    whole = "Write a story about: Mia loses a key\nWith: sad ending\n\n### Story:\n"
    rows = [
        {"instruction": "Mia finds a key", "response": "She did.", "ending": "happy"},
        {"instruction": whole, "response": "Oh.", "ending": "sad"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert stories(tmp_path / "a.jsonl") == [
        Record("She did.", "Mia finds a key", "happy"),
        Record("Oh.", "Mia loses a key", "sad"),
    ]


def test_the_column_with_the_story(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,tale,topic\n1,Once.,x\n")
    assert stories(tmp_path / "a.csv", text_field="tale") == [Record("Once.", "x")]
    with pytest.raises(UsageError, match=r"line 2, .*there is id, tale, topic"):
        stories(tmp_path / "a.csv")
    with pytest.raises(UsageError, match="no text column text; there is id, tale, topic"):
        stories(tmp_path / "a.csv", text_field="text")
    with pytest.raises(UsageError, match="divide"):
        stories(tmp_path / "a.csv", divide="word")


@pytest.mark.parametrize(
    ("name", "data", "at", "kept"),
    [
        ("a.txt", b"Good.<|endoftext|>B\xffad.<|endoftext|>Fine.", 19, 2),
        ("b.txt", b"Good.\n\nB\xc3\nad.\n\nFine.", 8, 2),
        ("c.jsonl", b'{"story": "Good."}\n{"story": "B\xffad."}\n', 31, 1),
        ("d.json", b'["Good.", "B\xffad."]', 12, 1),
        ("e.csv", b"story\nGood.\nB\xffad.\n", 13, 1),
    ],
)
def test_bad_bytes_are_named_or_left_out(tmp_path: Path, name: str, data: bytes, at: int, kept: int) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        with pytest.raises(UsageError, match=rf"{path.name} is not UTF-8 text: byte {at} is wrong"):
            stories(path)
        source = open_sources([str(path)], ReadingOptions(skip_bad=True))[0]
        assert len(list(source.records())) == kept and source.dropped == {"not UTF-8": 1}


def test_bad_rows_are_named_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"story": "Good."}\n{"story": ""}\n{]\n{"id": 7}\n[1]\n{"story": null}\n"A bare one."\n')
    with pytest.raises(UsageError, match=r"a\.jsonl, line 3, is not JSON"):
        stories(path)
    source = open_sources([str(path)], ReadingOptions(skip_bad=True))[0]
    assert [record.story for record in source.records()] == ["Good.", "A bare one."]
    assert source.dropped == {"empty": 2, "not JSON": 1, "no text": 2}
    (tmp_path / "b.csv").write_text("id\n7\n")
    with pytest.raises(UsageError, match="there is id"):
        stories(tmp_path / "b.csv")


def test_what_is_no_story_file_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"One." * 9999)[:-20])
    (tmp_path / "b.txt").write_bytes("One.".encode("utf-16"))
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "d.txt.zst").write_bytes(b"\x28\xb5\x2f\xfd....")
    os.mkfifo(tmp_path / "pipe")
    for name, words in {"a.txt.gz": "cannot be read", "b.txt": "UTF-16", "c.parquet": "Parquet", "pipe": "plain file"}.items():
        with pytest.raises(UsageError, match=words):
            stories(tmp_path / name)
    if sys.version_info < (3, 14):
        with pytest.raises(UsageError, match="zstd"):
            stories(tmp_path / "d.txt.zst")
    for gone in (tmp_path / "gone.txt", "gone/gone.txt", tmp_path / "*.csv"):
        with pytest.raises(UsageError, match=str(gone).replace("*", r"\*")):
            stories(gone)


def test_a_story_without_end_is_refused_before_memory_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST", 5000)
    monkeypatch.setattr(reading.divided_by_token, "__defaults__", (1000,))
    (tmp_path / "a.txt").write_text(f"One.{END_OF_TEXT}" + "no end " * 1000)
    (tmp_path / "b.txt").write_text("no end\n" * 1000)
    (tmp_path / "c.jsonl").write_text(json.dumps({"story": "no end " * 1000}))
    for name in ("a.txt", "b.txt", "c.jsonl"):
        with pytest.raises(UsageError, match="64 MiB"):
            stories(tmp_path / name)


def test_folders_and_globs(tmp_path: Path) -> None:
    for name in ("b.txt", "a.jsonl", "deep/c.csv", ".hidden/d.txt", "deep/.e.txt", "README.md", "deep/picture.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text({"l": '"In the list."', "v": "text\nIn the table.\n"}.get(name[-1], f"In {name}."))
    assert [r.story for r in stories(tmp_path)] == ["In the list.", "In b.txt.", "In the table."]
    assert [r.story for r in stories(tmp_path / "*.txt", tmp_path / "b.txt", tmp_path / "**" / "*.csv")] == [
        "In b.txt.",
        "In the table.",
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no story file"):
        stories(tmp_path / "empty")


def test_prepared_data_are_no_source(tmp_path: Path) -> None:
    from engine.data.prepare import PrepareSettings, prepare

    prepare(PrepareSettings(("storybook:5",)), tmp_path / "data")
    with pytest.raises(UsageError, match="prepared data already"):
        stories(tmp_path / "data")


def test_a_fingerprint_changes_with_the_stories(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("One.")
    source = open_sources([str(path)])[0]
    before = source.fingerprint()
    path.write_text("Two.")
    assert source.fingerprint() != before
    books = [open_sources([name])[0].fingerprint() for name in ("storybook:5:1", "storybook:5:2", "storybook:6:1", "storybook:5")]
    assert len(set(books)) == 3 and books[0] == books[3]
    for wrong in ("storybook:many", "storybook:1:2:3", "storybook:-1"):
        with pytest.raises(UsageError, match="storybook:COUNT:SEED"):
            open_sources([wrong])


@pytest.mark.parametrize("name", ["a.txt.gz", "b.jsonl", "storybook:6000"])
def test_how_far_a_reading_has_come(tmp_path: Path, name: str) -> None:
    told = [record.story for record in islice(storybook_stories(1), 6000)]
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(END_OF_TEXT.join(told).encode()))
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"story": story}) for story in told))
    source = open_sources([name if ":" in name else str(tmp_path / name)])[0]
    assert not source.labelled() or ":" in name  # looks at the beginning, and leaves no trace in the figures
    records = source.records()
    for _ in islice(records, 3000):
        pass
    assert 0.3 < source.done / source.size < 0.9
    assert len(list(records)) == 3000 and source.done == source.size


def test_reading_all_at_once_keeps_the_labels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"One story.\n{END_OF_TEXT}\nTwo.")
    (tmp_path / "b.jsonl").write_text('{"story": "One story.", "topic": "one", "ending": "sad"}\n')
    assert read_records([tmp_path / "a.txt", tmp_path / "b.jsonl"]) == [Record("One story.", "one", "sad"), Record("Two.")]
    (tmp_path / "c.txt").write_text(" \n")
    with pytest.raises(UsageError, match=r"c\.txt holds no story"):
        read_records([tmp_path / "c.txt"])


HUB_SCRIPT = """
import json, sys
from engine.data.sources import open_sources
from engine.errors import TinyTalesError
found = []
for name in json.loads(sys.argv[1]):
    try:
        source = open_sources([name])[0]
        found.append([source.fingerprint(), [record.story for record in source.records()], source.done])
    except TinyTalesError as error:
        found.append([type(error).__name__, str(error)])
print(json.dumps(found))
"""


def hub(names: list[str], **environment: str) -> tuple[list[list[object]], str]:
    """What each name gives in a process of its own, and what that said on standard error."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT, json.dumps(names)],
        env=kept | {"HF_HUB_DISABLE_TELEMETRY": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_hub_data_sets_are_streamed(tmp_path: Path) -> None:
    server = subprocess.Popen([sys.executable, Path(__file__).with_name("local_hub.py")], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        address = server.stdout.readline().strip()
        names = [
            "some/tales",
            "some/tales:validation",
            "some/tales:other",
            "some/tales:other:train",
            "some/nothing",
            "some/program",
        ]
        found, said = hub(names, HF_ENDPOINT=address, HF_HOME=str(tmp_path))
    finally:
        server.terminate()
        server.wait()
    train, validation, no_split, no_config, nothing, program = found
    assert train == [f"some/tales@{'a' * 40}::train", [f"Story {n} was short." for n in range(50)], 50]
    assert validation[1] == ["It was held out."]
    assert no_split[0] == "UsageError" and "Available splits: ['train', 'validation']" in str(no_split[1])
    assert no_config[0] == "UsageError" and "'other' not found" in str(no_config[1])
    assert nothing[0] == "UsageError" and "the Hub has no data set of that name" in str(nothing[1])
    assert program[0] == "UsageError" and "scripts are no longer supported" in str(program[1])
    assert said == ""
    unreachable, _ = hub(["some/tales"], HF_ENDPOINT=address, HF_HOME=str(tmp_path))
    assert unreachable[0][0] == "NetworkError" and "try again with a network" in str(unreachable[0][1])


def test_without_a_network_or_the_extra(tmp_path: Path) -> None:
    offline, _ = hub(["some/tales"], HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert offline[0][0] == "NetworkError"
    (tmp_path / "datasets.py").write_text("raise ImportError('not installed')")
    (tmp_path / "pyarrow.py").write_text("raise ImportError('not installed')")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    missing, _ = hub(["some/tales", str(tmp_path / "a.parquet")], PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[2]}")
    for kind, words in missing:
        assert kind == "UsageError" and "pip install 'tinytales-tui[data]'" in str(words)
