"""Decoding weights with the fewest word errors on a development set.

    grid of options -> a search, or a ranking of N-bests, at every point
                    -> word errors -> the best point

The searches are those of recognition, so the counts are those of recognition;
at thousands of times real time, a grid of them takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import jiwer
import numpy as np
import torch

from nar_asr_lobes.dataio.text.normalization import has_no_words
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.decoding.grid import Tuning, try_grid
from nar_asr_lobes.decoding.hypotheses import (
    BeamOptions,
    Hypothesis,
)
from nar_asr_lobes.decoding.mask_predict import mask_predict
from nar_asr_lobes.decoding.modes import (
    MODES,
    DecodingOptions,
    parts_present,
)
from nar_asr_lobes.decoding.rescore import RescoreOptions
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModel

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.datasets import Batch
    from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
    from nar_asr_lobes.decoding.recognizer import Recognizer
    from nar_asr_lobes.lobes.model import EncoderOutput

LM_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5)
TOKEN_BONUSES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
_CTC_WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_NEURAL_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_THRESHOLDS = (0.0, 0.5, 0.7, 0.9, 0.97)
_FILL_CTC_WEIGHTS = (0.0, 0.3, 0.5, 0.7)


@dataclass(frozen=True)
class TunedOptions:
    """The options chosen, and the data of the choice.

    ``report`` holds the surfaces, ``log_probs`` the CTC posteriors [T, V] of
    each utterance in the order of the batches.
    """

    options: DecodingOptions
    report: dict
    log_probs: list[torch.Tensor]


def tune_beam(
    log_probs: Sequence[torch.Tensor],
    references: Sequence[str],
    tokenizer: Tokenizer,
    lm: LanguageModel,
    options: BeamOptions | None = None,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    token_bonuses: Sequence[float] = TOKEN_BONUSES,
    progress: Callable[[list[BeamOptions]], Iterable[BeamOptions]] = iter,
) -> Tuning:
    """Find the weights of ``beam5_lm`` with the fewest word errors.

    ``log_probs`` [T, V] and reference of each development utterance. Of
    equally good points that of the lowest weight is the best. ``progress``
    wraps the points, as ``tqdm`` does.
    """
    _require_references(log_probs, references)
    return try_grid(
        options or BeamOptions(),
        {"lm_weight": lm_weights, "token_bonus": token_bonuses},
        _search_errors(
            lambda point: [
                nbest[0] for nbest in prefix_beam_search(log_probs, point, lm)
            ],
            references,
            tokenizer,
        ),
        references,
        progress,
    )


def _tune_rescoring(
    nbest: Sequence[Sequence[Hypothesis]],
    references: Sequence[str],
    tokenizer: Tokenizer,
    options: RescoreOptions,
    neural_weights: Sequence[float] = (0.0,),
    ctc_weights: Sequence[float] = _CTC_WEIGHTS,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    token_bonuses: Sequence[float] = TOKEN_BONUSES,
) -> Tuning:
    """Find the weights of ``nar_beam5_lm`` with the fewest word errors."""
    _require_references(nbest, references)
    weights = {
        "neural_weight": neural_weights,
        "lm_weight": lm_weights,
        "token_bonus": token_bonuses,
        "ctc_weight": ctc_weights,
    }

    def distance(point: RescoreOptions) -> tuple[float, float, float]:
        return (
            point.neural_weight,
            abs(point.lm_weight - options.lm_weight),
            abs(point.token_bonus - options.token_bonus),
        )

    count = _ranking_errors(nbest, references, tokenizer)
    return try_grid(options, weights, count, references, order=distance)


@torch.inference_mode()
def tune_options(
    recognizer: Recognizer, batches: Iterable[Batch]
) -> TunedOptions:
    """Choose the weights of ``beam5_lm``, ``nar`` and ``nar_beam5_lm``.

    The search starts at the recogniser's options; ``batches`` are the
    development set, with texts, on the model's device. Modes that lack a part
    keep their options.
    """
    model, tokenizer = recognizer.model.eval(), recognizer.tokenizer
    options, encoded, references = recognizer.options, [], []
    for batch in batches:
        encoded.append(model.encode(batch.wavs, batch.wav_lens))
        references += batch.texts
    log_probs = [row for part in encoded for row in posteriors(part)]
    beam = tune_beam(
        log_probs,
        references,
        tokenizer,
        recognizer.lms.ngram,
        options.beam5_lm,
    )
    options = replace(options, beam5_lm=beam.best)
    report = {"words": beam.words, "beam5_lm": beam.surface}
    parts = parts_present(model, recognizer.lms)
    if MODES["nar"].works_with(parts):
        fill = _tune_filling(recognizer, encoded, references)
        options = replace(options, nar=fill.best)
        report["nar"] = fill.surface
    if MODES["nar_beam5_lm"].works_with(parts):
        again = _search_rescoring(recognizer, options, encoded, references)
        options = replace(options, nar_beam5_lm=again.best)
        report["nar_beam5_lm"] = again.surface
    return TunedOptions(options, report, log_probs)


def _tune_filling(
    recognizer: Recognizer,
    encoded: list[EncoderOutput],
    references: Sequence[str],
) -> Tuning:
    """Find the options of ``nar`` with the fewest word errors."""
    return try_grid(
        recognizer.options.nar,
        {"threshold": _THRESHOLDS, "ctc_weight": _FILL_CTC_WEIGHTS},
        _search_errors(
            lambda point: [
                hypothesis
                for part in encoded
                for hypothesis in mask_predict(recognizer.model, part, point)
            ],
            references,
            recognizer.tokenizer,
        ),
        references,
    )


def _search_rescoring(
    recognizer: Recognizer,
    options: DecodingOptions,
    encoded: list[EncoderOutput],
    references: Sequence[str],
) -> Tuning:
    """Re-score the N-bests of ``beam5_lm``, then find the best weights."""
    rescoring = replace(
        options.nar_beam5_lm,
        lm_weight=options.beam5_lm.lm_weight,
        token_bonus=options.beam5_lm.token_bonus,
    )
    neural_weights = (
        (0.0,) if recognizer.lms.neural is None else _NEURAL_WEIGHTS
    )
    ctc_weights = _CTC_WEIGHTS
    if recognizer.model.decoder is None:
        ctc_weights = (1.0,)
    # above 0 only so that the neural model is asked
    asked = replace(rescoring, neural_weight=max(neural_weights))
    return _tune_rescoring(
        _search(recognizer, replace(options, nar_beam5_lm=asked), encoded),
        references,
        recognizer.tokenizer,
        rescoring,
        neural_weights,
        ctc_weights,
    )


def word_errors(reference: str, hypothesis: str) -> int:
    """Count substituted, deleted and inserted words.

    In a script without spaces (by the reference), characters are counted.
    """
    compare = jiwer.process_words
    if has_no_words(reference):
        compare = jiwer.process_characters
    counts = compare(reference, hypothesis)
    return counts.substitutions + counts.deletions + counts.insertions


def _search(
    recognizer: Recognizer,
    options: DecodingOptions,
    encoded: list[EncoderOutput],
) -> list[list[Hypothesis]]:
    """Re-score the N-best of every utterance."""
    searcher = copy(recognizer)
    searcher.options = options
    nbest: list[list[Hypothesis]] = []
    for part in encoded:
        nbest += searcher.search(part, ["nar_beam5_lm"])["nar_beam5_lm"].nbest
    return nbest


def _require_references(items: Sequence, references: Sequence[str]) -> None:
    """Refuse an empty development set, or one with parts missing."""
    if not len(items) or len(items) != len(references):
        raise UserError(
            f"{len(items)} development utterances with {len(references)} "
            "references; tuning needs one reference each, and at least one"
        )


def _search_errors(
    search: Callable[[Any], list[Hypothesis]],
    references: Sequence[str],
    tokenizer: Tokenizer,
) -> Callable[[Any], int]:
    """Make a function that counts the word errors of a search."""
    words_wrong = cache(word_errors)  # most points find the same sentences

    def count(point: Any) -> int:
        texts = [tokenizer.decode(found.tokens) for found in search(point)]
        return sum(map(words_wrong, references, texts))

    return count


def _ranking_errors(
    nbest: Sequence[Sequence[Hypothesis]],
    references: Sequence[str],
    tokenizer: Tokenizer,
) -> Callable[[RescoreOptions], int]:
    """Make a function that counts the word errors of the first-ranked."""
    shape = len(nbest), max(map(len, nbest))
    parts = np.zeros((*shape, 5))  # of N-best [B, N], to be weighed
    edits, absent = np.zeros(shape, np.int64), np.ones(shape, bool)
    for row, (found, reference) in enumerate(
        zip(nbest, references, strict=True)
    ):
        for place, h in enumerate(found):
            scores = h.decoder or 0.0, h.ctc, h.lm, h.neural, len(h.tokens)
            # a finite stand-in: 0 times minus infinity would be NaN
            parts[row, place] = np.maximum(scores, -1e30)
            edits[row, place] = word_errors(
                reference, tokenizer.decode(h.tokens)
            )
            absent[row, place] = False

    def count(point: RescoreOptions) -> int:
        ctc, lm, neural = point.ctc_weight, point.lm_weight, point.neural_weight
        scores = parts @ (1 - ctc, ctc, lm, neural, point.token_bonus)
        scores[absent] = -np.inf
        return int(edits[np.arange(len(edits)), scores.argmax(axis=1)].sum())

    return count
