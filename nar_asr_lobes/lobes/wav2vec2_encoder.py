"""The Transformer encoder of wav2vec 2.0 and its relatives, for their weights.

frames [B, T, D] -> + grouped convolutional position [-> LayerNorm]
    -> N x (self-attention, feed-forward; pre- or post-norm) [-> LayerNorm]
    -> states [B, T, D]

Baevski et al., wav2vec 2.0, https://arxiv.org/abs/2006.11477; Hsu et al.,
HuBERT, https://arxiv.org/abs/2106.07447; Chen et al., WavLM,
https://arxiv.org/abs/2110.13900; Baevski et al., data2vec,
https://arxiv.org/abs/2202.03555. Padding is zeroed before each convolution and
masked in the attention, so that results do not depend on the batch. There is
no LayerDrop and no dropout on the attention weights.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.attention import (
    ByteDropout,
    FeedForward,
    attention_mask,
    scaled_attention,
)
from nar_asr_lobes.lobes.encoder import LayerHook, run_layers
from nar_asr_lobes.lobes.lengths import valid_mask

if TYPE_CHECKING:
    from nar_asr_lobes.lobes.config import ModelConfig


class _GroupedConvPosition(nn.Module):
    """One wide grouped convolution as position signal; kernel in frames."""

    def __init__(self, d_model: int, kernel: int, groups: int):
        super().__init__()
        self.conv = nn.Conv1d(
            d_model, d_model, kernel, padding=kernel // 2, groups=groups
        )

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Compute the signal of x [B, T, D], which is zero on padding."""
        # An even kernel gives one output too many.
        return F.gelu(self.conv(x.mT)[..., : x.shape[1]]).mT


class _StackedConvPosition(nn.Module):
    """Narrow grouped convolutions, each with LayerNorm and GELU (data2vec)."""

    def __init__(self, d_model: int, kernel: int, groups: int, layers: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(
                d_model, d_model, kernel, padding=kernel // 2, groups=groups
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(d_model, elementwise_affine=False)

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Compute the signal of x [B, T, D]; ``valid`` is [B, T, 1]."""
        for conv in self.convs:
            y = conv((x * valid).mT)[..., : x.shape[1]].mT
            x = F.gelu(self.norm(y))
        return x


def position_buckets(
    offsets: torch.Tensor, buckets: int, distance: int
) -> torch.Tensor:
    """Sort offsets (key minus query, in frames) into WavLM's buckets.

    Half of the buckets are for offsets above 0; near ones are exact, distant
    ones logarithmic up to ``distance``, where the last bucket starts.

    Example
    -------
    >>> position_buckets(torch.tensor([-900, -1, 0, 1, 2, 9]), 8, 16).tolist()
    [3, 1, 0, 5, 6, 7]
    """
    half = buckets // 2
    exact = half // 2
    far = offsets.abs()
    # Another order of operations may round into another bucket.
    log = torch.log(far.float() / exact) / math.log(distance / exact)
    wide = (exact + log * (half - exact)).long().clamp_max(half - 1)
    return half * (offsets > 0) + torch.where(far < exact, far, wide)


class _RelativePositionBias(nn.Module):
    """WavLM's score for each offset between query and key, shared by layers."""

    def __init__(self, buckets: int, distance: int, heads: int):
        super().__init__()
        self.buckets, self.distance = buckets, distance
        self.table = nn.Embedding(buckets, heads)

    def forward(self, frames: int) -> torch.Tensor:
        """Return the bias of T frames, shape [H, T, T]."""
        device = self.table.weight.device
        offsets = torch.arange(1 - frames, frames, device=device)
        buckets = position_buckets(offsets, self.buckets, self.distance)
        rows = self.table(buckets).mT  # [H, 2 T - 1], lowest offset first
        return rows.unfold(-1, frames, 1).flip(1)


class _PositionGate(nn.Module):
    """WavLM's gate: the weight of the relative positions for each query."""

    def __init__(self, d_model: int, heads: int):
        super().__init__()
        self.heads = heads
        self.projection = nn.Linear(d_model // heads, 8)
        self.scale = nn.Parameter(torch.ones(1, heads, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the gate [B, H, T, 1] of x [B, T, D]."""
        parts = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        gates = self.projection(parts).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        first, second = gates.chunk(2, dim=-1)
        return first * (second * self.scale - 1.0) + 2.0


class _SelfAttention(nn.Module):
    """Self-attention, optionally with a gated relative position bias."""

    def __init__(self, d_model: int, heads: int, gated: bool):
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)
        self.gate = _PositionGate(d_model, heads) if gated else None

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Attend within x [B, T, D]; mask [B, 1, 1, T], bias [H, T, T]."""
        parts = self.query_key_value(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if self.gate is not None:
            gate = self.gate(x)
            scores = gate * bias.to(gate.dtype)
            mask = scores.masked_fill(~mask, float("-inf"))
        out = scaled_attention(query, key, value, mask)
        return self.output(out.transpose(1, 2).flatten(2))


class _Wav2Vec2Layer(nn.Module):
    """Self-attention and feed-forward, normalised before or after."""

    repeated = True  # compiled as a unit

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm_first = config.norm_first
        self.attention = _SelfAttention(
            config.d_model, config.heads, config.position_buckets > 0
        )
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.ffn = FeedForward(config.d_model, config.ffn_dim)
        self.ffn_norm = nn.LayerNorm(config.d_model)
        self.dropout = ByteDropout(config.dropout)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Update x [B, T, D]; mask [B, 1, 1, T], bias [H, T, T]."""
        if self.norm_first:
            y = self.attention(self.attention_norm(x), mask, bias)
            x = x + self.dropout(y)
            return x + self.dropout(self.ffn(self.ffn_norm(x)))
        x = x + self.dropout(self.attention(x, mask, bias))
        x = self.attention_norm(x)
        return self.ffn_norm(x + self.dropout(self.ffn(x)))


class Wav2Vec2Encoder(nn.Module):
    """A stack of these layers.

    Arguments
    ---------
    config : ModelConfig
        The sizes: ``encoder_layers``, ``d_model``, ``heads``, ``ffn_dim``,
        ``conv_kernel``, ``conv_groups``, ``position_layers``, ``norm_first``,
        ``position_buckets``, ``position_distance``, ``dropout``.

    Example
    -------
    >>> from nar_asr_lobes.lobes.config import ModelConfig
    >>> encoder = Wav2Vec2Encoder(
    ...     ModelConfig(encoder="wav2vec2", d_model=16, heads=2, ffn_dim=32)
    ... )
    >>> encoder(torch.randn(2, 6, 16), torch.tensor([6, 4])).shape
    torch.Size([2, 6, 16])
    """

    config_keys = (
        "norm_first",
        "conv_groups",
        "position_layers",
        "position_buckets",
        "position_distance",
    )
    takes_imports = True

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm_first = config.norm_first
        conv = (config.d_model, config.conv_kernel, config.conv_groups)
        self.position = (
            _StackedConvPosition(*conv, config.position_layers)
            if config.position_layers
            else _GroupedConvPosition(*conv)
        )
        self.bias = None
        if config.position_buckets:
            self.bias = _RelativePositionBias(
                config.position_buckets, config.position_distance, config.heads
            )
        self.layers = nn.ModuleList(
            _Wav2Vec2Layer(config) for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = ByteDropout(config.dropout)

    @classmethod
    def from_config(cls, config: ModelConfig) -> Wav2Vec2Encoder:
        """Build it from a model's sizes."""
        return cls(config)

    @staticmethod
    def check_config(config: ModelConfig) -> None:
        """Refuse sizes that do not divide, and useless position buckets."""
        if config.d_model % config.heads:
            raise UserError(
                f"d_model {config.d_model} does not split into {config.heads} "
                f"heads; make it a multiple of {config.heads}"
            )
        if config.d_model % config.conv_groups:
            raise UserError(
                f"conv_groups {config.conv_groups} do not divide d_model "
                f"{config.d_model}"
            )
        buckets, distance = config.position_buckets, config.position_distance
        if buckets and (buckets < 4 or distance <= buckets // 4):
            raise UserError(
                f"position_buckets is {buckets} and position_distance "
                f"{distance}; give no buckets, or 4 at least and a distance "
                "of more than a quarter of them"
            )

    def freeze(self, number: int) -> None:
        """Freeze the lowest layers, and the positions that they use."""
        parts = [self.layers[:number]]
        if number:
            parts += [self.position, self.bias]
            parts += [] if self.norm_first else [self.norm]
        for part in parts:
            if part is not None:
                part.requires_grad_(False)

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor,
        hook: LayerHook | None = None,
    ) -> torch.Tensor:
        """Encode frames.

        Arguments
        ---------
        x : torch.Tensor
            Frames, shape [B, T, D].
        lengths : torch.Tensor
            Valid frames, shape [B].
        hook : callable, optional
            Called after each layer but the last; may return a changed x.

        Returns
        -------
        torch.Tensor
            States, shape [B, T, D]; padding is not cleared.
        """
        valid = valid_mask(lengths, x.shape[1])
        x = x.masked_fill(~valid[..., None], 0.0)
        x = x + self.position(x, valid[..., None])
        if not self.norm_first:
            x = self.norm(x)
        x, mask = self.dropout(x), attention_mask(valid)
        bias = None if self.bias is None else self.bias(x.shape[1])
        x = run_layers(self.layers, x, hook, mask, bias)
        return self.output_norm(x)

    def output_norm(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise a layer's output x [B, T, D]."""
        # Post-norm layers end in a norm of their own.
        return self.norm(x) if self.norm_first else x
