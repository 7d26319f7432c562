"""Mask-predict: the NAR decoder replaces tokens of low CTC confidence.

    CTC greedy tokens [U] -> those of low confidence masked -> decoder
    -> the most confident predictions kept -> decoder ... -> tokens [U]

Higuchi et al. 2020, Mask-CTC (arXiv:2005.08700). The length stays that of the
CTC result. B utterances, U tokens, T frames, V labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from nar_asr_lobes.decoding.encoded import (
    BLANK,
    decode_checked,
    posteriors,
    take,
)
from nar_asr_lobes.decoding.greedy import GreedyPath, greedy_paths
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.rescore import ctc_scores
from nar_asr_lobes.lobes.alignment import token_frames
from nar_asr_lobes.schema import Checked, count, number

if TYPE_CHECKING:
    from nar_asr_lobes.lobes.model import EncoderOutput, NarAsr


@dataclass(frozen=True)
class MaskPredictOptions(Checked):
    """Options of mask-predict.

    Arguments
    ---------
    threshold : float
        Tokens whose CTC probability is below it are masked; 0 keeps the
        greedy result, 1 masks all but certain tokens.
    passes : int
        Decoder passes at most; one with fewer masks takes one per pass.
    ctc_weight : float
        Share of the CTC posterior at the token's peak frame in the choice of
        the token that fills a mask, 0 (decoder alone) to 1.

    Raises
    ------
    UserError
        If a value is NaN or outside its limits.

    Example
    -------
    >>> MaskPredictOptions(threshold=0.9).passes
    10
    """

    threshold: float = number(0.99, 0.0, 1.0)
    passes: int = count(10, least=1)
    ctc_weight: float = number(0.0, 0.0, 1.0)


@dataclass
class _Targets:
    """The tokens of a batch while their masks are filled.

    ``tokens`` [B, U] holds the mask id where ``masked`` [B, U] and in the
    padding; ``frames`` [B, U] tells when each was spoken; ``filled`` [B] sums
    the decoder's log-probabilities of the tokens put in so far.
    """

    tokens: torch.Tensor
    frames: torch.Tensor
    lengths: torch.Tensor
    masked: torch.Tensor
    filled: torch.Tensor


def mask_predict(
    model: NarAsr, encoded: EncoderOutput, options: MaskPredictOptions
) -> list[Hypothesis]:
    """Refine the CTC greedy result of each utterance with the NAR decoder.

    ``score`` is the natural log of the kept tokens' CTC confidences and the
    filled tokens' decoder probabilities, multiplied; ``ctc`` the exact CTC
    score.
    """
    paths = greedy_paths(encoded.log_probs, encoded.lengths)
    targets = _masked_targets(encoded, paths, model.mask_id, options)
    evidence = _evidence(encoded, paths) if options.ctc_weight > 0 else None
    masks = targets.masked.sum(dim=1)
    passes = masks.clamp(max=options.passes)
    for done in range(int(passes.max()) if len(paths) else 0):
        rows = (passes > done).nonzero().squeeze(1)
        # as many each time, and the remainder of the division in the last
        quota = masks[rows] // passes[rows]
        last = passes[rows] == done + 1
        quota = torch.where(last, masks[rows], quota)
        _fill(model, encoded, targets, rows, quota, options, evidence)
    return _hypotheses(encoded, paths, targets, options)


def _masked_targets(
    encoded: EncoderOutput,
    paths: list[GreedyPath],
    mask_id: int,
    options: MaskPredictOptions,
) -> _Targets:
    """Pad the greedy tokens to one batch and mask those below the threshold."""
    device = encoded.states.device
    width = max((len(path.tokens) for path in paths), default=0)
    tokens = torch.full((len(paths), width), mask_id)
    masked = torch.zeros(len(paths), width, dtype=torch.bool)
    for row, path in enumerate(paths):
        tokens[row, : len(path.tokens)] = torch.tensor(path.tokens)
        masked[row, : len(path.tokens)] = torch.from_numpy(
            _is_masked(path, options)
        )
    lengths = torch.tensor([len(path.tokens) for path in paths])
    tokens, masked = tokens.to(device), masked.to(device)
    lengths = lengths.to(device)
    return _Targets(
        tokens=tokens.masked_fill(masked, mask_id),
        frames=token_frames(
            encoded.log_probs, encoded.lengths, tokens, lengths
        ),
        lengths=lengths,
        masked=masked,
        filled=torch.zeros(len(paths), dtype=torch.float64, device=device),
    )


def _is_masked(path: GreedyPath, options: MaskPredictOptions) -> np.ndarray:
    """Tell which tokens [U] of a path CTC gives less than the threshold."""
    return np.exp(path.log_confidences) < options.threshold


def _evidence(encoded: EncoderOutput, paths: list[GreedyPath]) -> torch.Tensor:
    """Gather each token's CTC posterior, without the blank: [B, U, V]."""
    peaks = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(path.peaks) for path in paths], batch_first=True
    ).to(encoded.log_probs.device)
    rows = torch.arange(len(paths), device=peaks.device)[:, None]
    log_probs = encoded.log_probs[rows, peaks].clone()
    log_probs[..., BLANK] = -math.inf
    return log_probs.log_softmax(dim=-1)


def _fill(model, encoded, targets, rows, quota, options, evidence) -> None:
    """Fill the ``quota`` [R] most confident masks of the R utterances."""
    log_probs = decode_checked(
        model,
        take(encoded, rows),
        targets.tokens[rows],
        targets.lengths[rows],
        targets.frames[rows],
    )
    choice = log_probs
    if evidence is not None:
        choice = torch.lerp(log_probs, evidence[rows], options.ctc_weight)
        choice[..., BLANK] = -math.inf
    confidence, best = choice.max(dim=-1)  # [R, U]
    confidence = confidence.masked_fill(~targets.masked[rows], -math.inf)
    order = confidence.argsort(dim=1, descending=True, stable=True)
    now = (order.argsort(dim=1) < quota[:, None]) & targets.masked[rows]
    targets.tokens[rows] = torch.where(now, best, targets.tokens[rows])
    targets.masked[rows] &= ~now
    gained = log_probs.gather(2, best[..., None]).squeeze(2).double()
    targets.filled[rows] += gained.masked_fill(~now, 0.0).sum(dim=1)


def _hypotheses(
    encoded: EncoderOutput,
    paths: list[GreedyPath],
    targets: _Targets,
    options: MaskPredictOptions,
) -> list[Hypothesis]:
    """Cut the padding off and score the tokens."""
    found = []
    for path, tokens, filled, log_probs in zip(
        paths,
        targets.tokens.tolist(),
        targets.filled.tolist(),
        posteriors(encoded),
        strict=True,
    ):
        tokens = tuple(tokens[: len(path.tokens)])
        kept = path.log_confidences[~_is_masked(path, options)].sum()
        [ctc] = ctc_scores(log_probs, [tokens])
        found.append(
            Hypothesis(tokens, float(kept) + filled, ctc, decoder=filled)
        )
    return found
