"""CTC prefix beam search with a neural language model in the first pass.

    score(y) = log p_ctc(y) + neural_weight * log p_neural(y)
               + lm_weight * log p_ngram(y) - lodr_weight * log p_lodr(y)
               + token_bonus * |y|

The search is ``batched_beam``: in each step the model reads, in one batch, the
prefixes that are new to the beams of all utterances. Low-order density ratio
(LODR, https://arxiv.org/abs/2203.16776) takes off what the recogniser learned
of its own transcripts' language, as a bigram of them knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nar_asr_lobes.decoding.hypotheses import BeamOptions, Hypothesis
from nar_asr_lobes.lm.models import LanguageModels, require_models
from nar_asr_lobes.schema import require_number

if TYPE_CHECKING:
    from nar_asr_lobes.decoding.hotwords.tables import HotWords
    from nar_asr_lobes.lm.batched import BatchedLM
    from nar_asr_lobes.lm.neural.prefixes import BatchedNeural


@dataclass(frozen=True)
class NeuralBeamOptions:
    """Options of the beam search with a neural language model.

    Arguments
    ---------
    beam_size, token_bonus, max_candidates, min_log_prob, blank_threshold :
        As in ``BeamOptions``.
    neural_weight : float
        Weight of the neural model's natural log-probability, >= 0. At 0, as
        with the other two, the model is not asked.
    lm_weight : float
        Weight of the n-gram's, >= 0.
    lodr_weight : float
        Weight, >= 0, with which that of the low-order n-gram is taken off.

    Raises
    ------
    UserError
        If a value is no number, NaN or outside its limits.

    Example
    -------
    >>> NeuralBeamOptions(neural_weight=-1.0)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: neural_weight is -1.0; it must be a finite \
number from 0.0 to inf
    """

    beam_size: int = 5
    neural_weight: float = 0.5
    lm_weight: float = 0.0
    lodr_weight: float = 0.0
    token_bonus: float = 0.5
    max_candidates: int | None = 20
    min_log_prob: float | None = -8.0
    blank_threshold: float | None = 0.999

    def __post_init__(self):
        for weight in ("neural_weight", "lm_weight", "lodr_weight"):
            require_number(weight, getattr(self, weight), minimum=0.0)
        self.search_options(1.0)  # checks the others

    def search_options(self, lm_weight: float) -> BeamOptions:
        """Return the options of the search, with a weight for all models."""
        return BeamOptions(
            self.beam_size,
            lm_weight,
            self.token_bonus,
            self.max_candidates,
            self.min_log_prob,
            self.blank_threshold,
            recombine=False,  # no two prefixes are ever equal to the model
        )


def neural_beam_search(
    log_probs: torch.Tensor,
    lengths: torch.Tensor | Sequence[int],
    options: NeuralBeamOptions,
    lms: LanguageModels,
    reader: BatchedNeural | None = None,
    hot_words: HotWords | None = None,
) -> list[list[Hypothesis]]:
    """Search a batch of utterances for their best token sequences.

    Arguments
    ---------
    log_probs : torch.Tensor
        CTC natural log-probabilities [B, T, V]; column 0 is the blank. The
        neural model is on the same device.
    lengths : torch.Tensor or sequence of int
        Frames of each utterance [B].
    options : NeuralBeamOptions
        Width, weights and pruning.
    lms : LanguageModels
        Those that have a weight.
    reader : BatchedNeural, optional
        From ``lms.neural.batched()``; one that is used for several searches
        of a batch reads no prefix twice.
    hot_words : HotWords or None
        Phrases to prefer, over the same tokens.

    Returns
    -------
    list of list of Hypothesis
        For each utterance at most ``beam_size`` hypotheses, best first, at
        least one, with the scores of all models that were asked.

    Raises
    ------
    UserError
        As ``batched_prefix_beam_search``, or if a weight is above 0 without
        its language model.

    Example
    -------
    >>> frames = torch.tensor([[[.6, .4], [.6, .4]]]).log()
    >>> options = NeuralBeamOptions(neural_weight=0.0, token_bonus=0.0)
    >>> [[best, *_]] = neural_beam_search(
    ...     frames, [2], options, LanguageModels()
    ... )
    >>> best.tokens, round(best.score, 3)
    ((1,), -0.446)
    """
    from nar_asr_lobes.decoding.batched_beam import batched_prefix_beam_search
    from nar_asr_lobes.lm.combined import CombinedLM

    require_models(options, lms.present)
    device = log_probs.device
    weighted: list[tuple[float, BatchedLM]] = []
    if options.neural_weight > 0:
        model = reader or lms.neural.batched()
        weighted.append((options.neural_weight, model))
    if options.lm_weight > 0:
        weighted.append((options.lm_weight, lms.ngram.batched(device)))
    if options.lodr_weight > 0:
        weighted.append((-options.lodr_weight, lms.lodr.batched(device)))
    lm = CombinedLM(*zip(*weighted, strict=True)) if weighted else None
    found = batched_prefix_beam_search(
        log_probs,
        lengths,
        options.search_options(float(bool(weighted))),
        lm,
        hot_words=hot_words,
    )
    return [[_split(h, options, lms) for h in nbest] for nbest in found]


def _split(
    found: Hypothesis, options: NeuralBeamOptions, lms: LanguageModels
) -> Hypothesis:
    """Tell the scores of the models apart; the search knows their sum only.

    The n-grams are asked again, and what is left is the neural model's.
    """
    left, tokens = found.lm, list(found.tokens)
    ngram = lodr = neural = 0.0
    if options.lm_weight > 0:
        ngram = lms.ngram.sentence(tokens)
        left -= options.lm_weight * ngram
    if options.lodr_weight > 0:
        lodr = lms.lodr.sentence(tokens)
        left += options.lodr_weight * lodr
    if options.neural_weight > 0:
        neural = left / options.neural_weight
    return found._replace(lm=ngram, neural=neural, lodr=lodr)
