"""The NAR decoder's slots, searched with a language model.

    tokens [U] of another mode -> unsure ones masked -> decoder, one pass
        -> candidates of each slot -> beam over the slots -> N-best [U]

The length stays that of the tokens it starts from. Slot i's candidates have

    log p(v | i) = (1 - ctc_weight) * log p_dec(v | i)
                   + ctc_weight * log mean p_ctc(v)  + constant

where the mean is over the frames of the slot's token on the best CTC path,
blank excluded; a token that is not masked is its slot's only candidate.
Hypotheses are ranked by

    S(y) = sum_i log p(y_i | i) + lm_weight * log p_LM(y)

the sentence end included. B utterances, U slots, T frames, V labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from nar_asr_lobes.decoding.alignment import align
from nar_asr_lobes.decoding.encoded import decode_slots, posteriors, take
from nar_asr_lobes.decoding.hypotheses import Hypothesis, LanguageModel
from nar_asr_lobes.decoding.rescore import ctc_scores
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import require_count, require_number

if TYPE_CHECKING:
    from nar_asr_lobes.lobes.model import EncoderOutput, NarAsr

STARTS = ("ctc_greedy", "beam5_lm")


@dataclass(frozen=True)
class SlotBeamOptions:
    """Options of the beam over slots.

    Arguments
    ---------
    start : str
        Mode whose result gives the slots: ``ctc_greedy`` or ``beam5_lm``.
    mask_threshold : float
        Tokens whose CTC probability is below it are masked; the others stay.
    sure_threshold : float
        A masked slot whose best token is more probable than this has no other
        candidate, so that the language model is asked where it matters; 1
        for never.
    max_candidates : int
        Best tokens of each other slot.
    beam_size : int
        Prefixes kept behind each slot.
    ctc_weight : float
        Share of the CTC posteriors in the choice of a token, 0 to 1.
    lm_weight : float
        Weight of the language model's natural log-probability, >= 0.

    Raises
    ------
    UserError
        If a value is NaN or outside its limits.

    Example
    -------
    >>> SlotBeamOptions(lm_weight=0.8).beam_size
    5
    """

    start: str = "ctc_greedy"
    mask_threshold: float = 0.99
    sure_threshold: float = 0.99
    max_candidates: int = 8
    beam_size: int = 5
    ctc_weight: float = 0.5
    lm_weight: float = 1.0

    def __post_init__(self):
        if self.start not in STARTS:
            raise UserError(
                f"start is {self.start!r}; choose from {', '.join(STARTS)}"
            )
        require_number("mask_threshold", self.mask_threshold, 0.0, 1.0)
        require_number("sure_threshold", self.sure_threshold, 0.0, 1.0)
        require_count("max_candidates", self.max_candidates)
        require_count("beam_size", self.beam_size)
        require_number("ctc_weight", self.ctc_weight, 0.0, 1.0)
        require_number("lm_weight", self.lm_weight, minimum=0.0)


@dataclass(frozen=True)
class _Slots:
    """The slots of one utterance, on the CPU.

    ``tokens`` [U], the middle of each one's ``frames`` [U], the natural log
    of its highest CTC probability there ``sureness`` [U], and of the mean CTC
    posteriors ``evidence`` [U, V - 1], which begin with token 1.
    """

    tokens: torch.Tensor
    frames: torch.Tensor
    sureness: torch.Tensor
    evidence: torch.Tensor


def slot_beam_search(
    model: NarAsr,
    encoded: EncoderOutput,
    starts: Sequence[Sequence[int]],
    options: SlotBeamOptions,
    lm: LanguageModel,
) -> list[list[Hypothesis]]:
    """Search each utterance for its best tokens of a given number.

    Arguments
    ---------
    model : NarAsr
        Gives the decoder, in evaluation mode.
    encoded : EncoderOutput
        Its encoder's output for B utterances.
    starts : sequence of sequences of int
        Token ids [U] of each utterance, such as those of the CTC best path.
    options : SlotBeamOptions
        Masks, candidates, width and weights.
    lm : LanguageModel
        Language model over the same tokens.

    Returns
    -------
    list of list of Hypothesis
        For each utterance at most ``beam_size`` hypotheses, best first, no
        two in the same state of the language model (at weight 0, any).
        ``score`` is S(y) above, kept tokens with their CTC probability;
        ``decoder`` sums the decoder's log-probabilities of the masked slots;
        ``ctc`` is the exact CTC score.

    Raises
    ------
    UserError
        If posteriors or decoder outputs hold NaN, tokens do not fit into
        their frames, or the language model has another number of tokens.
    """
    size = encoded.log_probs.shape[2]
    if len(lm.tables.unigram_log_prob) != size:
        raise UserError(
            f"posteriors of {size} labels with a language model of "
            f"{len(lm.tables.unigram_log_prob)}; use the tokenizer's own"
        )
    log_probs = posteriors(encoded)
    slots = [
        _slots(rows, tokens)
        for rows, tokens in zip(log_probs, starts, strict=True)
    ]
    decoded = _decode(model, encoded, slots, options)
    return [
        _search(rows, part, decoder, options, lm)
        for rows, part, decoder in zip(log_probs, slots, decoded, strict=True)
    ]


def _slots(log_probs: torch.Tensor, tokens: Sequence[int]) -> _Slots:
    """Find what the CTC layer says about each token of one utterance."""
    spans = align(log_probs, tokens)
    evidence = torch.zeros(len(spans), log_probs.shape[1] - 1)
    for slot, span in enumerate(spans):
        evidence[slot] = log_probs[span.start : span.end, 1:].logsumexp(dim=0)
    return _Slots(
        tokens=torch.tensor(tokens, dtype=torch.long),
        frames=torch.tensor([(s.start + s.end - 1) / 2 for s in spans]),
        sureness=torch.tensor([span.log_prob for span in spans]),
        evidence=evidence.log_softmax(dim=1),
    )


def _masked(slots: _Slots, options: SlotBeamOptions) -> torch.Tensor:
    """Tell which slots [U] the decoder is asked about."""
    return slots.sureness.exp() < options.mask_threshold


def _decode(
    model: NarAsr,
    encoded: EncoderOutput,
    slots: list[_Slots],
    options: SlotBeamOptions,
) -> list[torch.Tensor | None]:
    """Give the decoder's log-probabilities [U, V - 1], None if not asked."""
    masked = [_masked(part, options) for part in slots]
    asked = [row for row, mask in enumerate(masked) if mask.any()]
    decoded: list[torch.Tensor | None] = [None] * len(slots)
    if not asked:
        return decoded
    device = encoded.states.device
    tokens = [
        slots[row].tokens.masked_fill(masked[row], model.mask_id)
        for row in asked
    ]
    log_probs = decode_slots(
        model,
        take(encoded, torch.tensor(asked, device=device)),
        pad_sequence(tokens, True, model.mask_id).to(device),
        torch.tensor([len(row) for row in tokens], device=device),
        pad_sequence([slots[row].frames for row in asked], True).to(device),
    ).cpu()
    for row, values in zip(asked, log_probs, strict=True):
        decoded[row] = values[: len(slots[row].tokens), 1:]
    return decoded


def _search(
    log_probs: torch.Tensor,
    slots: _Slots,
    decoder: torch.Tensor | None,
    options: SlotBeamOptions,
    lm: LanguageModel,
) -> list[Hypothesis]:
    """Return the N-best of one utterance."""
    from nar_asr_lobes.decoding.slot_beam_kernel import search_slots

    masked = _masked(slots, options)
    parts, tokens = search_slots(
        *_candidates(slots, masked, decoder, options),
        lm.tables,
        options.beam_size,
        float(options.lm_weight),
    )
    shares = [0.0] * len(tokens)
    if decoder is not None:
        chosen = decoder[masked].gather(
            1, torch.from_numpy(tokens).long().T[masked] - 1
        )
        shares = chosen.double().sum(dim=0).tolist()
    sequences = [tuple(row) for row in tokens.tolist()]
    ctc = ctc_scores(log_probs, sequences)
    return [
        Hypothesis(sequence, score, exact, lm=lm_score, decoder=share)
        for sequence, (score, lm_score), exact, share in zip(
            sequences, parts.tolist(), ctc, shares, strict=True
        )
    ]


def _candidates(
    slots: _Slots,
    masked: torch.Tensor,
    decoder: torch.Tensor | None,
    options: SlotBeamOptions,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose each slot's tokens [U, K], their log-probabilities, how many."""
    width = min(options.max_candidates, slots.evidence.shape[1])
    tokens = slots.tokens[:, None].repeat(1, width)
    scores = slots.sureness[:, None].repeat(1, width).double()
    counts = torch.ones(len(tokens), dtype=torch.long)
    if decoder is not None:
        joint = _joint(decoder[masked], slots.evidence[masked], options)
        best, found = joint.topk(width, dim=1)
        tokens[masked], scores[masked] = found + 1, best
        sure = best[:, 0] > math.log(max(options.sure_threshold, 1e-30))
        possible = (best > -math.inf).sum(dim=1)
        counts[masked] = torch.where(sure, 1, possible)
    return tokens.int().numpy(), scores.numpy(), counts.numpy()


def _joint(
    decoder: torch.Tensor, evidence: torch.Tensor, options: SlotBeamOptions
) -> torch.Tensor:
    """Weigh the decoder's and the CTC layer's log-probabilities [U, V - 1]."""
    joint = (1 - options.ctc_weight) * decoder
    # a weight of 0 must also silence a probability of 0
    if options.ctc_weight > 0:
        joint = joint + options.ctc_weight * evidence
    return joint.double().log_softmax(dim=1)
