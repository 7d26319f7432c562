"""The neural language model's weights from a development set.

encoded dev batches -> a search at every point of a grid -> beam_neural
re-scored N-best    -> a ranking at every point          -> rescore

The weights of the n-gram stay as they are. A batch is searched at all points
before the next, so that the model reads no prefix twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache

import numpy as np

from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.neural_beam import (
    NeuralBeamOptions,
    neural_beam_search,
)
from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.decoding.rescore import RescoreOptions
from nar_asr_lobes.decoding.tuning.grid import word_errors
from nar_asr_lobes.lobes.model import EncoderOutput

NEURAL_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
TOKEN_BONUSES = (0.0, 0.5, 1.0, 1.5, 2.0)
LODR_WEIGHTS = (0.0, 0.1, 0.2, 0.3)


def tune_neural(
    recognizer: Recognizer,
    encoded: Sequence[EncoderOutput],
    nbest: Sequence[Sequence[Hypothesis]],
    references: Sequence[str],
) -> tuple[DecodingOptions, dict[str, list[dict]]]:
    """Choose the neural weights of ``beam5_neural`` and ``nar_beam5_lm``.

    Arguments
    ---------
    recognizer : Recognizer
        With a neural language model; its options hold the other weights.
    encoded : sequence of EncoderOutput
        The development set.
    nbest : sequence of sequences of Hypothesis
        Its re-scored candidates, with ``ctc``, ``lm`` and ``decoder`` set.
    references : sequence of str
        What was said, in the form the tokenizer decodes to.

    Returns
    -------
    options : DecodingOptions
        Each weight set made the fewest word errors; of equally good ones the
        lowest is taken. LODR is weighed where its n-gram is there.
    surfaces : dict of str to list of dict
        The errors at each point that was tried.
    """
    recognizer.lms.neural.to(encoded[0].states.device)
    beam, first = _tune_beam(recognizer, encoded, references)
    rescore, again = _tune_rescoring(recognizer, nbest, references)
    options = replace(recognizer.options, beam_neural=beam, rescore=rescore)
    return options, {"beam_neural": first, "rescore_neural": again}


def _tune_beam(
    recognizer: Recognizer,
    encoded: Sequence[EncoderOutput],
    references: Sequence[str],
) -> tuple[NeuralBeamOptions, list[dict]]:
    """Try the weights and bonuses, then LODR on top of the best."""
    start = recognizer.options.beam_neural
    grid = [
        replace(start, neural_weight=weight, token_bonus=bonus)
        for weight, bonus in itertools.product(NEURAL_WEIGHTS, TOKEN_BONUSES)
    ]
    errors = _search_errors(recognizer, encoded, references, grid)
    best = grid[int(np.argmin(errors))]
    if recognizer.lms.lodr is not None:
        more = [replace(best, lodr_weight=weight) for weight in LODR_WEIGHTS]
        grid += more
        errors += _search_errors(recognizer, encoded, references, more)
        best = grid[int(np.argmin(errors))]
    return best, [
        {"errors": count, **asdict(options)}
        for count, options in zip(errors, grid, strict=True)
    ]


def _search_errors(
    recognizer: Recognizer,
    encoded: Sequence[EncoderOutput],
    references: Sequence[str],
    grid: Sequence[NeuralBeamOptions],
) -> list[int]:
    """Count the word errors of the search at every point."""
    words_wrong = cache(word_errors)  # most points find the same sentences
    left, errors = iter(references), [0] * len(grid)
    for part in encoded:
        said = list(itertools.islice(left, len(part.lengths)))
        reader = recognizer.lms.neural.batched()
        for point, options in enumerate(grid):
            found = neural_beam_search(
                part.log_probs, part.lengths, options, recognizer.lms, reader
            )
            texts = [recognizer.tokenizer.decode(h[0].tokens) for h in found]
            errors[point] += sum(map(words_wrong, said, texts))
    return errors


def _tune_rescoring(
    recognizer: Recognizer,
    nbest: Sequence[Sequence[Hypothesis]],
    references: Sequence[str],
) -> tuple[RescoreOptions, list[dict]]:
    """Rank the candidates at every point; their parts are known."""
    start, lms = recognizer.options.rescore, recognizer.lms
    lodr_weights = LODR_WEIGHTS if lms.lodr is not None else (0.0,)
    grid = list(itertools.product(NEURAL_WEIGHTS, TOKEN_BONUSES, lodr_weights))
    parts = _parts(recognizer, nbest)
    weights = np.array([(1.0, w, b, -share) for w, b, share in grid])
    errors = np.zeros(len(grid), dtype=np.int64)
    for found, reference in zip(nbest, references, strict=True):
        rows, parts = np.split(parts, [len(found)])
        texts = [recognizer.tokenizer.decode(h.tokens) for h in found]
        edits = np.array([word_errors(reference, text) for text in texts])
        errors += edits[(rows @ weights.T).argmax(axis=0)]
    names = "neural_weight", "token_bonus", "lodr_weight"
    points = [dict(zip(names, point, strict=True)) for point in grid]
    best = replace(start, **points[int(errors.argmin())])
    return best, [
        {"errors": int(count), **point}
        for count, point in zip(errors, points, strict=True)
    ]


def _parts(
    recognizer: Recognizer, nbest: Sequence[Sequence[Hypothesis]]
) -> np.ndarray:
    """List what is weighed: score so far, neural, length, LODR; [all, 4]."""
    options, lms = recognizer.options.rescore, recognizer.lms
    flat = [hypothesis for found in nbest for hypothesis in found]
    sentences = [hypothesis.tokens for hypothesis in flat]
    lodr = [0.0] * len(flat)
    if lms.lodr is not None:
        lodr = [lms.lodr.sentence(list(tokens)) for tokens in sentences]
    known = [
        (1 - options.ctc_weight) * (h.decoder or 0.0)
        # a finite stand-in: 0 times minus infinity would be NaN
        + options.ctc_weight * max(h.ctc, -1e30)
        + options.lm_weight * h.lm
        for h in flat
    ]
    lengths = [len(tokens) for tokens in sentences]
    neural = lms.neural.sentences(sentences)
    return np.array([known, neural, lengths, lodr]).T
