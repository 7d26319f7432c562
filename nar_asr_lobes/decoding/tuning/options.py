"""All decoding weights from one encoder pass over a development set.

dev batches -> encode, once -> tune_lm          -> beam_lm
                            -> mask-predict grid -> mask_predict
                            -> re-scored 5-best  -> rescore
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from copy import copy
from dataclasses import asdict, dataclass, replace

import torch

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.mask_predict import (
    MaskPredictOptions,
    mask_predict,
)
from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.decoding.tune_neural import tune_neural
from nar_asr_lobes.decoding.tuning.grid import (
    tune_lm,
    tune_rescoring,
    word_errors,
)
from nar_asr_lobes.lobes.model import EncoderOutput

THRESHOLDS = (0.0, 0.5, 0.7, 0.9, 0.97)
FILL_CTC_WEIGHTS = (0.0, 0.3, 0.5, 0.7)


@dataclass(frozen=True)
class TunedOptions:
    """The options chosen, and what they were chosen from.

    ``report`` holds the surfaces, ``log_probs`` the CTC posteriors [T, V] of
    each utterance in the order of the batches.
    """

    options: DecodingOptions
    report: dict
    log_probs: list[torch.Tensor]


@torch.inference_mode()
def tune_options(
    recognizer: Recognizer, batches: Iterable[Batch]
) -> TunedOptions:
    """Choose the weights of ``beam5_lm``, ``nar`` and ``nar_beam5_lm``.

    With a neural language model, then also its weights, see ``tune_neural``.

    Arguments
    ---------
    recognizer : Recognizer
        With an n-gram; its options are where the search starts.
    batches : iterable of Batch
        The development set, with texts, on the model's device.

    Returns
    -------
    TunedOptions
        Each weight set made the fewest word errors on these batches.
    """
    model, lm = recognizer.model.eval(), recognizer.lms.ngram
    tokenizer, options = recognizer.tokenizer, recognizer.options
    encoded, references = [], []
    for batch in batches:
        encoded.append(model.encode(batch.wavs, batch.wav_lens))
        references += batch.texts
    log_probs = [row for part in encoded for row in posteriors(part)]
    first = tune_lm(log_probs, references, tokenizer, lm, options.beam_lm)
    weights = {
        "lm_weight": first.best.lm_weight,
        "token_bonus": first.best.token_bonus,
    }
    fill, fill_surface = _tune_mask_predict(recognizer, encoded, references)
    options = replace(
        options,
        beam_lm=replace(options.beam_lm, **weights),
        mask_predict=fill,
        rescore=replace(options.rescore, **weights),
    )
    nbest = _rescored(recognizer, encoded, options)
    again = tune_rescoring(nbest, references, tokenizer)
    # Many points tie on a small set; the search's own weights break the tie.
    chosen = min(
        again.surface,
        key=lambda point: (
            point.errors,
            abs(point.lm_weight - first.best.lm_weight),
            abs(point.token_bonus - first.best.token_bonus),
        ),
    )
    rescoring = replace(
        options.rescore,
        ctc_weight=chosen.ctc_weight,
        lm_weight=chosen.lm_weight,
        token_bonus=chosen.token_bonus,
    )
    report = {
        "words": first.words,
        "beam_lm": [asdict(point) for point in first.surface],
        "mask_predict": fill_surface,
        "rescore": [asdict(point) for point in again.surface],
    }
    options = replace(options, rescore=rescoring)
    if recognizer.lms.neural is not None:
        options, surfaces = tune_neural(
            _with_options(recognizer, options), encoded, nbest, references
        )
        report |= surfaces
    return TunedOptions(options, report, log_probs)


def _tune_mask_predict(
    recognizer: Recognizer, encoded: list[EncoderOutput], references: list[str]
) -> tuple[MaskPredictOptions, list[dict]]:
    """Try thresholds and CTC shares; threshold 0 is the greedy result."""
    surface = []
    for threshold, share in itertools.product(THRESHOLDS, FILL_CTC_WEIGHTS):
        options = replace(
            recognizer.options.mask_predict,
            threshold=threshold,
            ctc_weight=share,
        )
        found = [
            recognizer.tokenizer.decode(hypothesis.tokens)
            for part in encoded
            for hypothesis in mask_predict(recognizer.model, part, options)
        ]
        errors = sum(map(word_errors, references, found))
        surface.append((errors, options))
    best = min(surface, key=lambda pair: pair[0])[1]
    rows = [{"errors": errors, **asdict(opts)} for errors, opts in surface]
    return best, rows


def _rescored(
    recognizer: Recognizer,
    encoded: list[EncoderOutput],
    options: DecodingOptions,
) -> list[list[Hypothesis]]:
    """Re-score the 5-best of every utterance with the decoder."""
    searcher = _with_options(recognizer, options)
    nbest: list[list[Hypothesis]] = []
    for part in encoded:
        nbest += searcher.search(part, ["nar_beam5_lm"])["nar_beam5_lm"].nbest
    return nbest


def _with_options(
    recognizer: Recognizer, options: DecodingOptions
) -> Recognizer:
    """Return a recogniser that differs in its options only."""
    other = copy(recognizer)
    other.options = options
    return other
