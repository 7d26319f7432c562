"""The tokens of one frame that may extend a prefix, compiled.

    row [V] -> blocks with a token above the bar -> heap of the best -> sorted

Most of a row lies far below the bar. It is compared with it block by block, in
the loop without branches that compilers turn into vector instructions, and only
blocks with something above are looked at token by token.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_BLOCK = 64
# In float32, where a value is above 1e-4 exactly if it is above this one.
HIGHEST = np.float32(1e-4)
BAD = -1


@njit(nogil=True, cache=True)
def any_above(values: np.ndarray, bar: float) -> bool:
    """Tell whether a value of float32 [N] is NaN or above a float32 bar."""
    above = 0
    for value in values:
        above |= not value <= bar
    return above != 0


@njit(nogil=True, cache=True)
def pick_candidates(
    row: np.ndarray,
    shift: np.ndarray,
    floor: float,
    slack: float,
    tokens: np.ndarray,
    scores: np.ndarray,
) -> int:
    """Find the best tokens of a frame.

    Arguments
    ---------
    row : np.ndarray
        Natural log-probabilities, float32 [V], the blank first.
    shift : np.ndarray
        Added to each to give its score, float64 [V].
    floor : float
        A token must be more probable; the most probable one always counts.
    slack : float
        The highest shift, at least 0.
    tokens, scores : np.ndarray
        Where the result goes, best first, of equal ones the lowest id:
        int32 and float64 [C].

    Returns
    -------
    int
        How many were found, at most C; ``BAD`` if the row cannot hold
        log-probabilities.
    """
    if not row[0] <= HIGHEST:
        return BAD
    count, bar = 0, floor
    for start in range(1, len(row), _BLOCK):
        stop = min(start + _BLOCK, len(row))
        # rounding to float32 must not raise the bar
        if not any_above(row[start:stop], np.float32(bar - 1e-6 * abs(bar))):
            continue
        for token in range(start, stop):
            if row[token] <= bar:
                continue
            if not row[token] <= HIGHEST:
                return BAD
            score = row[token] + shift[token]
            count = _push(tokens, scores, count, token, score)
            if count == len(tokens):
                bar = max(floor, scores[0] - slack)
    if count == 0:
        return _most_probable(row, shift, tokens, scores)
    _sort(tokens, scores, count)
    return count


@njit(nogil=True, cache=True)
def _most_probable(row, shift, tokens, scores):
    """Make the most probable token the only candidate."""
    best = 1
    for token in range(2, len(row)):
        if row[token] > row[best]:
            best = token
    if row[best] == -math.inf and row[0] == -math.inf:
        return BAD
    tokens[0], scores[0] = best, row[best] + shift[best]
    return 1


@njit(nogil=True, cache=True)
def _push(tokens, scores, count, token, score):
    """Add to the heap, or when that is full replace its worst."""
    if count == len(tokens):
        if _worse(score, token, scores[0], tokens[0]):
            return count
        _sink(tokens, scores, count, token, score)
        return count
    place = count
    while place > 0:
        above = (place - 1) >> 1
        if not _worse(score, token, scores[above], tokens[above]):
            break
        scores[place], tokens[place] = scores[above], tokens[above]
        place = above
    scores[place], tokens[place] = score, token
    return count + 1


@njit(nogil=True, cache=True)
def _sink(tokens, scores, count, token, score):
    """Put an entry in the place of the root, the worst, and order the heap."""
    place = 0
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        if below + 1 < count and _worse(
            scores[below + 1], tokens[below + 1], scores[below], tokens[below]
        ):
            below += 1
        if not _worse(scores[below], tokens[below], score, token):
            break
        scores[place], tokens[place] = scores[below], tokens[below]
        place = below
    scores[place], tokens[place] = score, token


@njit(nogil=True, cache=True)
def _sort(tokens, scores, count):
    """Turn the heap into a list, best first."""
    for last in range(count - 1, 0, -1):
        token, score = tokens[last], scores[last]
        tokens[last], scores[last] = tokens[0], scores[0]
        _sink(tokens, scores, last, token, score)


@njit(nogil=True, cache=True)
def _worse(score, token, other_score, other_token):
    """Order by score; of equal ones the higher id is worse."""
    return score < other_score or (
        score == other_score and token > other_token
    )
