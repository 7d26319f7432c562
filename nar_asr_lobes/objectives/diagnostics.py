"""Signs that pre-training is well: codes in use, states that differ.

Objectives give two kinds of signs among their sums: numbers, which are divided
by their counts as losses are, and counts of codes [G, V], which are added up
over micro-batches, steps and ranks and become numbers when they are logged.
"""

from __future__ import annotations

import logging

import torch
from speechbrain.utils.distributed import if_main_process

from nar_asr_lobes.distributed import Totals, perplexities
from nar_asr_lobes.lobes.lengths import valid_mask

logger = logging.getLogger(__name__)

LOW_PERPLEXITY = 0.005  # of the codes that could be in use
LOW_SPREAD = 0.03  # about 1 at the start
LEAST_COUNTS = 20  # fewer say nothing of the codes in use
_REMEDIES = {
    "codes": "raise diversity_weight, lower peak_lr or gumbel_start",
    "targets": "look for silence or noise among the audio",
}  # not of BEST-RQ's guesses, which are of the commonest codes for long


def spread_sums(
    states: torch.Tensor, lengths: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Tell how much, and in how many directions, an utterance's states differ.

    Arguments
    ---------
    states : torch.Tensor
        Of the encoder, shape [B, T, D].
    lengths : torch.Tensor
        Valid frames, shape [B].

    Returns
    -------
    dict
        Scalars without gradient, to be divided by ``count_spread``.
        ``feature_std``: the standard deviation over an utterance's frames,
        averaged over D, as a share of the states' root mean square: 0 when all
        frames are the same, at most 1. ``feature_rank``: the participation
        ratio of the eigenvalues e of their covariance, (sum e)^2 / sum e^2:
        1 when the states lie on a line, at most D, and less in utterances of
        few frames.

    Example
    -------
    >>> states = torch.tensor([[[-3.0], [3.0], [9.0]]])
    >>> sums = spread_sums(states, torch.tensor([2]))
    >>> {name: value.item() for name, value in sums.items()}
    {'feature_std': 2.0, 'feature_rank': 2.0}
    """
    states = states.detach().float()
    valid = valid_mask(lengths, states.shape[1]).unsqueeze(-1)
    count = lengths.clamp_min(1).view(-1, 1, 1)
    centred = (states - (states * valid).sum(1, keepdim=True) / count) * valid
    deviation = (centred.square().sum(1) / count[:, 0]).sqrt().mean(-1)
    size = ((states * valid).square().sum(1) / count[:, 0]).mean(-1).sqrt()
    # Of whichever is smaller, the frames' products or the channels': the
    # eigenvalues are the same.
    wide = centred.shape[1] < centred.shape[2]
    scatter = centred @ centred.mT if wide else centred.mT @ centred
    total = centred.square().sum((1, 2))
    rank = total.square() / scatter.square().sum((1, 2)).clamp_min(1e-12)
    return {
        "feature_std": (deviation / size.clamp_min(1e-6) * lengths).sum(),
        "feature_rank": (rank * lengths).sum(),
    }


def count_spread(valid: torch.Tensor) -> dict[str, float]:
    """Count what ``spread_sums`` is divided by: valid frames [B, T].

    Example
    -------
    >>> count_spread(torch.tensor([[True, True, False]]))
    {'feature_std': 2.0, 'feature_rank': 2.0}
    """
    return dict.fromkeys(("feature_std", "feature_rank"), float(valid.sum()))


def count_codes(
    codes: torch.Tensor, size: int, counted: torch.Tensor | None = None
) -> torch.Tensor:
    """Count how often each code was met.

    Arguments
    ---------
    codes : torch.Tensor
        Below ``size``, shape [..., G].
    size : int
        V, the codes of a codebook.
    counted : torch.Tensor, optional
        True for the positions that count, shape [...]; all without it.

    Returns
    -------
    torch.Tensor
        Shape [G, V], float32.

    Example
    -------
    >>> count_codes(torch.tensor([[0, 1], [0, 2]]), 3).tolist()
    [[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
    """
    rows = codes.flatten(0, -2).T
    ones = torch.ones(rows.shape, device=codes.device)
    if counted is not None:
        ones = ones * counted.flatten()
    counts = torch.zeros(len(rows), size, device=codes.device)
    return counts.scatter_add_(1, rows, ones)


def warn_of_collapse(totals: Totals, step: int, warmup: float) -> None:
    """Log ``signs_of_collapse`` on the main process, after the warm-up.

    Arguments
    ---------
    totals : Totals
        Of the last steps, or of a validation.
    step : int
        Where the run is.
    warmup : float
        Steps of the warm-up.
    """
    signs = signs_of_collapse(totals)
    if signs and step >= warmup and if_main_process():
        logger.warning("step %d: %s", step, signs)


def signs_of_collapse(totals: Totals) -> str | None:
    """Say what is wrong and what helps, when the learning has collapsed.

    Arguments
    ---------
    totals : Totals
        Of some steps after the warm-up.

    Returns
    -------
    str or None
        None when all is well, or when there is nothing to tell it by.

    Example
    -------
    >>> signs_of_collapse(Totals(codes={"codes": torch.ones(2, 320)}))
    >>> one = torch.eye(320)[:1] * 5000
    >>> signs_of_collapse(Totals(codes={"codes": one}))
    'codes: a perplexity of 1.0 where 320 are possible: raise \
diversity_weight, lower peak_lr or gumbel_start'
    """
    signs, numbers = [], totals.ratios()
    for name in totals.codes.keys() & _REMEDIES.keys():
        counts = totals.codes[name]
        met = int(counts[0].sum())
        if met < LEAST_COUNTS:
            continue
        possible = min(counts.shape[1], met)
        perplexity = perplexities(counts).min()  # one codebook is enough
        if perplexity < 1 + LOW_PERPLEXITY * possible:
            signs.append(
                f"{name}: a perplexity of {perplexity:.1f} where {possible} "
                f"are possible: {_REMEDIES[name]}"
            )
    spread = numbers.get("feature_std", torch.inf)
    if spread < LOW_SPREAD:
        signs.append(
            f"feature_std: the encoder gives nearly the same for every frame "
            f"({spread:.1e}): lower peak_lr or lengthen the warm-up"
        )
    return "; ".join(signs) or None
