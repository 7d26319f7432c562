"""CTC summed over the utterances that it can align."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def ctc_feasible(
    tokens: torch.Tensor, token_lens: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Tell which utterances CTC can align.

    A path needs a frame for each token and a blank between equal neighbours
    (Graves et al., 2006).

    Arguments
    ---------
    tokens : torch.Tensor
        Padded targets, shape [B, U].
    token_lens : torch.Tensor
        Tokens of each, shape [B].
    lengths : torch.Tensor
        Frames of each, shape [B].

    Returns
    -------
    torch.Tensor
        True where at least one path exists and the target is not empty, [B].

    Example
    -------
    >>> tokens = torch.tensor([[1, 1], [1, 2]])
    >>> two = torch.tensor([2, 2])
    >>> ctc_feasible(tokens, two, two).tolist()
    [False, True]
    """
    slots = torch.arange(1, max(1, tokens.shape[1]), device=tokens.device)
    inside = slots[None] < token_lens[:, None]
    repeats = ((tokens[:, 1:] == tokens[:, :-1]) & inside).sum(1)
    return (token_lens + repeats <= lengths) & (token_lens > 0)


def ctc_loss_sum(
    log_probs: torch.Tensor,
    lengths: torch.Tensor,
    tokens: torch.Tensor,
    token_lens: torch.Tensor,
    keep: torch.Tensor,
) -> torch.Tensor:
    """Sum the CTC loss (blank 0) over the utterances kept.

    Arguments
    ---------
    log_probs : torch.Tensor
        Shape [B, T, V].
    lengths, tokens, token_lens : torch.Tensor
        As in ``ctc_feasible``.
    keep : torch.Tensor
        Utterances that count, shape [B]; see ``ctc_feasible``.

    Returns
    -------
    torch.Tensor
        A scalar in nats; 0 with a gradient of 0 when none is kept.

    Example
    -------
    >>> log_probs = torch.log_softmax(torch.zeros(1, 1, 2), -1)
    >>> one = torch.tensor([1])
    >>> loss = ctc_loss_sum(
    ...     log_probs, one, torch.tensor([[1]]), one, torch.tensor([True])
    ... )
    >>> round(loss.item(), 4)
    0.6931
    """
    losses = F.ctc_loss(
        log_probs.transpose(0, 1).float(),
        tokens,
        lengths,
        token_lens,
        reduction="none",
        zero_infinity=True,
    )
    return (losses * keep).sum()


def log_frequencies(counts: torch.Tensor) -> torch.Tensor:
    """Give the logits of a head that knows how often each unit comes.

    Arguments
    ---------
    counts : torch.Tensor
        Of each unit, and at 0, the blank's place, of the frames without any;
        shape [V]. All are smoothed: what has not come may yet come.

    Returns
    -------
    torch.Tensor
        Log-probabilities of a frame, shape [V].

    Example
    -------
    >>> log_frequencies(torch.tensor([6, 2, 0])).exp()
    tensor([0.7000, 0.2250, 0.0750])
    """
    units = counts[1:] + 1.0
    blank = (counts[:1] + 1) / (counts.sum() + 2)
    return torch.cat([blank, (1 - blank) * units / units.sum()]).log()
