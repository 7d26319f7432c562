"""EncoderOutput batches and posteriors as the searches take them, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from nar_asr_lobes.errors import UserError

if TYPE_CHECKING:
    from nar_asr_lobes.lobes.model import EncoderOutput, NarAsr

BLANK = 0


def posteriors(encoded: EncoderOutput) -> list[torch.Tensor]:
    """Cut a batch [B, T, V] into posteriors [T_b, V] on the CPU."""
    log_probs = encoded.log_probs.detach().cpu()
    return [
        row[:frames]
        for row, frames in zip(log_probs, encoded.lengths.tolist(), strict=True)
    ]


def take(encoded: EncoderOutput, rows: torch.Tensor) -> EncoderOutput:
    """Select utterances ``rows`` [R] of a batch, in order; repeats allowed.

    They are cut to the longest, without intermediate posteriors.
    """
    lengths = encoded.lengths[rows]
    frames = int(lengths.max())
    return replace(
        encoded,
        states=encoded.states[rows, :frames],
        lengths=lengths,
        log_probs=encoded.log_probs[rows, :frames],
        inter_log_probs=[],
    )


def decode_checked(
    model: NarAsr,
    encoded: EncoderOutput,
    tokens: torch.Tensor,
    token_lens: torch.Tensor,
    token_frames: torch.Tensor,
) -> torch.Tensor:
    """Run the NAR decoder and refuse NaN in its output [B, U, V].

    ``tokens`` [B, U], ``token_lens`` [B], ``token_frames`` [B, U], as
    ``NarAsr``.
    """
    log_probs = model.decode(encoded, tokens, token_lens, token_frames)
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    valid = positions < token_lens[:, None]
    if torch.isnan(log_probs).any(dim=-1).logical_and(valid).any():
        raise UserError(
            "the decoder's probabilities hold NaN; the checkpoint's weights "
            "are damaged, so use an earlier one"
        )
    return log_probs


def require_log_probs(best: np.ndarray, where: str) -> None:
    """Refuse frames that cannot hold log-probabilities.

    ``best`` [T] is the highest natural log-probability of each frame. An error
    for NaN, a value above 0, and minus infinity (no label is possible).
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
    """Refuse posteriors whose shape is not [T, V >= 2]."""
    if len(shape) != 2 or shape[1] < 2:
        raise UserError(
            f"{where}: posteriors of shape {list(shape)}; they must be "
            "[frames, blank and at least one token]"
        )


def as_log_probs(
    log_probs: torch.Tensor | np.ndarray, where: str = "utterance"
) -> np.ndarray:
    """Convert posteriors [T, V] of one utterance to float64, and check them."""
    if isinstance(log_probs, torch.Tensor):
        log_probs = log_probs.detach().cpu().numpy()
    values = np.asarray(log_probs, dtype=np.float64)
    require_frames(values.shape, where)
    require_log_probs(values.max(axis=1), where)
    return values
