"""Dropout that draws a byte for each element."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

_LEVELS = 256


class ByteDropout(nn.Module):
    """Dropout from random bytes on a CPU, torch's own elsewhere.

    torch draws one number of its Mersenne twister for each element, which was
    4 % of a training step. The eight bytes of one draw serve eight elements
    instead, with probabilities in steps of 1 / 256.

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
        """Drop elements of x, of any shape, while training."""
        torchs = x.device.type != "cpu" or torch.compiler.is_compiling()
        if not self.training or self.p == 0 or torchs:
            return F.dropout(x, self.p, self.training)
        dropped = min(_LEVELS - 1, round(self.p * _LEVELS))
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64)
        draws.random_(torch.iinfo(torch.int64).min, None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * (kept * (_LEVELS / (_LEVELS - dropped))).to(x.dtype)
