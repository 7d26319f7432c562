"""CTC prefix beam search of a batch, on any device.

    log_probs [B, T, V] -> steps (pruned, blank runs merged) -> beams [B, K]
                        -> N-best hypotheses

The search of ``prefix_beam``, which explains it, for all hypotheses of all
utterances at once. The device is waited for before the first step and after
the last one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from nar_asr_lobes.decoding.batched_frames import prepare_steps
from nar_asr_lobes.decoding.batched_hot import HotWordsLM, split_gains
from nar_asr_lobes.decoding.batched_search import BatchedSearch
from nar_asr_lobes.decoding.hotwords.tables import HotWords
from nar_asr_lobes.decoding.hypotheses import BeamOptions, Hypothesis
from nar_asr_lobes.decoding.validation import require_log_probs
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.batched import BatchedLM

_IMPOSSIBLE = -math.inf


def batched_prefix_beam_search(
    log_probs: torch.Tensor,
    lengths: torch.Tensor | Sequence[int],
    options: BeamOptions,
    lm: BatchedLM | None = None,
    log_prior: torch.Tensor | np.ndarray | None = None,
    hot_words: HotWords | None = None,
) -> list[list[Hypothesis]]:
    """Search a batch of utterances for their best token sequences.

    Time and memory grow with ``beam_size``, however few prefixes there are.

    Arguments
    ---------
    log_probs : torch.Tensor
        CTC natural log-probabilities [B, T, V] on any device; column 0 is the
        blank. What stands beyond an utterance's length is not looked at.
    lengths : torch.Tensor or sequence of int
        Frames of each utterance [B].
    options : BeamOptions
        Width, weights and pruning.
    lm : BatchedLM or None
        Language model over the same tokens, on the same device.
    log_prior : torch.Tensor or np.ndarray or None
        Natural log of each token's mean probability [V], used where
        ``prior_weight`` is above 0; that of the blank is not looked at.
    hot_words : HotWords or None
        Phrases to prefer, over the same tokens.

    Returns
    -------
    list of list of Hypothesis
        For each utterance at most ``beam_size`` hypotheses, best first, at
        least one; an utterance of no frames has the empty one. With
        recombination the list is shorter by what it took out of the beam.
        With a prior, ``ctc`` is of the corrected probabilities.

    Raises
    ------
    UserError
        If posteriors are not log-probabilities, ``lengths`` do not fit them,
        ``lm_weight`` is above 0 without a language model or ``prior_weight``
        without a prior, or one of them has another number of tokens.

    Example
    -------
    >>> frames = torch.tensor([[[.6, .4], [.6, .4]]]).log()
    >>> [best, *_] = batched_prefix_beam_search(frames, [2], BeamOptions())[0]
    >>> best.tokens, round(math.exp(best.ctc), 2)  # .4*.4 + 2*.6*.4
    ((1,), 0.64)
    """
    lengths = _checked_lengths(log_probs, lengths)
    if not len(log_probs):
        return []
    shift = _shift(options, log_prior, log_probs)
    lm = _checked_lm(options, lm, log_probs.shape[-1])
    lm_weight, listed = options.lm_weight, hot_words and hot_words.boost > 0
    if listed:
        lm = HotWordsLM(hot_words, lm, lm_weight, log_probs.device)
        lm = _checked_size(lm, log_probs.shape[-1], "hot words")
        options = replace(options, lm_weight=1.0)
    lengths = lengths.to(log_probs.device)
    steps, behind = prepare_steps(log_probs, lengths, options, shift)
    search = BatchedSearch(log_probs.flatten(0, 1), shift, options, lm)
    parts, trace = search.run(steps, behind)
    found = _spell(
        parts.cpu().numpy(), trace.cpu().numpy(), options.token_bonus
    )
    if not listed:
        return found
    return [split_gains(nbest, hot_words, lm_weight) for nbest in found]


def _checked_lengths(
    log_probs: torch.Tensor, lengths: torch.Tensor | Sequence[int]
) -> torch.Tensor:
    """Refuse what is no batch of posteriors; return the lengths, on the CPU."""
    if log_probs.ndim != 3 or log_probs.shape[-1] < 2:
        raise UserError(
            f"posteriors of shape {list(log_probs.shape)}; they must be "
            "[utterances, frames, blank and at least one token]"
        )
    lengths = torch.as_tensor(lengths, dtype=torch.int64, device="cpu")
    batch, frames, _ = log_probs.shape
    if (
        lengths.shape != (batch,)
        or not ((lengths >= 0) & (lengths <= frames)).all()
    ):
        raise UserError(
            f"lengths {lengths.tolist()} for {batch} utterances of at most "
            f"{frames} frames; give each its number of frames"
        )
    best = log_probs.amax(-1).float().cpu().numpy()
    for i, length in enumerate(lengths.tolist()):
        require_log_probs(best[i, :length], f"utterance {i}")
    return lengths


def _checked_lm(
    options: BeamOptions, lm: BatchedLM | None, size: int
) -> BatchedLM | None:
    """Return the language model if it is to be asked."""
    if options.lm_weight == 0:
        return None
    if lm is None:
        raise UserError(
            f"lm_weight is {options.lm_weight} but there is no language "
            "model; give one or set the weight to 0"
        )
    return _checked_size(lm, size, "a language model")


def _checked_size(lm: BatchedLM, size: int, name: str) -> BatchedLM:
    """Refuse what is made for another tokenizer."""
    if lm.size != size:
        raise UserError(
            f"posteriors of {size} labels with {name} of {lm.size}; "
            "use the tokenizer's own"
        )
    return lm


def _shift(
    options: BeamOptions,
    log_prior: torch.Tensor | np.ndarray | None,
    log_probs: torch.Tensor,
) -> torch.Tensor:
    """What is added to each label's log-probability, float64 [V]."""
    size, device = log_probs.shape[-1], log_probs.device
    if options.prior_weight == 0:
        return torch.zeros(size, dtype=torch.float64, device=device)
    if log_prior is None:
        raise UserError(
            f"prior_weight is {options.prior_weight} but there is no prior; "
            "give one or set the weight to 0"
        )
    prior = torch.as_tensor(log_prior, dtype=torch.float64, device=device)
    if prior.shape != (size,) or not prior[1:].isfinite().all():
        raise UserError(
            f"a prior of shape {list(prior.shape)} for {size} labels; it must "
            "have a finite log-probability for each token"
        )
    shift = -options.prior_weight * prior
    shift[0] = 0.0
    return shift


def _spell(
    parts: np.ndarray, trace: np.ndarray, bonus: float
) -> list[list[Hypothesis]]:
    """Write the hypotheses out, from scores [3, B, K] and the trace."""
    places, tokens = trace
    written = np.empty_like(tokens)
    place = np.broadcast_to(np.arange(parts.shape[2]), parts.shape[1:])
    for i in range(len(tokens) - 1, -1, -1):
        written[i] = np.take_along_axis(tokens[i], place, 1)
        place = np.take_along_axis(places[i], place, 1)
    order = np.argsort(-parts[0], axis=1, kind="stable")
    found = []
    for b, ranks in enumerate(order.tolist()):
        nbest = []
        for k in ranks:
            score, ctc, lm = parts[:, b, k].tolist()
            if ctc == _IMPOSSIBLE:
                continue
            ids = written[:, b, k]
            ids = tuple(ids[ids > 0].tolist())
            nbest.append(Hypothesis(ids, score, ctc, lm, bonus * len(ids)))
        found.append(nbest)
    return found
