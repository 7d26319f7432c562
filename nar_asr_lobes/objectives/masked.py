"""Cross-entropy over masked positions, summed."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def masked_token_loss_sum(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Sum the label-smoothed loss of masked slots over pieces 1 .. V-1.

    Arguments
    ---------
    log_probs : torch.Tensor
        Decoder log-probabilities of the M masked slots, shape [M, V]; the
        blank's column is not read.
    targets : torch.Tensor
        Pieces, shape [M].
    smoothing : float
        Share of the target mass that is spread over all pieces.

    Returns
    -------
    torch.Tensor
        A scalar in nats.

    Example
    -------
    >>> uniform = torch.full((2, 5), 0.25).log()
    >>> loss = masked_token_loss_sum(uniform, torch.tensor([1, 4]), 0.1)
    >>> round(loss.item() / 2, 4)
    1.3863
    """
    pieces = log_probs[:, 1:]
    hard = F.nll_loss(pieces, targets - 1, reduction="sum")
    return (1 - smoothing) * hard - smoothing * pieces.mean(-1).sum()
