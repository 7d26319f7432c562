"""Attention with rotary positions on scaled_dot_product_attention.

Positions are given in frames, not in slots: a decoder slot i of U queries
from frame (i + 0.5) T / U, so that cross-attention starts out monotonic.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def rotary_angles(
    positions: torch.Tensor, head_dim: int, base: float = 10000.0
) -> torch.Tensor:
    """Compute the angles of rotary position embedding.

    Su et al., RoFormer, https://arxiv.org/abs/2104.09864.

    Arguments
    ---------
    positions : torch.Tensor
        Positions in frames (may be fractions), shape [B or 1, N].
    head_dim : int
        Width of a head, even.
    base : float
        Longest wavelength is about 2 pi base frames.

    Returns
    -------
    torch.Tensor
        Angles, shape [B or 1, 1, N, head_dim / 2].

    Example
    -------
    >>> rotary_angles(torch.arange(3.0)[None], 8).shape
    torch.Size([1, 1, 3, 4])
    """
    steps = torch.arange(0, head_dim, 2, device=positions.device) / head_dim
    return (positions[..., None] * base ** (-steps)).unsqueeze(1)


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs of x [B, H, N, d] by angles [B, 1, N, d / 2].

    Example
    -------
    >>> x = torch.randn(1, 1, 2, 4)
    >>> torch.equal(rotate(x, torch.zeros(1, 1, 2, 2)), x)
    True
    """
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat(
        [first * cos - second * sin, first * sin + second * cos], dim=-1
    )


class Attention(nn.Module):
    """Multi-head attention of queries over a memory.

    Arguments
    ---------
    d_model : int
        Width D.
    heads : int
        Number of heads; divides D into even parts.

    There is no dropout on the attention weights: it would rule out the fused
    kernels, and the residual branches have theirs.

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

        ``mask`` [B, 1, 1, M] is True where memory is valid.
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

    The CPU's fused kernel takes up to three times as long in bfloat16,
    forward and backward, as in float32 with both conversions.

    Arguments
    ---------
    query, key, value : torch.Tensor
        Shape [B, H, N or M, d].
    mask : torch.Tensor or None
        True where memory is valid, shape [B, 1, 1, M], or what is added to
        the scores, [B, H, N, M]; None for everywhere.
    causal : bool
        Whether query i sees keys 0 to i only; then without a mask.

    Returns
    -------
    torch.Tensor
        Shape [B, H, N, d], of the query's type.

    Example
    -------
    >>> x = torch.randn(1, 1, 3, 4, dtype=torch.bfloat16)
    >>> mask = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    >>> scaled_attention(x, x, x, mask).dtype
    torch.bfloat16
    """
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


def attention_mask(valid: torch.Tensor) -> torch.Tensor:
    """Shape a validity mask [B, M] for attention, [B, 1, 1, M].

    An utterance without a valid frame attends to its padding: its output is
    never read, and NaN would spread to the others' gradients.

    Example
    -------
    >>> attention_mask(torch.tensor([[True, False], [False, False]])).squeeze()
    tensor([[ True, False],
            [ True,  True]])
    """
    return (valid | ~valid.any(1, keepdim=True))[:, None, None, :]
