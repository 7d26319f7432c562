"""The parts of Transformer layers: attention, feed-forward, dropout.

Rotary positions are in frames, also those of the decoder's tokens: token u of
U queries from frame (u + 0.5) T / U, so that cross-attention starts monotonic.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def rotary_angles(
    positions: torch.Tensor, head_dim: int, base: float = 10000.0
) -> torch.Tensor:
    """Compute rotary angles (Su et al., https://arxiv.org/abs/2104.09864).

    Positions in frames [B or 1, N] -> [B or 1, 1, N, head_dim / 2]. The
    longest wavelength is about 2 pi base frames.
    """
    steps = torch.arange(0, head_dim, 2, device=positions.device) / head_dim
    return (positions[..., None] * base ** (-steps)).unsqueeze(1)


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs of x [B, H, N, d] by angles [B, 1, N, d / 2]."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat(
        [first * cos - second * sin, first * sin + second * cos], dim=-1
    )


class Attention(nn.Module):
    """Multi-head attention with rotary positions, without attention dropout.

    Arguments
    ---------
    d_model : int
        Width D.
    heads : int
        Number of heads; divides D into even parts.

    Example
    -------
    >>> attention = Attention(16, 2)
    >>> x, angles = torch.randn(1, 5, 16), rotary_angles(torch.zeros(1, 5), 8)
    >>> mask = torch.ones(1, 1, 1, 5, dtype=torch.bool)
    >>> attention(x, x, angles, angles, mask).shape
    torch.Size([1, 5, 16])
    """

    def __init__(self, d_model: int, heads: int):
        super().__init__()
        if d_model % (2 * heads):
            raise ValueError(
                f"d_model {d_model} does not split into {heads} even heads"
            )
        self.heads = heads
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor,
        query_angles: torch.Tensor,
        key_angles: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Attend from x [B, N, D] to memory [B, M, D].

        ``mask`` is that of ``attention_mask``.
        """
        key, value = self.key_value(memory).chunk(2, dim=-1)
        out = scaled_attention(
            rotate(self._split(self.query(x)), query_angles),
            rotate(self._split(key), key_angles),
            self._split(value),
            mask,
        )
        return self.output(out.transpose(1, 2).flatten(2))


def scaled_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool = False,
) -> torch.Tensor:
    """Call scaled_dot_product_attention, in float32 on a CPU.

    ``query``, ``key`` and ``value`` are [B, H, N or M, d]; ``mask`` is True
    where memory is valid, [B, 1, 1, M], or added to the scores, [B, H, N, M].
    """
    # The CPU's fused kernel takes up to three times as long in bfloat16,
    # forward and backward, as in float32 with both conversions.
    if mask is not None and mask.is_floating_point():
        on_cpu = query.device.type == "cpu"
        mask = mask.to(torch.float32 if on_cpu else query.dtype)
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(
            query, key, value, mask, is_causal=causal
        )
    with torch.autocast("cpu", enabled=False):
        out = F.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), mask, is_causal=causal
        )
    return out.to(query.dtype)


class FeedForward(nn.Sequential):
    """Two linear layers with GELU between.

    Example
    -------
    >>> FeedForward(8, 32)(torch.randn(2, 8)).shape
    torch.Size([2, 8])
    """

    def __init__(self, d_model: int, ffn_dim: int):
        super().__init__(
            nn.Linear(d_model, ffn_dim),
            nn.GELU(),
            nn.Linear(ffn_dim, d_model),
        )


class ByteDropout(nn.Module):
    """Dropout from random bytes on a CPU, torch's own elsewhere.

    torch draws one number for each element, which was 4 % of a training step;
    here one draw serves eight elements, in probability steps of 1 / 256.

    Arguments
    ---------
    p : float
        Probability that an element becomes zero.

    Example
    -------
    >>> out = ByteDropout(0.5)(torch.ones(1000))
    >>> sorted(set(out.tolist()))
    [0.0, 2.0]
    """

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout is {p}; give 0 to below 1")
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop elements of x, of any shape, in training."""
        on_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
        if not self.training or self.p == 0 or not on_cpu:
            return F.dropout(x, self.p, self.training)
        dropped = min(256 - 1, round(self.p * 256))
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64)
        draws.random_(torch.iinfo(torch.int64).min, None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * (kept * (256 / (256 - dropped))).to(x.dtype)


def attention_mask(valid: torch.Tensor) -> torch.Tensor:
    """Turn a validity mask [B, M] into one for attention, [B, 1, 1, M]."""
    # An utterance without a valid frame attends to its padding: its output is
    # never used, but NaN would spread to the gradients of the others.
    return (valid | ~valid.any(1, keepdim=True))[:, None, None, :]
