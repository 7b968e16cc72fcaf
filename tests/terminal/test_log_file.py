"""Logs without a screen: lines of a growing file, safe text, levels, searching, and the reader's place."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.run_view import log_line
from tinytales_tui.train.log import search as log_search
from tinytales_tui.train.log.file import LIMIT, LogFile
from tinytales_tui.train.log.pager import LogPager
from tinytales_tui.train.log.search import BadPattern, Hunt, Query, Scan, Serious, parse_query
from tinytales_tui.train.log.text import LEVELS, cut_cells, level_of, levels, may_hold_level, shown_text, wrap_cells


def log_of(path: Path, data: bytes | str) -> LogFile:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    file = LogFile(path)
    file.poll()
    return file


def all_lines(file: LogFile) -> list[bytes]:
    return [line.raw for line in file.window(0, 1_000_000)]


def backwards(file: LogFile) -> list[int]:
    starts, at = [], file.last_start()
    while at is not None:
        starts.append(at)
        at = file.before(at)
    return starts[::-1]


# Lines of a file


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=40), st.booleans())
@settings(deadline=None, max_examples=60)
def test_lines_are_those_of_the_file(tmp_path_factory, parts: list[bytes], finished: bool) -> None:
    data = b"\n".join(parts) + b"\n" * finished
    file = log_of(tmp_path_factory.getbasetemp() / "any.log", data)
    expected = data.removesuffix(b"\n").split(b"\n") if data else []
    if not finished and expected and data.endswith(b"\n"):
        expected = data[:-1].split(b"\n")
    lines = file.window(0, 1000)
    assert [line.raw for line in lines] == expected
    assert backwards(file) == [line.start for line in lines]
    assert all(file.start_of(at) == line.start for line in lines for at in range(line.start, line.end))
    while file.count_on():
        pass
    assert file.total == len(expected)
    assert [file.number_of(line.start) for line in lines] == list(range(1, len(lines) + 1))


def test_the_end_is_read_before_the_rest_is_counted(tmp_path: Path) -> None:
    lines = [f"line {index} {'x' * (index % 90)}" for index in range(60_000)]
    file = log_of(tmp_path / "output.log", "\n".join(lines) + "\n")
    assert file.size > 1 << 21
    start = file.last_start()
    assert file.line_at(start).raw == lines[-1].encode()
    assert file.total is None
    assert file.number_of(start) is None
    while file.count_on():
        pass
    assert file.total == len(lines)
    at, index = start, len(lines)
    for _ in range(3000):
        assert file.line_at(at).raw == lines[index - 1].encode()
        assert file.number_of(at) == index
        at, index = file.before(at), index - 1
    middle = file.start_of(file.size // 2)
    assert lines[file.number_of(middle) - 1].encode() == file.line_at(middle).raw


def test_growth_half_lines_truncation_rotation_and_removal(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    file = LogFile(path)
    assert not file.poll().grown
    assert (file.exists, file.size, file.last_start(), file.total) == (False, 0, None, 0)
    path.write_bytes(b"one\ntw")
    assert file.poll().grown
    assert all_lines(file) == [b"one", b"tw"]
    assert file.line_at(4).next is None
    assert not file.poll().grown
    with path.open("ab") as more:
        more.write(b"o\nthree\n")
    change = file.poll()
    assert (change.grown, change.restarted) == (True, False)
    assert all_lines(file) == [b"one", b"two", b"three"]
    os.truncate(path, 0)
    path.write_bytes(b"ONE\n")
    assert file.poll().restarted
    assert all_lines(file) == [b"ONE"]
    path.rename(tmp_path / "output.log.1")
    path.write_bytes(b"another file\nthat is longer\n")
    assert file.poll().restarted
    assert all_lines(file) == [b"another file", b"that is longer"]
    path.write_bytes(b"another text\nof the same inode, longer than before\n")  # in place: only the seam tells
    assert file.poll().restarted
    path.unlink()
    assert file.poll().restarted
    assert (file.exists, file.size) == (False, 0)
    path.write_bytes(b"back\n")
    change = file.poll()
    assert (change.grown, change.restarted, file.restarts) == (True, False, 4)


def test_what_is_no_log_is_said(tmp_path: Path) -> None:
    file = LogFile(tmp_path)
    file.poll()
    assert file.trouble
    os.mkfifo(tmp_path / "pipe")
    file = LogFile(tmp_path / "pipe")
    file.poll()  # does not hang
    assert file.trouble


def test_a_line_of_ten_megabytes_is_read_in_part_and_once(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "output.log"
    file = log_of(path, b"first\n" + b"x" * 10_000_000)
    read: list[int] = []
    real = LogFile.read

    def counted(self: LogFile, start: int, stop: int) -> bytes:
        data = real(self, start, stop)
        read.append(len(data))
        return data

    monkeypatch.setattr(LogFile, "read", counted)
    assert file.last_start() == 6
    line = file.line_at(6)
    assert (len(line.raw), line.more, line.next) == (LIMIT, 10_000_000 - LIMIT, None)
    read.clear()
    for _ in range(10):
        with path.open("ab") as more:
            more.write(b"y" * 1000)
        file.poll()
        assert file.last_start() == 6
        assert file.line_at(6).more == file.size - 6 - LIMIT
    assert sum(read) < 10 * 8 * LIMIT
    with path.open("ab") as more:
        more.write(b"\nlast\n")
    file.poll()
    assert [(line.start, line.more) for line in file.window(0, 9)] == [(0, 0), (6, 10_010_000 - LIMIT), (10_010_007, 0)]
    assert backwards(file) == [0, 6, 10_010_007]


def test_of_a_long_line_that_redraws_itself_the_end_counts(tmp_path: Path) -> None:
    data = b"\r".join(b"%7d of 90000" % index for index in range(90_001))
    file = log_of(tmp_path / "output.log", data)
    line = file.line_at(0)
    assert line.more == 0
    assert shown_text(line.raw).strip() == "90000 of 90000"


# Text


def test_control_codes_are_shown_and_colours_left_out() -> None:
    raw = "\x1b[1;31mred\x1b[0m \x1b]52;c;aGk=\x07 \x1b[2J a\x9b31mb \x00\x7f\u202ex\u200b\ty".encode()
    assert shown_text(raw) == "red ␛]52;c;aGk=␇ ␛[2J ab ␀␡x    y"
    assert shown_text(raw, codes=True) == "␛[1;31mred␛[0m ␛]52;c;aGk=␇ ␛[2J a␛[31mb ␀␡x    y"
    assert shown_text(raw, ascii=True) == "red ^[]52;c;aGk=^G ^[[2J ab ^@^?x    y"
    assert shown_text(b"\xff\xfe half \xe6\x97") == "\ufffd\ufffd half \ufffd"
    assert shown_text(b" 10%\r 50%\r100%\r") == "100%"


@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "ignore"))),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None)
def test_whatever_is_shown_is_harmless(raw: bytes, codes: bool, ascii: bool) -> None:
    text = shown_text(raw.replace(b"\n", b""), codes=codes, ascii=ascii)
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)
    assert not set(text) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200b\u200e\u200f\ufeff\u2028\u2029")


def test_plain_text_is_as_run_view_shows_it() -> None:
    for raw in (b"", b"plain", b"a\rb", b"\r\r", "é日本".encode()):
        assert shown_text(raw) == log_line(raw)


@given(st.text(alphabet="ab 日e\u0301", max_size=60), st.integers(0, 30), st.integers(2, 20))
def test_cells_are_cut_and_wrapped_as_wide_as_they_are(text: str, left: int, width: int) -> None:
    begin, end, blanks = cut_cells(text, left, width)
    assert blanks + cell_len(text[begin:end]) <= width
    assert cell_len(text[:begin]) in (min(left, cell_len(text)), left + blanks)
    starts = wrap_cells(text, width)
    rows = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    assert "".join(rows) == text
    assert all(cell_len(row) <= width for row in rows)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("2026-01-02 ERROR no space", "error"),
        ("CRITICAL: stop", "error"),
        ("[rank0]: RuntimeError: CUDA out of memory", "error"),
        ("torch.OutOfMemoryError: CUDA", "error"),
        ("error: unknown option", "error"),
        ('{"level": "error", "msg": "x"}', "error"),
        ("E0102 12:00:00 foo.cc:1] bad", "error"),
        ("Segmentation fault (core dumped)", "error"),
        ("/x/y.py:3: UserWarning: deprecated", "warning"),
        ("[warn] slow", "warning"),
        ("WARNING:root:ERROR is only a word here", "warning"),
        ("level=warning msg=x", "warning"),
        ("INFO step 3, 0 errors", "info"),
        ("[info] step", "info"),
        ("DEBUG x", "debug"),
        ("the validation error is 0.31", ""),
        ("step 5 loss 2.1", ""),
        ("INFORMATION and ERRORS", ""),
        ("", ""),
    ],
)
def test_levels_are_told_by_their_words(text: str, level: str) -> None:
    assert level_of(text) == level
    assert level in LEVELS
    if level in ("error", "warning"):
        assert may_hold_level(text.encode(), True)
    if level == "error":
        assert may_hold_level(text.encode(), False)


@pytest.mark.parametrize("prefix", ["", "[rank1]:", "12:00 ERROR "])
def test_a_traceback_is_an_error_from_its_first_to_its_last_line(prefix: str) -> None:
    block = ["Traceback (most recent call last):", '  File "a.py", line 3, in f', "    g()", "my.Odd: no", "and on"]
    assert levels([prefix + line for line in block[:4]] + block[4:]) == ["error"] * 4 + [""]
    assert levels([prefix + block[0], *block[1:]]) == ["error"] * 4 + [""]


# Searching


def found_by(file: LogFile, query: Query) -> list[bytes]:
    scan = Scan(file, query)
    while scan.step():
        pass
    return [file.line_at(start).raw for start in scan.starts]


@pytest.mark.parametrize("words", ["Needle", "/need[l]e \\d+/", "nädel", "[b]", "RED word", "x"])
@pytest.mark.parametrize("colours", [False, True])
def test_searching_finds_what_a_plain_loop_finds(tmp_path: Path, monkeypatch, words: str, colours: bool) -> None:
    monkeypatch.setattr(log_search, "SLICE", 2000)
    random.seed(7)
    pieces = ["needle 12", "NEEDLE", "Nädel", "[b]bold", "hay " * 30, "x" * 5000, "\rover", "3"]
    pieces += ["a \x1b[31mred\x1b[0m word"] * colours
    lines = [" ".join(random.choices(pieces, k=random.randint(0, 4))).encode() for _ in range(400)]
    file = log_of(tmp_path / "output.log", b"\n".join(lines) + b"\n")
    query = parse_query(words)
    expected = [line for line in lines if query.pattern.search(shown_text(line)[: query.longest])]
    assert found_by(file, query) == expected
    assert expected or words == "RED word"


def test_a_scan_keeps_up_and_keeps_the_newest(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(log_search, "KEPT", 50)
    path = tmp_path / "output.log"
    file = log_of(path, "".join(f"hit {index}\nmiss\n" for index in range(20)) + "hit unfinished")
    scan = Scan(file, parse_query("hit"))
    assert scan.progress == 0
    while scan.step():
        pass
    assert scan.progress == 1
    assert (len(scan.starts), scan.complete, scan.truncated) == (20, True, False)
    with path.open("a") as more:
        more.write(" no more\n" + "".join(f"hit {index}\n" for index in range(100, 160)))
    file.poll()
    while scan.step():
        pass
    assert scan.truncated
    assert [file.line_at(start).raw for start in scan.starts] == [b"hit %d" % index for index in range(110, 160)]


def test_a_hunt_goes_both_ways_and_begins_again_at_the_other_end(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(log_search, "SLICE", 100)
    file = log_of(tmp_path / "output.log", "".join(f"line {i} {'hit' * (i % 10 == 3)}\n" for i in range(60)) + "hit at last")
    starts = [line.start for line in file.window(0, 100)]

    def hunt(index: int, down: bool, inclusive: bool = False) -> tuple[int | None, bool]:
        found = Hunt(file, parse_query("hit"), starts[index], down, inclusive)
        while found.step():
            pass
        return (None if found.found is None else starts.index(found.found)), found.wrapped

    assert hunt(3, True) == (13, False)
    assert hunt(3, True, inclusive=True) == (3, False)
    assert hunt(13, False) == (3, False)
    assert hunt(53, True) == (60, True)  # the unfinished last line is met on the way round
    assert hunt(60, True) == (3, True)
    assert hunt(3, False) == (60, True)
    assert hunt(60, False) == (53, False)
    lost = Hunt(file, parse_query("not there"), starts[5], True)
    while lost.step():
        pass
    assert lost.found is None


def test_errors_are_found_with_their_tracebacks_across_slices(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(log_search, "SLICE", 150)
    block = ["Traceback (most recent call last):", '  File "a.py"', "    g()", "odd.Thing: no"]
    lines = (["fine"] * 50 + block + ["WARN x"] + ["fine"] * 50) * 3
    file = log_of(tmp_path / "output.log", "\n".join(lines) + "\n")
    for warnings, expected in ((False, block * 3), (True, [*block, "WARN x"] * 3)):
        scan = Scan(file, Serious(warnings))
        while scan.step():
            pass
        assert [file.line_at(start).raw.decode() for start in scan.starts] == expected


@pytest.mark.parametrize("words", ["/(/", "/(a+)+b/", "/(a|aa)+/", "/(a?){30}/", "/[z-a]/", "/a**/", "/(x*)*/", "/(?:a{2,})+/"])
def test_a_bad_pattern_is_one_sentence(words: str) -> None:
    with pytest.raises(BadPattern) as caught:
        parse_query(words)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", ["/", "//", "/a", "(a+)+", "/a.*b/", "/(foo|bar) x/", r"/\(a+\)+/", "/[(+|]+/", "/(?:ab)+/"])
def test_other_patterns_are_taken(words: str) -> None:
    assert parse_query(words).words == words


# The reader's place


def pager_of(path: Path, width: int = 20, height: int = 5) -> LogPager:
    pager = LogPager(path)
    pager.poll()
    pager.resize(width, height)
    return pager


def texts(pager: LogPager) -> list[str]:
    return [row.text for row in pager.page().rows]


def test_following_standing_still_and_coming_back(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("".join(f"{index}\n" for index in range(100)))
    pager = pager_of(path)
    assert texts(pager) == ["95", "96", "97", "98", "99"]
    pager.move(-1)
    with path.open("a") as more:
        more.write("100\n101\n10")
    assert pager.poll()
    page = pager.page()
    assert [row.text for row in page.rows] == ["94", "95", "96", "97", "98"]
    assert (page.following, page.new_lines) == (False, 2)
    pager.move(3)
    assert not pager.page().following
    pager.move(1)
    page = pager.page()
    assert (page.following, page.new_lines, page.rows[-1].text) == (True, 0, "10")
    pager.home()
    assert texts(pager) == ["0", "1", "2", "3", "4"]
    pager.move_pages(1)
    assert texts(pager)[0] == "4"
    pager.end()
    assert texts(pager)[-1] == "10"
    short = tmp_path / "short.log"
    short.write_text("a\nb\n")
    pager = pager_of(short)
    pager.move(-5)
    assert pager.page().following  # there is nothing to scroll


def test_wrapping_moves_by_rows_and_keeps_the_place(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("\n".join("".join(chr(97 + index) * 10 for _ in range(4)) for index in range(5)) + "\n")
    pager = pager_of(path, width=10, height=3)
    assert texts(pager) == [letter * 10 for letter in "cde"]
    assert pager.page().rows[0].cut == (False, True)
    pager.toggle_wrap()
    assert texts(pager) == ["e" * 10] * 3
    pager.move(-2)
    assert texts(pager) == ["d" * 10, "e" * 10, "e" * 10]
    pager.resize(20, 3)
    assert texts(pager) == ["d" * 20, "e" * 20, "e" * 20]
    pager.resize(7, 3)
    assert texts(pager)[0] == "d" * 7
    pager.toggle_wrap()
    pager.sideways(34)
    assert texts(pager) == ["c" * 6, "d" * 6, "e" * 6]
    pager.sideways(8)
    assert texts(pager) == ["c" * 6, "d" * 6, "e" * 6]  # nothing lies farther right


def test_a_filter_shows_what_is_serious_and_follows(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("".join(f"{['fine', 'WARNING', 'ERROR'][index % 3]} {index}\n" for index in range(30)))
    pager = pager_of(path)
    pager.next_filter()
    while pager.work(1):
        pass
    assert texts(pager) == ["ERROR 23", "WARNING 25", "ERROR 26", "WARNING 28", "ERROR 29"]
    assert pager.page().filter == "warnings and errors"
    pager.next_filter()
    while pager.work(1):
        pass
    pager.move(-2)
    assert texts(pager)[-1] == "ERROR 23"
    with path.open("a") as more:
        more.write("fine\nERROR new\n")
    pager.poll()
    while pager.work(1):
        pass
    assert texts(pager)[-1] == "ERROR 23"
    assert pager.page().new_lines == 1
    pager.next_filter()
    assert pager.page().filter == ""
    assert texts(pager)[0] == "ERROR 11"  # the line at the top stays there


def test_a_search_goes_to_the_nearest_match_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("".join(f"line {index} {'Hit' * (index % 20 == 7)}\n" for index in range(100)))
    pager = pager_of(path)
    pager.search("hit")
    assert pager.page().search == "searching …"
    while pager.work(1):
        pass
    page = pager.page()
    row = next(row for row in page.rows if row.found)
    assert (row.text, [row.text[a:b] for a, b in row.spans]) == ("line 87 Hit", ["Hit"])
    assert (page.search, page.following) == ("5 of 5", False)
    assert pager.copyable() == ("the matched line", "line 87 Hit")
    for down, expected in ((False, "4 of 5"), (False, "3 of 5"), (True, "4 of 5"), (True, "5 of 5"), (True, "1 of 5")):
        pager.next_match(down)
        while pager.work(1):
            pass
        assert pager.page().search == expected
    assert "other end" in pager.page().notice
    pager.search("nowhere")
    while pager.work(1):
        pass
    assert pager.page().search == "not found"
    pager.search("/(/")
    assert "regular expression" in pager.page().warning


def test_a_log_that_begins_again_says_so(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("".join(f"old {index}\n" for index in range(50)))
    pager = pager_of(path)
    pager.move(-20)
    path.write_text("new\n")
    assert pager.poll()
    assert texts(pager) == ["(the log begins again)"[:20], "new"]
    assert pager.page().following
    path.unlink()
    pager.poll()
    assert "no log yet" in pager.page().empty


def test_the_plain_parts_import_no_textual_and_no_torch() -> None:
    code = (
        "import sys; import tinytales_tui.train.log.pager; print([name for name in ('textual', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
