"""Reading story files piece by piece: bytes become stories or rows, and never more than one story is held at a time.

Each reader takes a binary file that is already unpacked. Positions are counted in its bytes. It knows nothing of folders, Hub data
sets or which column is the story. Knows no torch.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from engine.tokenizer import END_OF_TEXT

LONGEST = 64 << 20
"""Bytes that one story may have; more means that the file is not divided as was thought."""
BLOCK = 1 << 20


class TooLong(Exception):
    """A story went on past `LONGEST`."""


class Broken(Exception):
    """Text that is not what its name says; `str(error)` says where and how."""


def divided_by_token(file: BinaryIO, block: int = BLOCK) -> Iterator[tuple[int, bytes]]:
    """(position, bytes) of what stands between end-of-text tokens; where the blocks that are read end does not matter."""
    divider = END_OF_TEXT.encode()
    start, rest = 0, b""
    while data := file.read(block):
        *whole, rest = (rest + data).split(divider)
        for piece in whole:
            yield start, piece
            start += len(piece) + len(divider)
        if len(rest) > LONGEST:
            raise TooLong
    yield start, rest


def divided_by_blank_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(position, bytes) of the blocks of lines between blank lines."""
    position, start, lines, size = 0, 0, [], 0
    while line := file.readline(LONGEST + 1):
        if line.strip():
            start = start if lines else position
            lines.append(line)
            size += len(line)
            if size > LONGEST:
                raise TooLong
        elif lines:
            yield start, b"".join(lines)
            lines, size = [], 0
        position += len(line)
    if lines:
        yield start, b"".join(lines)


def undivided(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The whole file as one story."""
    data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise TooLong
    yield 0, data


def lines_of(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """(position, number from 1, bytes) of each line that is not blank."""
    position = number = 0
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise TooLong
        number += 1
        if line.strip():
            yield position, number, line
        position += len(line)


def json_array(file: BinaryIO, block: int = BLOCK) -> Iterator[Any]:
    """The items of one JSON list; raises `Broken` where the file is something else.

    Bytes that are no UTF-8 become surrogates (U+DC80 to U+DCFF), which the caller looks for.
    """
    decoder = json.JSONDecoder()
    unpack = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    text, at, number, ended = "", 0, 0, False

    def more() -> bool:
        nonlocal text, at, ended
        if ended:
            return False
        # As much again as is held: a long item is then tried a few times only, not once a block.
        data = file.read(max(block, len(text) - at))
        ended = not data
        text, at = text[at:] + unpack.decode(data, final=ended), 0
        return True

    def skip(symbols: str) -> str:
        nonlocal at
        while True:
            while at < len(text) and text[at] in symbols:
                at += 1
            if at < len(text):
                return text[at]
            if not more():
                return ""

    if skip(" \t\r\n\ufeff") != "[":
        raise Broken("it is not a list")
    at += 1
    while (symbol := skip(" \t\r\n,")) != "]":
        if not symbol:
            raise Broken(f"the list breaks off after item {number}")
        while True:
            try:
                item, end = decoder.raw_decode(text, at)
                if end < len(text) or ended:
                    break
            except (ValueError, RecursionError) as error:
                if ended:
                    raise Broken(f"item {number + 1} is not JSON") from error
            if len(text) - at > LONGEST:
                raise TooLong
            more()
        at, number = end, number + 1
        yield item


def csv_rows(file: BinaryIO) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row by column name); bytes that are no UTF-8 become surrogates, which the caller looks for."""
    csv.field_size_limit(LONGEST)
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    reader = csv.DictReader(text, restkey="", restval=None)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise Broken(f"line {reader.line_num} is not CSV ({error})") from error
    finally:
        text.detach()  # the file is its opener's to close


def has_bad_bytes(value: Any) -> bool:
    """Whether text that was read with surrogates for bad bytes has any."""
    if isinstance(value, dict):
        return any(has_bad_bytes(part) for part in value.values())
    return isinstance(value, str) and not value.isascii() and any("\udc80" <= letter <= "\udcff" for letter in value)


def first_bad_byte(file: BinaryIO) -> int | None:
    """Position of the first byte that is no UTF-8, or None."""
    unpack, position = codecs.getincrementaldecoder("utf-8")(), 0
    while True:
        data = file.read(BLOCK)
        held = len(unpack.getstate()[0])
        try:
            unpack.decode(data, final=not data)
        except UnicodeDecodeError as error:
            return position - held + error.start
        if not data:
            return None
        position += len(data)
