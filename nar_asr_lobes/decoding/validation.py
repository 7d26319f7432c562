"""Checks of posteriors, each failing in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from nar_asr_lobes.errors import UserError

BLANK = 0


def require_log_probs(best: np.ndarray, where: str) -> None:
    """Refuse frames that cannot hold log-probabilities.

    Arguments
    ---------
    best : np.ndarray
        The highest natural log-probability of each frame [T].
    where : str
        The utterance they belong to, for the message.

    Raises
    ------
    UserError
        If one is NaN, above zero, or minus infinity (no label possible).
    """
    if np.isnan(best).any():
        raise UserError(
            f"{where}: the posteriors hold NaN; the weights or the audio are "
            "damaged, so check both"
        )
    if best.size and best.max() > 1e-4:
        raise UserError(
            f"{where}: a log-probability is {best.max():.3g}, above 0; pass "
            "log-softmax outputs instead of logits"
        )
    if best.size and best.min() == -math.inf:
        raise UserError(
            f"{where}: frame {best.argmin()} gives every label probability "
            "0; pass log-softmax outputs"
        )


def require_frames(shape: Sequence[int], where: str) -> None:
    """Refuse posteriors that are not [T, V >= 2].

    Arguments
    ---------
    shape : sequence of int
        Their shape.
    where : str
        The utterance they belong to, for the message.

    Raises
    ------
    UserError
        For any other shape.
    """
    if len(shape) != 2 or shape[1] < 2:
        raise UserError(
            f"{where}: posteriors of shape {list(shape)}; they must be "
            "[frames, blank and at least one token]"
        )


def as_log_probs(
    log_probs: torch.Tensor | np.ndarray, where: str = "utterance"
) -> np.ndarray:
    """Bring one utterance's posteriors to the form the searches work on.

    Arguments
    ---------
    log_probs : torch.Tensor or np.ndarray
        Natural log-probabilities [T, V] of one utterance without padding, on
        any device; column 0 is the blank.
    where : str
        The utterance's name in messages.

    Returns
    -------
    np.ndarray
        The same numbers as float64 [T, V].

    Raises
    ------
    UserError
        If the shape is not [T, V >= 2], or the values cannot be
        log-probabilities.

    Example
    -------
    >>> as_log_probs(torch.zeros(0, 5)).shape
    (0, 5)
    """
    if isinstance(log_probs, torch.Tensor):
        log_probs = log_probs.detach().cpu().numpy()
    values = np.asarray(log_probs, dtype=np.float64)
    require_frames(values.shape, where)
    require_log_probs(values.max(axis=1), where)
    return values
