"""llama2.c's run.c in Python, function by function: how it reads its two files, computes, and divides and joins texts.

Written after run.c alone (version 0 of the format), so that an exported model is judged by what will read it. Shares no code with the
engine.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


class Transformer:
    """`read_checkpoint`, `memory_map_weights` and `forward`."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self.dim, self.hidden, self.layers, self.heads, self.kv_heads, vocab, self.seq_len = struct.unpack_from("<7i", data)
        shared = vocab > 0  # a negative vocabulary marks unshared weights
        self.vocab = abs(vocab)
        self.head_size = self.dim // self.heads
        self.kv_dim = self.dim * self.kv_heads // self.heads
        floats, at = np.frombuffer(data, "<f4", offset=28), 0

        def take(*shape: int) -> np.ndarray:
            nonlocal at
            at += int(np.prod(shape))
            return floats[at - int(np.prod(shape)) : at].reshape(shape)

        n, d = self.layers, self.dim
        self.table = take(self.vocab, d)
        self.rms_att = take(n, d)
        self.wq, self.wk, self.wv = take(n, d, d), take(n, self.kv_dim, d), take(n, self.kv_dim, d)
        self.wo = take(n, d, d)
        self.rms_ffn = take(n, d)
        self.w1, self.w2, self.w3 = take(n, self.hidden, d), take(n, d, self.hidden), take(n, self.hidden, d)
        self.rms_final = take(d)
        take(self.seq_len, self.head_size // 2)  # skip what used to be freq_cis_real
        take(self.seq_len, self.head_size // 2)  # and freq_cis_imag
        self.wcls = self.table if shared else take(self.vocab, d)
        self.left = len(floats) - at
        self.keys = np.zeros((n, self.seq_len, self.kv_dim), np.float32)
        self.values = np.zeros((n, self.seq_len, self.kv_dim), np.float32)

    def forward(self, token: int, pos: int) -> np.ndarray:
        """Logits (vocab) after `token` at place `pos`."""
        x = self.table[token].copy()
        for layer in range(self.layers):
            xb = rmsnorm(x, self.rms_att[layer])
            q, k, v = self.wq[layer] @ xb, self.wk[layer] @ xb, self.wv[layer] @ xb
            for i in range(0, self.dim, 2):
                head_dim = i % self.head_size
                angle = pos * (1.0 / 10000.0 ** (head_dim / self.head_size))
                fcr, fci = np.cos(angle), np.sin(angle)
                for vector in (q, k) if i < self.kv_dim else (q,):
                    v0, v1 = vector[i], vector[i + 1]
                    vector[i], vector[i + 1] = v0 * fcr - v1 * fci, v0 * fci + v1 * fcr
            self.keys[layer, pos], self.values[layer, pos] = k, v
            out = np.zeros(self.dim, np.float32)
            for h in range(self.heads):
                mine = slice(h * self.head_size, (h + 1) * self.head_size)
                start = (h // (self.heads // self.kv_heads)) * self.head_size
                its = slice(start, start + self.head_size)
                scores = self.keys[layer, : pos + 1, its] @ q[mine] / np.sqrt(self.head_size)
                scores = np.exp(scores - scores.max())
                out[mine] = (scores / scores.sum()) @ self.values[layer, : pos + 1, its]
            x = x + self.wo[layer] @ out
            xb = rmsnorm(x, self.rms_ffn[layer])
            h1 = self.w1[layer] @ xb
            x = x + self.w2[layer] @ (h1 / (1 + np.exp(-h1)) * (self.w3[layer] @ xb))
        return self.wcls @ rmsnorm(x, self.rms_final)


def rmsnorm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return weight * (x / np.sqrt((x * x).mean() + 1e-5))


class Tokenizer:
    """`build_tokenizer`, `encode` and `decode`."""

    def __init__(self, path: Path, vocab_size: int) -> None:
        data = path.read_bytes()
        (self.longest,), at = struct.unpack_from("<i", data), 4
        self.vocab: list[bytes] = []
        self.scores: list[float] = []
        for _ in range(vocab_size):
            score, length = struct.unpack_from("<fi", data, at)
            self.scores.append(score)
            self.vocab.append(data[at + 8 : at + 8 + length])
            at += 8 + length
        self.left = len(data) - at
        self.known = {text: token for token, text in enumerate(self.vocab) if text}

    def encode(self, text: str, bos: bool = True) -> list[int]:
        tokens = [1] if bos else []
        if text:
            tokens.append(self.known[b" "])  # the dummy prefix
        for letter in text:
            data = letter.encode()
            tokens += [self.known[data]] if data in self.known else [byte + 3 for byte in data]
        while True:
            best, at = -1e10, -1
            for i in range(len(tokens) - 1):
                token = self.known.get(self.vocab[tokens[i]] + self.vocab[tokens[i + 1]])
                if token is not None and self.scores[token] > best:
                    best, at, joined = self.scores[token], i, token
            if at < 0:
                return tokens
            tokens[at : at + 2] = [joined]

    def decode(self, previous: int, token: int) -> bytes:
        piece = self.vocab[token]
        if previous == 1 and piece.startswith(b" "):
            piece = piece[1:]
        if len(piece) == 6 and piece.startswith(b"<0x") and piece.endswith(b">"):
            return bytes([int(piece[3:5], 16)])
        return piece


def generate(model: Transformer, words: Tokenizer, prompt: str, steps: int) -> tuple[list[int], bytes]:
    """`generate` at temperature 0: the tokens after the first, and what is printed of them."""
    given = words.encode(prompt)
    token, pos, tokens, printed = given[0], 0, [], b""
    while pos < steps:
        logits = model.forward(token, pos)
        pos += 1
        following = given[pos] if pos < len(given) else int(logits.argmax())
        if following == 1:
            break
        printed += words.decode(token, following)
        tokens.append(following)
        token = following
    return tokens, printed
