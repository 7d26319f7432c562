"""Weights of the language model from a development set.

    posteriors + references -> a search at every point of a grid -> word errors
    re-scored N-best + references -> a ranking at every point   -> word errors

The searches are those of recognition, so the surface holds what recognition
would do; at thousands of times real time, a grid of them takes seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import jiwer
import numpy as np
import torch

from nar_asr_lobes.dataio.text.normalization import has_no_words
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import (
    BeamOptions,
    Hypothesis,
    LanguageModel,
)
from nar_asr_lobes.errors import UserError

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.text.tokenizer import Tokenizer

LM_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5)
TOKEN_BONUSES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
CTC_WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@dataclass(frozen=True)
class GridPoint:
    """One choice of weights and the word errors it makes.

    Arguments
    ---------
    lm_weight, token_bonus, ctc_weight : float
        The weights; ``ctc_weight`` 1 leaves the NAR decoder out.
    errors : int
        Word errors with these weights.
    """

    lm_weight: float
    token_bonus: float
    ctc_weight: float
    errors: int


@dataclass(frozen=True)
class Tuning:
    """The outcome of a grid search.

    Arguments
    ---------
    best : GridPoint
        The point to use.
    words : int
        Words in the references; characters of those that have no spaces.
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
    progress: Callable[[list[BeamOptions]], Iterable[BeamOptions]] = iter,
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
        The grid; invalid weights are refused before the first search.
    progress : callable
        Goes through the points of the grid and shows it, as ``tqdm`` does.

    Returns
    -------
    Tuning
        Of equally good points the first of the grid is ``best``: that of the
        lowest weight.

    Raises
    ------
    UserError
        If the lists or the grid are empty, the lists differ in length, or a
        weight is invalid.
    """
    options = options or BeamOptions()
    _require_references(log_probs, references)
    grid = [
        replace(options, lm_weight=weight, token_bonus=bonus)
        for weight, bonus in itertools.product(lm_weights, token_bonuses)
    ]
    if not grid:
        raise UserError(
            "the grid to tune on is empty; give at least one lm_weight and "
            "one token_bonus"
        )
    words_wrong = cache(word_errors)  # most points find the same sentences
    surface = []
    for point in progress(grid):
        nbest = prefix_beam_search(log_probs, point, lm)
        texts = [tokenizer.decode(found[0].tokens) for found in nbest]
        errors = sum(map(words_wrong, references, texts))
        surface.append(
            GridPoint(point.lm_weight, point.token_bonus, 1.0, errors)
        )
    return _tuning(surface, references)


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
        Words separated by spaces; either may be empty. Where the reference
        is of a script without spaces, characters are counted.

    Returns
    -------
    int
        The smallest number of edits.

    Example
    -------
    >>> word_errors("one two", "one too many")
    2
    """
    compare = jiwer.process_words
    if has_no_words(reference):
        compare = jiwer.process_characters
    counts = compare(reference, hypothesis)
    return counts.substitutions + counts.deletions + counts.insertions


def _require_references(items: Sequence, references: Sequence[str]) -> None:
    """Refuse an empty development set, or one with parts missing."""
    if not len(items) or len(items) != len(references):
        raise UserError(
            f"{len(items)} development utterances with {len(references)} "
            "references; tuning needs one reference each, and at least one"
        )


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
    return _tuning(surface, references)


def _tuning(surface: list[GridPoint], references: Sequence[str]) -> Tuning:
    best = min(surface, key=lambda point: point.errors)
    words = sum(
        len(reference) if has_no_words(reference) else len(reference.split())
        for reference in references
    )
    return Tuning(best, words, surface)
