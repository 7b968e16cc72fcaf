"""Writing prepared data: stories appended to shards, commits that a kill cannot undo, the manifest last.

The format is the one of `engine.data.shards`, which reads it. Nothing here knows where stories come from. Knows no torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engine.data.shards import ENDINGS, FORMAT, INDEX, MANIFEST, TOKENIZER, SplitName, data_sha256, shard_sha256, token_type
from engine.errors import UsageError
from engine.files import sync_folder, write_json, write_text
from engine.settings import Ending
from engine.tokenizer import GPT2Tokenizer, Tokenizer, tokenizer_sha256


class ShardWriter:
    """Appends the stories of one split to shards; what is committed survives a kill, what is closed is there whole.

    An open shard lies aside as `….bin.part` and `….idx.part`, is fsynced and renamed when it is full or at the end. `commit` makes
    what was added so far lasting and returns a state (plain JSON); a writer made from it goes on exactly there, whatever happened
    to the files in between.
    """

    def __init__(
        self,
        folder: Path,
        split: SplitName,
        tokenizer: Tokenizer,
        shard_tokens: int = 1 << 24,
        state: dict[str, Any] | None = None,
    ) -> None:
        self._folder, self._split, self._limit, self._end = folder, split, shard_tokens, tokenizer.end_id
        self._kind = token_type(tokenizer.vocab_size)
        self._closed: list[dict[str, Any]] = [dict(shard) for shard in state["closed"]] if state else []
        self._open: dict[str, Any] = dict(state["open"]) if state else self._fresh()
        self._files: tuple[BinaryIO, BinaryIO] | None = None
        self._restore()

    @property
    def stories(self) -> int:
        return sum(shard["stories"] for shard in self._closed) + self._open["stories"]

    @property
    def tokens(self) -> int:
        return sum(shard["tokens"] for shard in self._closed) + self._open["tokens"]

    def add(
        self, prompt: Sequence[int], story: Sequence[int], text_bytes: int, ending: Ending | None = None, marks: int = 0
    ) -> None:
        """Append one story (ids without the end token); a full shard is closed first, so the last story is always in an open one."""
        count = len(prompt) + len(story) + 1
        if self._open["stories"] and self._open["tokens"] + count > self._limit:
            self._close()
        tokens, index = self._files or self._start()
        row = np.array((self._open["tokens"], len(prompt), len(story), text_bytes, ENDINGS.index(ending), marks), INDEX)
        tokens.write(np.array([*prompt, *story, self._end], self._kind).tobytes())
        index.write(row.tobytes())
        self._count(1, count, text_bytes, bool(len(prompt)))

    def take_last(self) -> tuple[np.ndarray, np.ndarray, np.void]:
        """Take the last story out again: its prompt ids, story ids and index row. There must be one.

        It leaves the files only when the shard is closed, so a state that was committed before stays good until another one is.
        """
        tokens, index = self._files or self._start()
        for file in (tokens, index):
            file.flush()
        index.seek((self._open["stories"] - 1) * INDEX.itemsize)
        row = np.frombuffer(index.read(INDEX.itemsize), INDEX)[0]
        tokens.seek(int(row["start"]) * self._kind.itemsize)
        ids = np.frombuffer(tokens.read((int(row["prompt"]) + int(row["story"]) + 1) * self._kind.itemsize), self._kind)
        self._count(-1, -len(ids), -int(row["bytes"]), bool(row["prompt"]))
        return ids[: row["prompt"]], ids[row["prompt"] : -1], row

    def commit(self) -> dict[str, Any]:
        """Make all that was added lasting (fsync); the state from which a writer goes on here."""
        for file in self._files or ():
            file.flush()
            os.fsync(file.fileno())
        return {"closed": [dict(shard) for shard in self._closed], "open": dict(self._open)}

    def finish(self) -> dict[str, Any]:
        """Close the last shard; what the manifest says of this split."""
        if self._open["stories"]:
            self._close()
        for file in self._files or ():  # a shard whose only story was taken out again
            file.close()
        for path in self._parts():
            path.unlink(missing_ok=True)
        totals = {key: sum(shard[key] for shard in self._closed) for key in ("stories", "tokens", "text_bytes", "prompted")}
        return totals | {"shards": self._closed}

    def _fresh(self) -> dict[str, Any]:
        return {"name": f"{self._split}-{len(self._closed):05d}", "stories": 0, "tokens": 0, "text_bytes": 0, "prompted": 0}

    def _count(self, stories: int, tokens: int, text_bytes: int, prompted: bool) -> None:
        self._open["stories"] += stories
        self._open["tokens"] += tokens
        self._open["text_bytes"] += text_bytes
        self._open["prompted"] += stories * prompted

    def _parts(self) -> list[Path]:
        return [self._folder / f"{self._open['name']}{ending}.part" for ending in (".bin", ".idx")]

    def _sizes(self) -> tuple[int, int]:
        """Bytes that the two parts must have."""
        return self._open["tokens"] * self._kind.itemsize, self._open["stories"] * INDEX.itemsize

    def _restore(self) -> None:
        """Bring the files to where the state was taken: reopen a shard that was closed since, drop what was added since."""
        for part, size in zip(self._parts(), self._sizes(), strict=True):
            if part.with_suffix("").exists():
                part.with_suffix("").replace(part)
            if not size:
                part.unlink(missing_ok=True)
            elif not part.exists() or part.stat().st_size < size:
                raise UsageError(f"The unfinished data in {self._folder} are damaged: {part.name} is too short. Start afresh.")
            else:
                os.truncate(part, size)
        kept = {f"{shard['name']}{ending}" for shard in self._closed for ending in (".bin", ".idx")}
        kept |= {part.name for part in self._parts()}
        for path in self._folder.glob(f"{self._split}-[0-9]*"):
            if path.name not in kept:
                path.unlink()

    def _start(self) -> tuple[BinaryIO, BinaryIO]:
        tokens, index = self._parts()
        self._files = tokens.open("a+b", buffering=1 << 18), index.open("a+b", buffering=1 << 14)
        return self._files

    def _close(self) -> None:
        parts = self._parts()
        self.commit()
        for file in self._files or ():
            file.close()
        self._files = None
        for part, size in zip(parts, self._sizes(), strict=True):
            os.truncate(part, size)  # of a story that was taken out
            part.replace(part.with_suffix(""))
        sync_folder(self._folder)
        self._closed.append(self._open | {"sha256": shard_sha256(self._folder / self._open["name"])})
        self._open = self._fresh()


def write_manifest(folder: Path, tokenizer: Tokenizer, splits: dict[str, Any], facts: dict[str, Any]) -> None:
    """Finish a prepared folder: `splits` is what the two writers' `finish` gave by name, `facts` the sources, settings and so on.

    A learnt vocabulary is written beside it; the manifest comes last, so a folder with a manifest is complete.
    """
    gpt2 = isinstance(tokenizer, GPT2Tokenizer)
    if not gpt2:
        write_text(folder / TOKENIZER, tokenizer.to_json())
    about = {
        "kind": "gpt2" if gpt2 else "bpe",
        "name": tokenizer.name,
        "vocab_size": tokenizer.vocab_size,
        "end_id": tokenizer.end_id,
        "sha256": tokenizer_sha256(tokenizer),
    }
    manifest = {"format": FORMAT, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "synthetic": False} | facts
    write_json(folder / MANIFEST, manifest | {"tokenizer": about, "splits": splits, "data_sha256": data_sha256(splits)})
