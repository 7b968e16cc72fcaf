"""Small SentencePiece vocabularies, trained on the sentences of `small`, as their own files and as llama2.c's."""

from __future__ import annotations

import functools
import io
import struct

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from small import SENTENCES


@functools.cache
def model(size: int = 400, squeeze: bool = False) -> bytes:
    """A SentencePiece model, trained here with the settings of llama2.c's own vocabularies."""
    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=out,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=squeeze,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    return out.getvalue()


def llama2c_bin(data: bytes) -> bytes:
    """The same pieces as llama2.c writes them: a length, then score, length and bytes of each."""
    processor = SentencePieceProcessor(model_proto=data)
    rows = []
    for token in range(processor.get_piece_size()):
        piece = {1: "\n<s>\n", 2: "\n</s>\n"}.get(token, processor.id_to_piece(token)).replace("▁", " ").encode()
        rows.append((processor.get_score(token), piece))
    longest = struct.pack("<I", max(len(piece) for _, piece in rows))
    return longest + b"".join(struct.pack("<fI", score, len(piece)) + piece for score, piece in rows)
