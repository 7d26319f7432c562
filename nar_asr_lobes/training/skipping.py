"""Steps that move no weights, and micro-batches that count nothing.

Norm and loss of a step are sums over the ranks, so all ranks decide the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.objectives.base import ModelInputs

_WINDOW = 100  # steps whose norms give the median


class TooManySkipped(UserError):
    """More steps in a row moved no weights than a run allows."""


def step_fault(
    norm: float, loss: float, norms: list[float], spike_ratio: float
) -> str:
    """Say why a step may not move the weights.

    Arguments
    ---------
    norm, loss : float
        Gradient norm before clipping and loss of the step, over all ranks.
    norms : list of float
        Norms of the last steps, which this one joins.
    spike_ratio : float
        A norm of more than so many times their median is a spike; 0 lets all
        pass.

    Returns
    -------
    str
        Empty where it may.

    Example
    -------
    >>> norms = [0.5] * 100
    >>> step_fault(6.0, 2.0, norms, 10.0)
    'the gradient norm 6 is over 10 times the median of 100 steps, 0.5'
    >>> step_fault(0.6, 2.0, norms, 10.0)
    ''
    """
    if not (math.isfinite(norm) and math.isfinite(loss)):
        return "the gradient is not finite"
    if not spike_ratio:
        return ""
    usual = median(norms) if len(norms) == _WINDOW else math.inf
    # Spikes join, too: a lasting change of the norms must become the usual.
    norms[:] = [*norms, norm][-_WINDOW:]
    if norm <= spike_ratio * usual:
        return ""
    return (
        f"the gradient norm {norm:.3g} is over {spike_ratio:g} times the "
        f"median of {_WINDOW} steps, {usual:.3g}"
    )


def stand_in(
    item: ModelInputs | None, damaged: Sequence[str]
) -> list[ModelInputs]:
    """Give a micro-batch of the step before, with nothing counted in it.

    DDP waits for a backward pass of every rank.
    """
    if item is None:
        raise UserError(damaged[0])  # of the first step, and all others
    batch = replace(item.batch, seconds=0.0)
    counts = dict.fromkeys(item.counts, 0.0)
    return [replace(item, batch=batch, counts=counts)]
