"""One decoder for every story model: a pre-norm transformer whose switches (`ModelConfig`) cover the TinyStories families.

Reads token ids and writes logits; knows no text, no files, no sampling. Shapes in names: B batch, T new positions, S positions
that are attended to, H query heads, K key/value heads, D dimensions a head, C width. A cache (`engine.cache.KeyValueCache`) is
passed in by who generates; without one the whole sequence is computed, which is what training and the tests do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.settings import ModelConfig

if TYPE_CHECKING:
    from engine.cache import KeyValueCache, StaticCache


class Decoder(nn.Module):
    """`Decoder(config)(ids_BT) -> logits_BTV` in float32.

    Sources: GPT-2 (Radford et al. 2019), rotary positions (Su et al. 2021), SwiGLU (Shazeer 2020), RMSNorm (Zhang and Sennrich
    2019), grouped-query attention (Ainslie et al. 2023).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = make_embedding(config.vocab_size, config.width)
        self.position_embedding = make_embedding(config.context, config.width) if config.positions == "learned" else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = make_norm(config)
        self.head = nn.Linear(config.width, config.vocab_size, bias=config.head_bias)
        if config.tied_head:
            self.head.weight = self.embedding.weight
        self.rotary = RotaryTable(config) if config.positions == "rope" else None

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Fresh weights, for a model that is to be trained, as in GPT-2.

        Normal with deviation 0.02, the two residual projections divided by √(2 L); biases zero, norms one.
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.constant_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0)
                continue
            residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
            deviation = 0.02 / math.sqrt(2 * self.config.layers) if residual else 0.02
            nn.init.normal_(parameter, 0.0, deviation, generator=generator)

    def forward(self, ids_BT: Tensor, cache: KeyValueCache | None = None, last_only: bool = False) -> Tensor:
        """Logits of shape (B, T, vocab), or (B, 1, vocab) of the last position with `last_only`.

        With a cache, `ids_BT` are the tokens after those that the cache holds, and the cache takes them up. Without one, positions
        start at 0. Raises ValueError where learned positions run out.
        """
        x_BTC = self.hidden(ids_BT, cache)
        if last_only:
            x_BTC = x_BTC[:, -1:]
        return self.logits(x_BTC)

    def hidden(
        self,
        ids_BT: Tensor,
        cache: KeyValueCache | StaticCache | None = None,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """The normalised residual stream, (B, T, C), that the head reads.

        For rows packed with several stories, `positions` (B, T) are those within each story and `mask` (B, 1, T, T) says which
        earlier ones each position sees; neither goes together with a `KeyValueCache`. A `StaticCache` needs the positions that its
        `begin` gave.
        """
        start, new = (cache.length if cache else 0), ids_BT.shape[1]
        x_BTC = self.embedding(ids_BT)
        if self.position_embedding is not None:
            if start + new > self.config.context:
                raise ValueError(f"{start + new} positions, but the model has learned {self.config.context}")
            at = self.position_embedding.weight[start : start + new] if positions is None else self.position_embedding(positions)
            x_BTC = x_BTC + at
        x_BTC = self.dropout(x_BTC)
        rotation = self.rotary.slice(start, new, x_BTC.device, positions) if self.rotary else None
        if rotation and cache:
            rotation = rotation[0].to(x_BTC.dtype), rotation[1].to(x_BTC.dtype)  # once for all layers
        for layer, block in enumerate(self.blocks):
            x_BTC = block(x_BTC, rotation, cache, layer, mask)
        if cache:
            cache.advance(new)
        return self.norm(x_BTC)

    def logits(self, x_BTC: Tensor) -> Tensor:
        """The head: float32 logits, (B, T, vocab)."""
        return self.head(x_BTC).float()

    def parameter_count(self) -> int:
        """Parameters, a tied head counted once."""
        return sum(parameter.numel() for parameter in self.parameters())


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = make_norm(config)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BTC: Tensor,
        rotation: Rotation | None,
        cache: KeyValueCache | StaticCache | None,
        layer: int,
        mask: Tensor | None = None,
    ) -> Tensor:
        x_BTC = x_BTC + self.dropout(self.attention(self.attention_norm(x_BTC), rotation, cache, layer, mask))
        return x_BTC + self.dropout(self.mlp(self.mlp_norm(x_BTC)))


class Attention(nn.Module):
    """Causal self-attention with one fused query/key/value projection."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = config.heads, config.key_value_heads, config.dim_per_head
        self.scale = 1.0 / math.sqrt(self.dim) if config.attention_scale is None else config.attention_scale
        reach = config.context if config.positions == "rope" else None  # rotary text slides on, but sees no farther back
        self.window = min((size for size in (config.window(layer), reach) if size), default=None)
        self.style = config.rope_style
        self.qkv = nn.Linear(config.width, (self.heads + 2 * self.kv_heads) * self.dim, bias=config.qkv_bias)
        self.out = nn.Linear(self.heads * self.dim, config.width, bias=config.attention_out_bias)

    def forward(
        self,
        x_BTC: Tensor,
        rotation: Rotation | None,
        cache: KeyValueCache | StaticCache | None,
        layer: int,
        mask: Tensor | None = None,
    ) -> Tensor:
        batch, new, _ = x_BTC.shape
        qkv = self.qkv(x_BTC).view(batch, new, self.heads + 2 * self.kv_heads, self.dim).transpose(1, 2)
        q_BHTD, k_BKTD, v_BKTD = qkv.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
        if rotation is not None:
            q_BHTD = rotate(q_BHTD, rotation, self.style)
            k_BKTD = rotate(k_BKTD, rotation, self.style)
        if cache is not None:
            k_BKSD, v_BKSD, mask_TS = cache.update(layer, k_BKTD, v_BKTD, self.window)
        else:
            k_BKSD, v_BKSD = k_BKTD, v_BKTD
            mask_TS = window_mask(new, self.window, x_BTC.device)
            if mask is not None:
                mask_TS = mask if mask_TS is None else mask & mask_TS
        y_BHTD = F.scaled_dot_product_attention(
            q_BHTD,
            k_BKSD,
            v_BKSD,
            attn_mask=mask_TS,
            is_causal=mask_TS is None and new > 1,
            scale=self.scale,
            enable_gqa=self.kv_heads != self.heads,
        )
        return self.out(y_BHTD.transpose(1, 2).reshape(batch, new, self.heads * self.dim))


class FeedForward(nn.Module):
    """GELU (exact or tanh), or SwiGLU with gate and up fused into one projection (gate first)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind = config.mlp
        self.up = nn.Linear(config.width, config.hidden * (2 if self.kind == "swiglu" else 1), bias=config.mlp_bias)
        self.down = nn.Linear(config.hidden, config.width, bias=config.mlp_bias)

    def forward(self, x_BTC: Tensor) -> Tensor:
        h = self.up(x_BTC)
        if self.kind == "swiglu":
            gate, up = h.chunk(2, dim=-1)
            return self.down(F.silu(gate) * up)
        return self.down(F.gelu(h, approximate="tanh" if self.kind == "gelu_tanh" else "none"))


def make_embedding(rows: int, width: int) -> nn.Embedding:
    """An embedding without torch's own first values, which on the meta device would cost 1.7 s of imports."""
    return nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)


def make_norm(config: ModelConfig) -> nn.Module:
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.width, eps=config.norm_eps)
    return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.norm_bias)


def window_mask(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Which of `length` positions each of them sees, (T, T) booleans: key j by query i iff i - window < j <= i.

    None where the window hides nothing: plain causal attention, which needs no mask.
    """
    if window is None or window >= length:
        return None
    query, key = torch.arange(length, device=device)[:, None], torch.arange(length, device=device)[None, :]
    return (key <= query) & (key > query - window)


Rotation = tuple[Tensor, Tensor]
"""Cosine and sine for the positions at hand, each (T, R), or (B, 1, T, R), with R the number of rotated dimensions."""


class RotaryTable:
    """Cosines and sines of all positions so far; grows by doubling, so a story may outrun the context."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.table: Rotation | None = None

    def slice(self, start: int, new: int, device: torch.device, positions: Tensor | None = None) -> Rotation:
        """Cosine and sine of positions start … start + new - 1, or of the given ones (B, T), all below start + new."""
        if self.table is None or self.table[0].shape[0] < start + new or self.table[0].device != device:
            self.table = self._compute(max(self.config.context, 2 * (start + new)), device)
        cos, sin = self.table
        if positions is not None:
            return cos[positions][:, None], sin[positions][:, None]
        return cos[start : start + new], sin[start : start + new]

    @torch.inference_mode(False)  # a table first made while sampling must serve training too
    def _compute(self, length: int, device: torch.device) -> Rotation:
        size = self.config.rotary_dim
        frequencies = 1.0 / self.config.rope_theta ** (torch.arange(0, size, 2, device=device).float() / size)
        angles = torch.outer(torch.arange(length, device=device).float(), frequencies)
        both = torch.cat((angles, angles), -1) if self.config.rope_style == "half" else angles.repeat_interleave(2, dim=-1)
        return both.cos(), both.sin()


def rotate(x_BHTD: Tensor, rotation: Rotation, style: str) -> Tensor:
    """Rotate the first R dimensions of every head by the angle of its position; the rest passes as it is."""
    cos, sin = (part.to(x_BHTD.dtype) for part in rotation)
    size = cos.shape[-1]
    turned, kept = (x_BHTD, None) if size == x_BHTD.shape[-1] else (x_BHTD[..., :size], x_BHTD[..., size:])
    if style == "half":
        first, second = turned.chunk(2, dim=-1)
        across = torch.cat((-second, first), dim=-1)
    else:
        across = torch.stack((-turned[..., 1::2], turned[..., 0::2]), dim=-1).flatten(-2)
    turned = turned * cos + across * sin
    return turned if kept is None else torch.cat((turned, kept), dim=-1)
