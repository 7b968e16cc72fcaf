"""Prepared data on disk: stories as token ids in memory-mapped shards, with an index of the stories and a manifest beside them.

A prepared folder holds `manifest.json`, for a learnt vocabulary its `tokenizer.json`, and for each split numbered shards:
`train-00000.bin` has the tokens, story after story as `[prompt][story][end]`, little-endian uint16 where the vocabulary fits in it,
else uint32; `train-00000.idx` has one `INDEX` row a story. A shard's sha256 is taken over its `.bin` and then its `.idx`. Read here,
written by `engine.data.shard_writer`; nothing here knows where stories come from or how they are batched. Knows no torch.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.errors import CheckpointError, UsageError
from engine.settings import Ending
from engine.tokenizer import BytePairTokenizer, GPT2Tokenizer, Tokenizer, tokenizer_sha256

INDEX = np.dtype([("start", "<u8"), ("prompt", "<u4"), ("story", "<u4"), ("bytes", "<u4"), ("ending", "u1"), ("marks", "u1")])
"""One row a story: where its tokens start in the shard; tokens of its story prompt (0: none); tokens of the story itself (the end
token not counted); UTF-8 bytes of the story; 0 no ending, 1 happy, 2 sad; marks as the bits below."""

MARKED = 1
"""Bit of `marks`: topic and ending were given by people."""
GUESSED = 2
"""Bit of `marks`: topic and ending were guessed from the story."""
ENDINGS: tuple[Ending | None, ...] = (None, "happy", "sad")
"""What the numbers in `ending` mean."""

FORMAT = 1
MANIFEST, TOKENIZER, UNFINISHED = "manifest.json", "tokenizer.json", ".preparing.sqlite"
SplitName = Literal["train", "valid"]
SPLITS: tuple[SplitName, ...] = ("train", "valid")


def token_type(vocab_size: int) -> np.dtype[Any]:
    """The number format of tokens on disk."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def is_prepared(folder: Path) -> bool:
    """Whether the folder holds finished, prepared data (its files are not looked at; `Shards.open` does)."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and isinstance(manifest.get("splits"), dict) and "data_sha256" in manifest


class Shards:
    """A prepared folder, opened read-only through memory maps."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.tokenizer_sha256: str = manifest["tokenizer"]["sha256"]
        self.vocab_size: int = manifest["tokenizer"]["vocab_size"]
        self.end_id: int = manifest["tokenizer"]["end_id"]
        self.data_sha256: str = manifest["data_sha256"]
        self.synthetic: bool = manifest["synthetic"]
        self._splits = {name: Split(folder, manifest["splits"][name], token_type(self.vocab_size)) for name in SPLITS}

    @classmethod
    def open(cls, folder: Path) -> Shards:
        """The prepared data in `folder`.

        Raises `UsageError` where the folder is missing, holds nothing prepared, was never finished, is damaged (a file's size does
        not fit the manifest; `verify` looks at the contents) or has no training story.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder} with prepared data.")
        if not (folder / MANIFEST).is_file():
            if (folder / UNFINISHED).exists():
                raise UsageError(f"The data in {folder} are not prepared to the end; run the same preparation again to go on.")
            raise UsageError(f"{folder} holds no prepared data; `tinytales-tui data prepare` makes them.")
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            written = manifest["format"]
            if written == FORMAT:
                shards = cls(folder, manifest)
                shards._check()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"The manifest of the prepared data in {folder} cannot be read; prepare them again.") from error
        if written != FORMAT:
            raise UsageError(f"The data in {folder} were prepared by another version of the program; prepare them again.")
        return shards

    def _check(self) -> None:
        for name in SPLITS:
            for path, size in self._splits[name].files():
                found = path.stat().st_size if path.is_file() else None
                if found != size:
                    what = "is missing" if found is None else f"has {found:,} bytes and not {size:,}"
                    raise UsageError(f"The prepared data in {self.folder} are damaged: {path.name} {what}. Prepare them again.")
        if not len(self.split("train")):
            raise UsageError(f"The prepared data in {self.folder} hold no story to train on.")

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the shards were made with; raises `UsageError` where its file is damaged or another one."""
        if self.manifest["tokenizer"]["kind"] == "gpt2":
            tokenizer: Tokenizer = GPT2Tokenizer()
        else:
            try:
                tokenizer = BytePairTokenizer.load(self.folder / TOKENIZER)
            except CheckpointError as error:
                raise UsageError(f"The tokenizer of the prepared data in {self.folder} is missing or damaged.") from error
        if tokenizer_sha256(tokenizer) != self.tokenizer_sha256:
            raise UsageError(f"The tokenizer in {self.folder} is not the one its data were made with; prepare them again.")
        return tokenizer

    def split(self, name: SplitName) -> Split:
        """The stories to train on (`train`) or those held out (`valid`, which may be empty)."""
        return self._splits[name]

    def verify(self) -> None:
        """Read everything and compare it with the manifest; raises `UsageError` naming the first damaged shard."""
        for name in SPLITS:
            for shard in self.manifest["splits"][name]["shards"]:
                if shard_sha256(self.folder / shard["name"]) != shard["sha256"]:
                    raise UsageError(f"The prepared data in {self.folder} are damaged in {shard['name']}; prepare them again.")
        if data_sha256(self.manifest["splits"]) != self.data_sha256:
            raise UsageError(f"The manifest of the prepared data in {self.folder} is damaged; prepare them again.")


class Split:
    """The stories of one split, numbered from 0; their tokens form one stream over all shards."""

    def __init__(self, folder: Path, facts: dict[str, Any], kind: np.dtype[Any]) -> None:
        self.tokens: int = facts["tokens"]
        """All tokens on disk, prompts and end tokens too."""
        self.text_bytes: int = facts["text_bytes"]
        """UTF-8 bytes of all stories."""
        self._folder, self._kind, self._shards = folder, kind, facts["shards"]
        self._first = np.cumsum([0, *(shard["stories"] for shard in self._shards)], dtype=np.int64)
        self._base = np.cumsum([0, *(shard["tokens"] for shard in self._shards)], dtype=np.int64)
        self._maps: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        if (self._first[-1], self._base[-1]) != (facts["stories"], facts["tokens"]):
            raise ValueError("The shards' counts do not add up to the split's.")

    def __len__(self) -> int:
        return int(self._first[-1])

    def files(self) -> Iterator[tuple[Path, int]]:
        """Every file of the split with the size in bytes that it must have."""
        for shard in self._shards:
            yield self._folder / f"{shard['name']}.bin", shard["tokens"] * self._kind.itemsize
            yield self._folder / f"{shard['name']}.idx", shard["stories"] * INDEX.itemsize

    def rows(self, ids: np.ndarray | None = None) -> np.ndarray:
        """`INDEX` rows of the stories `ids` (None: all, in order), copied, with `start` counted in the stream of all shards."""
        if ids is None:
            ids = np.arange(len(self))
        ids = np.asarray(ids, np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= len(self)):
            raise IndexError(f"There are stories 0 to {len(self) - 1}, and others were asked for.")
        found = np.empty(ids.shape, INDEX)
        shards = np.searchsorted(self._first, ids, "right") - 1
        for number in np.unique(shards):
            here = shards == number
            found[here] = self._open(int(number))[1][ids[here] - self._first[number]]
            found["start"][here] += np.uint64(self._base[number])
        return found

    def parts(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Prompt ids (none: empty) and story ids of story `i`, without the end token: views on the memory map."""
        if not 0 <= i < len(self):
            raise IndexError(f"There are stories 0 to {len(self) - 1}, and {i} is none of them.")
        number = int(np.searchsorted(self._first, i, "right")) - 1
        tokens, index = self._open(number)
        row = index[i - int(self._first[number])]
        start, prompt, story = int(row["start"]), int(row["prompt"]), int(row["story"])
        return tokens[start : start + prompt], tokens[start + prompt : start + prompt + story]

    def window(self, start: int, length: int) -> np.ndarray:
        """Tokens `start` … `start + length` of the whole stream; a view where they lie in one shard, else a copy.

        Raises `IndexError` where the stream (`tokens` long) does not reach so far.
        """
        if start < 0 or length < 0 or start + length > self.tokens:
            raise IndexError(f"Tokens {start} to {start + length} do not all lie in the stream of {self.tokens}.")
        if not length:
            return np.empty(0, self._kind)
        number = int(np.searchsorted(self._base, start, "right")) - 1
        pieces = []
        while length:
            at = start - int(self._base[number])
            piece = self._open(number)[0][at : at + length]
            pieces.append(piece)
            start, length, number = start + len(piece), length - len(piece), number + 1
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _open(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number not in self._maps:
            path = self._folder / self._shards[number]["name"]
            self._maps[number] = (
                np.memmap(path.with_suffix(".bin"), self._kind, "r"),
                np.memmap(path.with_suffix(".idx"), INDEX, "r"),
            )
        return self._maps[number]


def shard_sha256(path: Path) -> str:
    """sha256 over a shard's `.bin` and then its `.idx`; `path` is without either suffix."""
    digest = hashlib.sha256()
    for ending in (".bin", ".idx"):
        with path.with_suffix(ending).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def data_sha256(splits: dict[str, Any]) -> str:
    """One hash over the hashes of all shards, training shards first, in order."""
    names = [f"{shard['name']} {shard['sha256']}" for split in SPLITS for shard in splits[split]["shards"]]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
