"""N-best re-scored by the NAR decoder, an utterance at a time.

    N token sequences [U] -> rows with complementary masks [N * M, U]
        -> decoder -> log-probability of each token while it is masked
        -> pseudo-log-likelihood (PLL) of each sequence

Row j of the M masks positions i with i mod M == j, so each token is predicted
once, seeing the others. The final score is

    S(y) = (1 - ctc_weight) * PLL(y) + ctc_weight * log p_ctc(y)
           + lm_weight * log p_LM(y) + token_bonus * |y|
           + neural_weight * log p_neural(y) + the bonus of hot words

with the exact CTC score of all paths, not the beam's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from nar_asr_lobes.decoding.encoded import (
    BLANK,
    decode_checked,
    posteriors,
    take,
)
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.lm.models import (
    LanguageModel,
    LanguageModels,
    require_models,
)
from nar_asr_lobes.lobes.alignment import token_frames
from nar_asr_lobes.schema import Checked, count, number

if TYPE_CHECKING:
    from nar_asr_lobes.decoding.hotwords.tables import HotWords
    from nar_asr_lobes.lobes.model import EncoderOutput, NarAsr

# Frames of a decoder pass, all rows together: bounds its memory.
_FRAMES = 1 << 16


@dataclass(frozen=True)
class RescoreOptions(Checked):
    """Options of the re-scoring of an N-best.

    Arguments
    ---------
    ctc_weight : float
        Share of the exact CTC score against the decoder's
        pseudo-log-likelihood, 0 to 1.
    lm_weight : float
        Weight of the language model's natural log-probability, >= 0.
    token_bonus : float
        Added for each token.
    masks : int
        Number of complementary masks M: decoder rows per hypothesis.
    include_nar : bool
        Whether the result of mask-predict joins the candidates.
    neural_weight : float
        Weight of the neural language model's natural log-probability, >= 0.
        At 0 that model is not asked.
    nbest : int
        Best hypotheses of the beam search that are re-scored, 5 to 100; they
        come from a beam at least as wide.

    Raises
    ------
    UserError
        If a value is NaN or outside its limits.

    Example
    -------
    >>> RescoreOptions(lm_weight=0.4).masks
    4
    """

    ctc_weight: float = number(0.3, 0.0, 1.0)
    lm_weight: float = number(0.0, least=0.0)
    token_bonus: float = 0.0
    masks: int = count(4, least=1)
    include_nar: bool = False
    neural_weight: float = number(0.0, least=0.0)
    nbest: int = count(5, least=5, most=100)


def ctc_scores(
    log_probs: torch.Tensor, sequences: Sequence[Sequence[int]]
) -> list[float]:
    """Score token sequences by all their CTC paths through log_probs [T, V].

    Minus infinity for one that does not fit into T frames.

    Example
    -------
    >>> frames = torch.tensor([[.6, .4], [.6, .4]]).log()
    >>> [round(score, 3) for score in ctc_scores(frames, [[], [1], [1, 1]])]
    [-1.022, -0.446, -inf]
    """
    frames = len(log_probs)
    if not sequences:
        return []
    if frames == 0:
        return [-float("inf") if len(tokens) else 0.0 for tokens in sequences]
    targets, lengths = _pad(sequences, padding=1)
    count = len(lengths)
    losses = torch.nn.functional.ctc_loss(
        log_probs.detach().cpu().double()[:, None].expand(-1, count, -1),
        targets,
        torch.full((count,), frames),
        lengths,
        blank=BLANK,
        reduction="none",
    )
    return (-losses).tolist()


def _pseudo_log_likelihoods(
    model: NarAsr,
    encoded: EncoderOutput,
    row: int,
    sequences: Sequence[Sequence[int]],
    masks: int = 4,
) -> list[float]:
    """Score token sequences of one utterance with the decoder."""
    frames = max(1, int(encoded.lengths[row]))
    most = max(1, _FRAMES // (masks * frames))
    return [
        score
        for start in range(0, len(sequences), most)
        for score in _decoder_scores(
            model, encoded, row, sequences[start : start + most], masks
        )
    ]


def _decoder_scores(
    model: NarAsr,
    encoded: EncoderOutput,
    row: int,
    sequences: Sequence[Sequence[int]],
    masks: int,
) -> list[float]:
    """Score N sequences of one utterance in one decoder pass of R rows."""
    tokens, lengths = _pad(sequences, padding=model.mask_id)
    positions = torch.arange(tokens.shape[1])
    masked = positions % masks == torch.arange(masks)[:, None]  # [M, U]
    masked = masked & (positions < lengths[:, None, None])  # [N, M, U]
    # a sequence shorter than M leaves masks that mask nothing
    sequence, mask = masked.any(dim=2).nonzero(as_tuple=True)  # [R]
    totals = torch.zeros(len(lengths), dtype=torch.float64)
    if len(sequence) == 0:
        return totals.tolist()
    masked, targets = masked[sequence, mask], tokens[sequence]  # [R, U]
    device = encoded.states.device
    rows = torch.full((len(sequence),), row, device=device)
    part, token_lens = take(encoded, rows), lengths[sequence].to(device)
    log_probs = decode_checked(  # [R, U, V]
        model,
        part,
        targets.masked_fill(masked, model.mask_id).to(device),
        token_lens,
        token_frames(
            part.log_probs, part.lengths, targets.to(device), token_lens
        ),
    )
    # the padding's target must be a column that exists
    index = targets.masked_fill(~masked, 1).to(device)
    scores = log_probs.gather(2, index[..., None]).squeeze(2).cpu().double()
    scores = scores.masked_fill(~masked, 0.0).sum(dim=1)
    return totals.index_add(0, sequence, scores).tolist()


def rescore(
    model: NarAsr,
    encoded: EncoderOutput,
    nbest: Sequence[Sequence[Hypothesis]],
    options: RescoreOptions,
    lms: LanguageModels | None = None,
    hot_words: HotWords | None = None,
) -> list[list[Hypothesis]]:
    """Re-rank each N-best list with the NAR decoder's score added.

    Of the candidates only the tokens count, of equal ones the first. The
    unweighted score of ``lms.ngram`` is part of the result even at weight 0.
    Without a decoder the CTC score has the whole weight.
    """
    lms = lms or LanguageModels()
    require_models(options, lms.present)
    if model.decoder is None:
        options = replace(options, ctc_weight=1.0)
    results = []
    for row, log_probs in enumerate(posteriors(encoded)):
        sequences = list(dict.fromkeys(h.tokens for h in nbest[row]))
        ctc = ctc_scores(log_probs, sequences)
        decoder = [None] * len(sequences)
        if model.decoder is not None:
            decoder = _pseudo_log_likelihoods(
                model, encoded, row, sequences, options.masks
            )
        neural = [0.0] * len(sequences)
        if options.neural_weight > 0:
            neural = lms.neural.sentences(sequences)
        found = [
            _combine(*scores, options, lms.ngram, hot_words)
            for scores in zip(sequences, ctc, decoder, neural, strict=True)
        ]
        results.append(sorted(found, key=lambda h: -h.score))
    return results


def _combine(
    tokens: tuple[int, ...],
    ctc: float,
    decoder: float | None,
    neural: float,
    options: RescoreOptions,
    lm: LanguageModel | None,
    hot_words: HotWords | None,
) -> Hypothesis:
    """Weigh the parts of one candidate's score."""
    lm_score = lm.sentence(list(tokens)) if lm is not None else 0.0
    bonus = options.token_bonus * len(tokens)
    hot = hot_words.gain(tokens) if hot_words is not None else 0.0
    score = (1 - options.ctc_weight) * (decoder or 0.0) + bonus + hot
    # a weight of 0 must also silence a score of minus infinity
    if options.ctc_weight > 0:
        score += options.ctc_weight * ctc
    if options.lm_weight > 0:
        score += options.lm_weight * lm_score
    if options.neural_weight > 0:
        score += options.neural_weight * neural
    return Hypothesis(tokens, score, ctc, lm_score, bonus, decoder, neural, hot)


def _pad(
    sequences: Sequence[Sequence[int]], padding: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make one LongTensor [N, U] of token sequences, and their lengths [N]."""
    lengths = torch.tensor([len(tokens) for tokens in sequences])
    padded = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(tokens, dtype=torch.long) for tokens in sequences],
        batch_first=True,
        padding_value=padding,
    )
    return padded, lengths
