"""Exact lengths: relative lengths, valid-frame masks, strided outputs.

Letters used in all lobes: B utterances, S samples, T frames, U tokens,
C channels, D model width, V vocabulary with the blank.
"""

from __future__ import annotations

import torch


def absolute_lengths(wav_lens: torch.Tensor, size: int) -> torch.Tensor:
    """Turn lengths [B] relative to ``size`` into counts, int64.

    Example
    -------
    >>> absolute_lengths(torch.tensor([1.0, 0.5]), 16000).tolist()
    [16000, 8000]
    """
    # float64, so that a count survives the round trip through the ratio.
    return torch.round(wav_lens.double() * size).long()


def valid_mask(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Mark the valid positions of a padded batch, shape [B, size].

    Example
    -------
    >>> valid_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    steps = torch.arange(size, device=lengths.device)
    return steps.unsqueeze(0) < lengths.unsqueeze(1)


def conv_output_lengths(
    lengths: torch.Tensor, kernel: int, stride: int
) -> torch.Tensor:
    """Count the outputs of a convolution without padding.

    Example
    -------
    >>> conv_output_lengths(torch.tensor([399, 400, 440]), 400, 40).tolist()
    [0, 1, 2]
    """
    steps = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
    return steps.clamp_min(0)
