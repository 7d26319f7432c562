"""Conformer encoder over frames, with rotary positions.

frames [B, T, D] -> N x (half feed-forward, self-attention, convolution,
                         half feed-forward), all pre-norm
                 -> LayerNorm -> states [B, T, D]

The layers are those of Conformer (Gulati et al.,
https://arxiv.org/abs/2005.08100) without the norm at their end, and with a
LayerNorm in the convolution, which knows no batch.

Another encoder has the methods and attributes of this one, and a row in
``lobes.config.ENCODERS``:

- ``config_keys``: keys of ``ModelConfig`` that only this encoder has
- ``takes_imports``: whether its sizes come from published weights
- ``check_config``: raises UserError for sizes that it cannot have
- ``freeze``: freezes the lowest layers and all in front of them
- ``output_norm``: the norm after the last layer, also for intermediate CTC
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.attention import (
    Attention,
    ByteDropout,
    FeedForward,
    attention_mask,
    rotary_angles,
)
from nar_asr_lobes.lobes.lengths import valid_mask

if TYPE_CHECKING:
    from nar_asr_lobes.lobes.config import ModelConfig

LayerHook = Callable[[int, torch.Tensor], torch.Tensor]
"""Called after layer i (1-based) with x [B, T, D]; returns the new x."""


def run_layers(
    layers: Sequence[nn.Module],
    x: torch.Tensor,
    hook: LayerHook | None,
    *shared: torch.Tensor | None,
) -> torch.Tensor:
    """Pass x [B, T, D] and shared arguments through layers.

    ``hook`` is called after each layer but the last, and may change x.
    """
    for number, layer in enumerate(layers, start=1):
        x = layer(x, *shared)
        if hook is not None and number < len(layers):
            x = hook(number, x)
    return x


class _Convolution(nn.Module):
    """Depthwise convolution over valid frames, gated; kernel odd."""

    def __init__(self, d_model: int, kernel: int):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"conv_kernel must be odd, not {kernel}")
        self.gate = nn.Linear(d_model, 2 * d_model)
        self.conv = nn.Conv1d(
            d_model, d_model, kernel, padding=kernel // 2, groups=d_model
        )
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Convolve x [B, T, D]; ``valid`` [B, T, 1] is 0 on padding."""
        x = nn.functional.glu(self.gate(x), dim=-1) * valid
        # As an image of one row, whose channels are contiguous: half the time
        # of self.conv(x.mT).mT on a CPU, which has to transpose.
        row = nn.functional.conv2d(
            x.mT.unsqueeze(2),
            self.conv.weight.squeeze(1)[:, None, None],
            self.conv.bias,
            padding=(0, self.conv.padding[0]),
            groups=self.conv.groups,
        )
        x = row.squeeze(2).mT
        return self.output(nn.functional.silu(self.norm(x)))


class _EncoderLayer(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward."""

    repeated = True  # compiled as a unit

    def __init__(
        self,
        d_model: int,
        heads: int,
        ffn_dim: int,
        conv_kernel: int,
        dropout: float,
    ):
        super().__init__()
        self.ffn1_norm = nn.LayerNorm(d_model)
        self.ffn1 = FeedForward(d_model, ffn_dim)
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, heads)
        self.conv_norm = nn.LayerNorm(d_model)
        self.conv = _Convolution(d_model, conv_kernel)
        self.ffn2_norm = nn.LayerNorm(d_model)
        self.ffn2 = FeedForward(d_model, ffn_dim)
        self.dropout = ByteDropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        valid: torch.Tensor,
        angles: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Update x [B, T, D]; ``valid`` is [B, T]."""
        x = x + 0.5 * self.dropout(self.ffn1(self.ffn1_norm(x)))
        y = self.attention_norm(x)
        x = x + self.dropout(self.attention(y, y, angles, angles, mask))
        y = self.conv(self.conv_norm(x), valid[..., None])
        x = x + self.dropout(y)
        return x + 0.5 * self.dropout(self.ffn2(self.ffn2_norm(x)))


class ConformerEncoder(nn.Module):
    """A stack of encoder layers.

    Arguments
    ---------
    layers : int
        Number of layers.
    d_model, heads, ffn_dim, conv_kernel : int
        Width, heads, inner width, and convolution kernel in frames (odd).
    dropout : float
        Dropout on every residual branch.

    Example
    -------
    >>> encoder = ConformerEncoder(2, 16, 2, 32, 5)
    >>> encoder(torch.randn(2, 6, 16), torch.tensor([6, 4])).shape
    torch.Size([2, 6, 16])
    """

    config_keys: Sequence[str] = ()
    takes_imports = False

    def __init__(
        self,
        layers: int,
        d_model: int,
        heads: int,
        ffn_dim: int,
        conv_kernel: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.head_dim = d_model // heads
        self.layers = nn.ModuleList(
            _EncoderLayer(d_model, heads, ffn_dim, conv_kernel, dropout)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(d_model)

    @classmethod
    def from_config(cls, config: ModelConfig) -> ConformerEncoder:
        """Build it from a model's sizes."""
        return cls(
            config.encoder_layers,
            config.d_model,
            config.heads,
            config.ffn_dim,
            config.conv_kernel,
            config.dropout,
        )

    @staticmethod
    def check_config(config: ModelConfig) -> None:
        """Refuse heads of odd width and an even convolution."""
        if config.d_model % (2 * config.heads):
            raise UserError(
                f"d_model {config.d_model} does not split into {config.heads} "
                f"even heads; make it a multiple of {2 * config.heads}"
            )
        if config.conv_kernel % 2 == 0:
            raise UserError(f"conv_kernel is {config.conv_kernel}; make it odd")

    def freeze(self, number: int) -> None:
        """Freeze the lowest layers."""
        self.layers[:number].requires_grad_(False)

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
        frames = torch.arange(x.shape[1], device=x.device)
        angles = rotary_angles(frames[None].float(), self.head_dim)
        mask = attention_mask(valid)
        x = run_layers(self.layers, x, hook, valid, angles, mask)
        return self.output_norm(x)

    def output_norm(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise a layer's output x [B, T, D]."""
        return self.norm(x)
