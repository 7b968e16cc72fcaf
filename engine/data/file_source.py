"""One story file as a source, packed or not: text, JSON lines, a JSON list, CSV, Parquet.

It is streamed; no reading holds more than a story (a row group, for Parquet). Knows nothing of tokens. Knows no torch.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from engine.data import reading
from engine.data.records import Divide, Record, clean
from engine.data.source import ReadingOptions, Source, extra
from engine.data.storybook import MARK
from engine.errors import UsageError
from engine.tokenizer import END_OF_TEXT

KINDS = {
    ".txt": "text", ".text": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".parquet": "parquet",
}  # fmt: skip
"""Names of files that are known, by how they end; a packed one ends in one of `PACKED` after that."""
PACKED = (".gz", ".bz2", ".xz", ".zst")
_UNPACK: tuple[tuple[bytes, Callable[[BinaryIO], Any]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)


class FileSource(Source):
    """One file, packed or not."""

    def __init__(self, path: Path, options: ReadingOptions) -> None:
        super().__init__(str(path), kind_of(path) or "text", options)
        self.path = path
        if not path.is_file():
            raise UsageError(f"{path} is neither a plain file nor a folder, so it cannot be read twice, as it has to be.")
        self.size = self.bytes = path.stat().st_size
        self._raw: BinaryIO | None = None
        self._done = 0

    def fingerprint(self) -> str:
        with self._failing_plainly(), self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def done(self) -> int:
        if self._raw is not None and not self._raw.closed:
            self._done = self._raw.tell()
        return self._done

    def _read(self) -> Iterator[Record | None]:
        with self._failing_plainly():
            yield from {"text": self._text, "jsonl": self._lines, "json": self._list, "csv": self._csv, "parquet": self._parquet}[
                self.kind
            ]()

    @contextmanager
    def _failing_plainly(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise UsageError(f"{self.name} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
        except reading.TooLong as error:
            raise UsageError(f"{self.name} has a story of more than 64 MiB; is it divided in another way (--divide)?") from error
        except reading.Broken as error:
            raise UsageError(f"{self.name} cannot be read: {error}.") from error

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        """The unpacked bytes."""
        with self.path.open("rb") as raw:
            self._raw = raw
            head = raw.read(8)
            raw.seek(0)
            if head[:2] in (b"\xff\xfe", b"\xfe\xff") and self.kind != "parquet":
                raise UsageError(f"{self.name} is UTF-16 text, not UTF-8; convert it, for instance with iconv.")
            unpack = next((unpack for magic, unpack in _UNPACK if head.startswith(magic)), None)
            if head.startswith(b"\x28\xb5\x2f\xfd"):
                unpack = _zstd(self.name)
            if unpack is None:
                yield raw
            else:
                with io.BufferedReader(unpack(raw), 1 << 18) as file:
                    yield file  # type: ignore[misc]
            self._done = raw.tell()

    def _text(self) -> Iterator[Record | None]:
        first, divide = True, self._divided()
        readers = {
            "end-of-text": reading.divided_by_token,
            "blank-line": reading.divided_by_blank_lines,
            "file": reading.undivided,
        }
        with self._open() as file:
            for position, piece in readers[divide](file):
                try:
                    text = clean(piece.decode("utf-8-sig" if first else "utf-8"))
                except UnicodeDecodeError as error:
                    self._bad("not UTF-8", f"{self.name} is not UTF-8 text: byte {position + error.start:,} is wrong.")
                    text = ""
                else:
                    if first and text.startswith(MARK):
                        self.synthetic = True
                        text = text.partition("\n")[2].strip()
                    if text:
                        yield Record(text, synthetic=self.synthetic)
                first = False

    def _divided(self) -> Divide:
        if self.options.divide != "auto":
            return self.options.divide
        with self._open() as file:
            return "end-of-text" if END_OF_TEXT.encode() in _read_fully(file, 1 << 20) else "blank-line"

    def _lines(self) -> Iterator[Record | None]:
        with self._open() as file:
            for position, number, line in reading.lines_of(file):
                try:
                    row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except UnicodeDecodeError as error:
                    self._bad("not UTF-8", f"{self.name} is not UTF-8 text: byte {position + error.start:,} is wrong.")
                except (ValueError, RecursionError):
                    self._bad("not JSON", f"{self.name}, line {number}, is not JSON.")
                else:
                    yield from self._row(row, f"line {number}")

    def _list(self) -> Iterator[Record | None]:
        with self._open() as file:
            for number, item in enumerate(reading.json_array(file), 1):
                if self._good_bytes(item):
                    yield from self._row(item, f"item {number}")

    def _csv(self) -> Iterator[Record | None]:
        with self._open() as file:
            for number, row in reading.csv_rows(file):
                if self._good_bytes(row):
                    yield from self._row(row, f"line {number}")

    def _good_bytes(self, row: Any) -> bool:
        if not reading.has_bad_bytes(row):
            return True
        if not self.options.skip_bad:
            with FileSource(self.path, self.options)._open() as file:
                at = reading.first_bad_byte(file)
            if at is None:
                return True  # half a surrogate pair that was written as one
            raise UsageError(f"{self.name} is not UTF-8 text: byte {at:,} is wrong.")
        self.dropped["not UTF-8"] += 1
        return False

    def _parquet(self) -> Iterator[Record | None]:
        parquet = extra("pyarrow.parquet", "Parquet files need")
        from pyarrow import ArrowException

        try:
            with parquet.ParquetFile(self.path) as file:
                total, number = max(1, file.metadata.num_rows), 0
                for batch in file.iter_batches(batch_size=1024, use_threads=False):
                    for row in batch.to_pylist():
                        number += 1
                        self._done = self.size * number // total
                        yield from self._row(row, f"row {number}")
        except (ArrowException, UnicodeDecodeError) as error:
            raise UsageError(f"{self.name} is no Parquet file, or a damaged one.") from error


def _read_fully(file: BinaryIO, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _zstd(name: str) -> Callable[[BinaryIO], Any]:
    try:
        return importlib.import_module("compression.zstd").ZstdFile  # from Python 3.14 on
    except ImportError as error:
        raise UsageError(f"{name} is packed with zstd, which this Python cannot read; unpack it first (zstd -d).") from error


def kind_of(path: Path) -> str | None:
    """What a file holds, by its name; None where the name does not say."""
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return next((kind for ending, kind in KINDS.items() if name.endswith(ending)), None)
