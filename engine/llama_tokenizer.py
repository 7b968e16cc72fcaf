"""Llama's kind of vocabulary: BPE over characters with a space written as ▁, and bytes where a character is unknown.

Read from a SentencePiece `tokenizer.model`, from llama2.c's `tokenizer.bin`, or from a Hub `tokenizer.json` with byte fallback.
`encode` puts a space before every text, as those models were trained; `decode`, which is for whole texts, drops it again, and
`token_bytes`, which is for a stream, never does. Knows no torch.
"""

from __future__ import annotations

import heapq
import json
import math
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError
from engine.tokenizer import BytePairTokenizer, Tokenizer

SPACE = "▁"
LARGEST_FILE = 1 << 26
"""Bytes; Llama 2's three files have 0.4 to 3.6 million."""
MOST_TOKENS = 1 << 20
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_ENDS = ("</s>", "<|endoftext|>", "<|end_of_text|>")
_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer.bin", "tok[0-9]*.model", "tok[0-9]*.bin")

Encode = Callable[[list[str]], list[list[int]]]
"""Token ids of each of several texts."""


@dataclass(frozen=True)
class Piece:
    """One token of a vocabulary."""

    text: str
    """With ▁ for a space."""
    score: float
    """The higher, the sooner two tokens become this one."""
    special: bool = False
    """Stands for no text: the beginning, the end, the unknown."""

    @property
    def byte(self) -> int | None:
        """The byte that `<0xHH>` stands for."""
        match = None if self.special else _BYTE.fullmatch(self.text)
        return int(match[1], 16) if match else None

    @property
    def bytes(self) -> bytes:
        if self.special:
            return b""
        return self.text.replace(SPACE, " ").encode() if self.byte is None else bytes([self.byte])


class LlamaTokenizer:
    """A `Tokenizer` (engine.tokenizer) with a Llama's vocabulary; made by `read_model`, `read_bin` or `read_json`."""

    def __init__(
        self,
        spelled: Sequence[bytes],
        end_id: int,
        encode: Encode,
        to_json: Callable[[], str],
        pieces: Sequence[Piece] | None = None,
        model: bytes | None = None,
    ) -> None:
        self._bytes, self._encode, self._to_json = spelled, encode, to_json
        self.pieces = pieces
        """Spelling and score of every token; None where the file has no scores but the merges themselves."""
        self.model = model
        """The SentencePiece model that it was read from, as it stands in its file."""
        self.vocab_size = len(spelled)
        self.end_id = end_id
        self.name = f"Llama, {self.vocab_size:,} tokens"
        self.puts_space_first = self._join(self.encode("a")).startswith(b" ")
        """Whether `encode` puts a space before a text. Who streams a text from its very first token drops one leading space then."""

    def to_json(self) -> str:
        """The contents of a `tokenizer.json` with this vocabulary, for other programs."""
        return self._to_json()

    def encode(self, text: str) -> list[int]:
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text."""
        return self._encode([text.encode("utf-8", "replace").decode("utf-8") for text in texts])  # no lone surrogates

    def decode(self, ids: Iterable[int]) -> str:
        """The text of all its token ids, without the space that `encode` puts first."""
        data = self._join(ids)
        return (data[1:] if self.puts_space_first and data.startswith(b" ") else data).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        return self._bytes[token] if token < self.vocab_size else b""

    def _join(self, ids: Iterable[int]) -> bytes:
        return b"".join(self.token_bytes(token) for token in ids)


def load_beside(folder: Path, rows: int, source: str) -> Tokenizer:
    """The vocabulary in a folder that fits a model with that many rows; raises `CheckpointError` where none does.

    Of several the first with just as many tokens is taken, then the first with fewer. A byte-level `tokenizer.json` will do too.
    """
    smaller: Tokenizer | None = None
    found = [path for pattern in _FILES for path in sorted(folder.glob(pattern)) if path.is_file()]
    for path in found:
        tokenizer = read(path)
        if tokenizer.vocab_size == rows:
            return tokenizer
        if tokenizer.vocab_size < rows:
            smaller = smaller or tokenizer
    if smaller is not None:
        return smaller
    if found:
        raise CheckpointError(
            f"{found[0].name} beside {source} has more tokens than the model's {rows:,} rows; it belongs to another."
        )
    raise CheckpointError(
        f"{source} needs its vocabulary: put its tokenizer.json, tokenizer.model or tokenizer.bin beside the weights."
    )


def read(path: Path) -> Tokenizer:
    """A vocabulary from a file of any of the three kinds, by its name's end."""
    return {".model": read_model, ".bin": read_bin}.get(path.suffix, read_json)(path)


def read_model(path: Path) -> LlamaTokenizer:
    """From a SentencePiece model; texts are divided by the sentencepiece library itself. Raises `CheckpointError`."""
    data = _contents(path)
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise CheckpointError(
            f"{path.name} needs the sentencepiece package; install it with pip install sentencepiece."
        ) from error
    try:
        model = SentencePieceProcessor(model_proto=data)
        ids = range(model.get_piece_size())
        if not 0 < len(ids) <= MOST_TOKENS:
            raise ValueError(f"{len(ids)} tokens")
        pieces = [Piece(model.id_to_piece(i), model.get_score(i), model.is_control(i) or model.is_unknown(i)) for i in ids]
        end = model.eos_id()
    except Exception as error:  # the library raises RuntimeError, ValueError and others
        raise _damaged(path, error) from error
    if end < 0:
        raise CheckpointError(f"The vocabulary {path.name} has no token for the end of a text, so no story could ever end.")
    unknown = model.unk_id()
    return LlamaTokenizer(
        [piece.bytes for piece in pieces],
        end,
        lambda texts: [model.encode(texts[0])] if len(texts) == 1 else model.encode(texts),  # a list starts threads
        lambda: _hub_json(pieces, unknown),
        pieces,
        data,
    )


def read_bin(path: Path) -> LlamaTokenizer:
    """From llama2.c's own file: the longest piece's length, then score, length and bytes of each. Raises `CheckpointError`.

    Tokens 0, 1 and 2 are the unknown, the beginning and the end, and 3 to 258 are the bytes, as llama2.c's run.c takes them.
    """
    data = _contents(path)
    pieces: list[Piece] = []
    try:
        (longest,), at = struct.unpack_from("<I", data), 4
        while at < len(data):
            score, length = struct.unpack_from("<fI", data, at)
            at += 8 + length
            if length > longest or at > len(data) or math.isnan(score):
                raise ValueError(f"token {len(pieces)} does not fit into the file")
            text = data[at - length : at].decode("utf-8").replace(" ", SPACE)
            pieces.append(Piece(text.strip() if len(pieces) < 3 else text, score, len(pieces) < 3))
    except (struct.error, ValueError) as error:
        raise _damaged(path, error) from error
    if [piece.byte for piece in pieces[3:259]] != list(range(256)):
        raise CheckpointError(
            f"The vocabulary {path.name} is damaged or not llama2.c's: its tokens 3 to 258 are not the 256 bytes."
        )
    if len({piece.text for piece in pieces}) < len(pieces):
        raise CheckpointError(f"The vocabulary {path.name} is damaged: it holds a token twice.")
    divide = _Merging(pieces)
    return LlamaTokenizer(
        [piece.bytes for piece in pieces], 2, lambda texts: [divide(text) for text in texts], lambda: _hub_json(pieces, 0), pieces
    )


def read_json(path: Path) -> Tokenizer:
    """From a Hub `tokenizer.json`: BPE with byte fallback, or byte-level BPE. Raises `CheckpointError`."""
    from tokenizers import Tokenizer as Backend

    try:
        text = _contents(path).decode("utf-8")
        model = json.loads(text)["model"]
        kind, fallback = model.get("type", "BPE"), model.get("byte_fallback")
        if kind != "BPE" or not fallback:
            return BytePairTokenizer.load(path)
        backend: Any = Backend.from_str(text)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception for everything
        raise _damaged(path, error) from error
    backend.encode_special_tokens = True  # what a person types is never special
    backend.no_truncation()
    backend.no_padding()
    names = {token: name for name, token in backend.get_vocab(with_added_tokens=True).items()}
    size = max(names, default=-1) + 1
    if not 0 < size <= MOST_TOKENS:
        raise CheckpointError(f"The vocabulary {path.name} is damaged: it claims {size:,} tokens.")
    special = {token for token, added in backend.get_added_tokens_decoder().items() if added.special}
    special |= {token for token, name in names.items() if name == model.get("unk_token")}
    end = next((token for name in _ENDS if (token := backend.token_to_id(name)) is not None), None)
    if end is None:
        raise CheckpointError(
            f"The vocabulary {path.name} has none of the tokens {', '.join(_ENDS)}, so no story could ever end."
        )
    return LlamaTokenizer(
        [Piece(names.get(token, ""), 0.0, token in special).bytes for token in range(size)],
        end,
        lambda texts: [row.ids for row in backend.encode_batch_fast(texts, add_special_tokens=False)],
        backend.to_str,
    )


class _Merging:
    """llama2.c's way of dividing a text: single characters, of which the neighbours with the best score join until none can."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        plain = [(token, piece) for token, piece in enumerate(pieces) if not piece.special and piece.byte is None]
        self._known = {piece.text: (token, piece.score) for token, piece in plain}

    def __call__(self, text: str) -> list[int]:
        parts: list[str] = list((" " + text).replace(" ", SPACE)) if text else []
        after, before = [*range(1, len(parts)), -1], list(range(-1, len(parts) - 1))
        waiting: list[tuple[float, int, int, str]] = []

        def consider(left: int, right: int) -> None:
            if left >= 0 and right >= 0 and (known := self._known.get(parts[left] + parts[right])):
                heapq.heappush(waiting, (-known[1], left, right, parts[left] + parts[right]))

        for left in range(len(parts) - 1):
            consider(left, left + 1)
        while waiting:
            _, left, right, both = heapq.heappop(waiting)
            if not parts[left] or not parts[right] or parts[left] + parts[right] != both:
                continue  # one of the two has joined another meanwhile
            parts[left], parts[right] = both, ""
            after[left] = after[right]
            if after[left] >= 0:
                before[after[left]] = left
            consider(before[left], left)
            consider(left, after[left])
        ids: list[int] = []
        for part in filter(None, parts):
            known = self._known.get(part)
            ids += [known[0]] if known else [byte + 3 for byte in part.encode()]
        return ids


def _hub_json(pieces: Sequence[Piece], unknown: int) -> str:
    """A `tokenizer.json`: each token's merges are all pairs of tokens that make it, the best score first."""
    from tokenizers import AddedToken, decoders, models, normalizers
    from tokenizers import Tokenizer as Backend

    ids = {piece.text: token for token, piece in enumerate(pieces)}
    plain = {
        piece.text: token for piece, token in zip(pieces, ids.values(), strict=True) if not piece.special and piece.byte is None
    }
    best_first = sorted(plain, key=lambda text: -pieces[plain[text]].score)
    merges = []
    for text in best_first:
        pairs = [(text[:at], text[at:]) for at in range(1, len(text))]
        merges += sorted(
            (pair for pair in pairs if pair[0] in plain and pair[1] in plain), key=lambda p: (plain[p[0]], plain[p[1]])
        )
    fallback = all(f"<0x{byte:02X}>" in ids for byte in range(256))
    unknown_name = pieces[unknown].text if unknown >= 0 else None
    backend = Backend(models.BPE(vocab=ids, merges=merges, unk_token=unknown_name, fuse_unk=True, byte_fallback=fallback))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(piece.text, special=True, normalized=False) for piece in pieces if piece.special])
    return backend.to_str()


def _contents(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise CheckpointError(f"The vocabulary {path.name} is far too large for what it should be.")
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(path, error) from error
    if not data:
        raise CheckpointError(f"The vocabulary {path.name} is empty.")
    return data


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = str(error).strip().splitlines()[0].rstrip(".")[:200] if str(error).strip() else type(error).__name__
    return CheckpointError(f"The vocabulary {path.name} is missing or damaged ({reason}).")
