"""Weights of the language model from a development set.

    posteriors + references -> large N-best, its words' errors counted once
        -> errors at every point of a grid -> the best points, searched again

Searching once per grid point would repeat nearly all the work. Here every
utterance is searched with a wide beam at three language model weights; each
grid point then only ranks those candidates by their exact scores. The few best
points are confirmed by the real search, which alone decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jiwer
import numpy as np
import torch

from nar_asr_lobes.decoding.hypotheses import (
    BeamOptions,
    Hypothesis,
    LanguageModel,
)
from nar_asr_lobes.decoding.prefix_beam import prefix_beam_search
from nar_asr_lobes.decoding.rescore import ctc_scores
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.limits import require_count

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.tokenizer import Tokenizer

LM_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
TOKEN_BONUSES = (0.0, 0.5, 1.0, 1.5, 2.0)
CTC_WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@dataclass(frozen=True)
class GridPoint:
    """One choice of weights and the word errors it makes.

    Arguments
    ---------
    lm_weight, token_bonus, ctc_weight : float
        The weights; ``ctc_weight`` 1 leaves the NAR decoder out.
    errors : int
        Word errors when the candidates are ranked with these weights.
    searched_errors : int or None
        Word errors of the real search with them; None where not searched.
    """

    lm_weight: float
    token_bonus: float
    ctc_weight: float
    errors: int
    searched_errors: int | None = None


@dataclass(frozen=True)
class Tuning:
    """The outcome of a grid search.

    Arguments
    ---------
    best : GridPoint
        The point to use.
    words : int
        Words in the references.
    surface : list of GridPoint
        All points, in the order of the grid.
    """

    best: GridPoint
    words: int
    surface: list[GridPoint]


def tune_lm(
    log_probs: Sequence[torch.Tensor],
    references: Sequence[str],
    tokenizer: Tokenizer,
    lm: LanguageModel,
    options: BeamOptions | None = None,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    token_bonuses: Sequence[float] = TOKEN_BONUSES,
    confirm: int = 3,
) -> Tuning:
    """Find the weights of ``beam5_lm`` with the fewest word errors.

    Arguments
    ---------
    log_probs : sequence of torch.Tensor
        CTC natural log-probabilities [T, V] of each development utterance.
    references : sequence of str
        What was said, in the form the tokenizer decodes to.
    tokenizer : Tokenizer
        Turns tokens into text.
    lm : LanguageModel
        The language model to weigh.
    options : BeamOptions or None
        The search to tune; its own weights are not used.
    lm_weights, token_bonuses : sequence of float
        The grid.
    confirm : int
        Points that are searched with the real beam.

    Returns
    -------
    Tuning
        Its ``best`` is, of the points searched, the one with the fewest
        errors (of equal ones the lowest weights).

    Raises
    ------
    UserError
        If the lists are empty or differ in length, or a weight is invalid.
    """
    options = options or BeamOptions()
    require_count("confirm", confirm)
    _require_references(log_probs, references)
    grid = list(itertools.product(lm_weights, token_bonuses, [1.0]))
    candidates = _candidates(log_probs, lm, options, lm_weights, token_bonuses)
    tuning = _rank_grid(candidates, references, tokenizer, grid)
    order = sorted(range(len(grid)), key=lambda i: tuning.surface[i].errors)
    for i in order[:confirm]:
        point = tuning.surface[i]
        weighted = replace(
            options, lm_weight=point.lm_weight, token_bonus=point.token_bonus
        )
        nbest = prefix_beam_search(log_probs, weighted, lm)
        errors = _errors_of_best(nbest, references, tokenizer)
        tuning.surface[i] = replace(point, searched_errors=errors)
    searched = [tuning.surface[i] for i in sorted(order[:confirm])]
    best = min(searched, key=lambda point: point.searched_errors)
    return replace(tuning, best=best)


def tune_rescoring(
    nbest: Sequence[Sequence[Hypothesis]],
    references: Sequence[str],
    tokenizer: Tokenizer,
    ctc_weights: Sequence[float] = CTC_WEIGHTS,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    token_bonuses: Sequence[float] = TOKEN_BONUSES,
) -> Tuning:
    """Find the weights of ``nar_beam5_lm`` with the fewest word errors.

    Arguments
    ---------
    nbest : sequence of sequences of Hypothesis
        Re-scored candidates of each development utterance, with ``ctc``,
        ``lm`` and ``decoder`` set; no search is repeated.
    references : sequence of str
        What was said, in the form the tokenizer decodes to.
    tokenizer : Tokenizer
        Turns tokens into text.
    ctc_weights, lm_weights, token_bonuses : sequence of float
        The grid.

    Returns
    -------
    Tuning
        Exact at every point.

    Raises
    ------
    UserError
        If the lists are empty or differ in length.
    """
    _require_references(nbest, references)
    grid = list(itertools.product(lm_weights, token_bonuses, ctc_weights))
    return _rank_grid(nbest, references, tokenizer, grid)


def word_errors(reference: str, hypothesis: str) -> int:
    """Count substituted, deleted and inserted words.

    Arguments
    ---------
    reference, hypothesis : str
        Words separated by spaces; either may be empty.

    Returns
    -------
    int
        The smallest number of edits.

    Example
    -------
    >>> word_errors("one two", "one too many")
    2
    """
    counts = jiwer.process_words(reference, hypothesis)
    return counts.substitutions + counts.deletions + counts.insertions


def _errors_of_best(
    nbest: Sequence[Sequence[Hypothesis]],
    references: Sequence[str],
    tokenizer: Tokenizer,
) -> int:
    """Count the word errors of the best hypotheses."""
    return sum(
        word_errors(reference, tokenizer.decode(found[0].tokens))
        for reference, found in zip(references, nbest, strict=True)
    )


def _require_references(items: Sequence, references: Sequence[str]) -> None:
    """Refuse an empty development set, or one with parts missing."""
    if not len(items) or len(items) != len(references):
        raise UserError(
            f"{len(items)} development utterances with {len(references)} "
            "references; tuning needs one reference each, and at least one"
        )


def _candidates(
    log_probs: Sequence[torch.Tensor],
    lm: LanguageModel,
    options: BeamOptions,
    lm_weights: Sequence[float],
    token_bonuses: Sequence[float],
) -> list[list[Hypothesis]]:
    """Collect what wide beams find, with exact CTC and LM scores."""
    ordered = sorted(lm_weights)
    spread = (ordered[0], ordered[len(ordered) // 2], ordered[-1])
    pools = [{} for _ in log_probs]
    for weight in dict.fromkeys(spread):
        wide = replace(
            options,
            beam_size=4 * options.beam_size,
            lm_weight=weight,
            token_bonus=sorted(token_bonuses)[len(token_bonuses) // 2],
        )
        nbest = prefix_beam_search(log_probs, wide, lm)
        for pool, found in zip(pools, nbest, strict=True):
            pool.update(dict.fromkeys(h.tokens for h in found))
    return [
        [
            Hypothesis(tokens, ctc, ctc, lm=lm.sentence(list(tokens)))
            for tokens, ctc in zip(
                pool, ctc_scores(values, list(pool)), strict=True
            )
        ]
        for pool, values in zip(pools, log_probs, strict=True)
    ]


def _rank_grid(
    nbest: Sequence[Sequence[Hypothesis]],
    references: Sequence[str],
    tokenizer: Tokenizer,
    grid: list[tuple[float, float, float]],
) -> Tuning:
    """Count the errors of the first-ranked candidates at every grid point."""
    weights = np.array([(1 - c, c, lm, b) for lm, b, c in grid]).T
    errors = np.zeros(len(grid), dtype=np.int64)
    for found, reference in zip(nbest, references, strict=True):
        parts = [(h.decoder or 0.0, h.ctc, h.lm, len(h.tokens)) for h in found]
        # a finite stand-in: 0 times minus infinity would be NaN
        scores = np.maximum(np.array(parts), -1e30) @ weights
        edits = [
            word_errors(reference, tokenizer.decode(h.tokens)) for h in found
        ]
        errors += np.array(edits)[scores.argmax(axis=0)]
    surface = [
        GridPoint(*point, errors=int(count))
        for point, count in zip(grid, errors, strict=True)
    ]
    best = min(surface, key=lambda point: point.errors)
    words = sum(len(reference.split()) for reference in references)
    return Tuning(best, words, surface)
