"""The tokens of one frame that may extend a prefix, compiled.

    row [V] -> highest of each column [64] -> bar -> the best, sorted

Most of a row lies far below what is looked for. A first pass takes the highest
of every 64th token, in the loop without branches that compilers turn into
vector instructions; where more columns than tokens wanted lie above the floor,
their own highest ones already say how probable a token must be. Only columns
with something above are looked at token by token. Where no column has two
tokens, all of them are looked at, without a branch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nar_asr_lobes.compiled import inner, outer

COLUMNS = 64
# In float32, where a value is above 1e-4 exactly if it is above this one.
HIGHEST = np.float32(1e-4)
BAD = -1
_RANGE, _HALVINGS = 16.0, 12


class Columns(NamedTuple):
    """Room for a number and for a token and its score for each column."""

    highest: np.ndarray
    tokens: np.ndarray
    scores: np.ndarray


@outer
def new_columns() -> Columns:
    """Make room for the columns."""
    return Columns(
        np.empty(COLUMNS, np.float32),
        np.empty(COLUMNS, np.int32),
        np.empty(COLUMNS, np.float64),
    )


@inner
def any_above(values: np.ndarray, bar: float) -> bool:
    """Tell whether a value of float32 [N] is NaN or above a float32 bar."""
    above = 0
    for value in values:
        above |= not value <= bar
    return above != 0


@inner
def pick_candidates(
    row: np.ndarray,
    shift: np.ndarray,
    floor: float,
    slack: float,
    tokens: np.ndarray,
    scores: np.ndarray,
    columns: Columns,
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
        The highest minus the lowest shift of a token.
    tokens, scores : np.ndarray
        Where the result goes, best first, of equal ones the lowest id:
        int32 and float64 [C].
    columns : Columns
        What the search works in.

    Returns
    -------
    int
        How many were found, at most C; ``BAD`` if the row cannot hold
        log-probabilities.
    """
    if any_above(row, HIGHEST):
        return BAD
    if len(row) <= COLUMNS + 1:
        return _pick_few(row, shift, floor, tokens, scores, columns)
    highest = columns.highest
    _column_maxima(row[1:], highest)
    best = highest[0]
    for value in highest:
        best = max(best, value)
    if not best > floor:
        return _most_probable(row, shift, tokens, scores)
    bar = _rounded_down(_bar(highest, best, floor, len(tokens)) - slack)
    count = 0
    for column in range(COLUMNS):
        if highest[column] > floor and highest[column] >= bar:
            for token in range(column + 1, len(row), COLUMNS):
                value = row[token]
                if value >= bar and value > floor:
                    score = value + shift[token]
                    count = _insert(tokens, scores, count, token, score)
    return count


@inner
def _pick_few(row, shift, floor, tokens, scores, columns):
    """Find the best where each token has a column of its own.

    Counting how many are better places a token without branches, which a
    processor would guess wrong half of the time.
    """
    count = 0
    for token in range(1, len(row)):
        columns.tokens[count] = token
        columns.scores[count] = row[token] + shift[token]
        count += row[token] > floor
    if count == 0:
        return _most_probable(row, shift, tokens, scores)
    found = columns.scores[:count]
    for i in range(count):
        score, better = found[i], 0
        for j in range(i):
            better += found[j] >= score
        for j in range(i + 1, count):
            better += found[j] > score
        if better < len(tokens):
            tokens[better], scores[better] = columns.tokens[i], score
    return min(count, len(tokens))


@inner
def _column_maxima(labels, highest):
    """Take the highest of the tokens with the same remainder."""
    highest[:] = -np.inf
    for start in range(0, len(labels) - COLUMNS + 1, COLUMNS):
        part = labels[start : start + COLUMNS]
        for column in range(COLUMNS):
            highest[column] = max(highest[column], part[column])
    rest = labels[len(labels) // COLUMNS * COLUMNS :]
    for column in range(len(rest)):
        highest[column] = max(highest[column], rest[column])


@inner
def _bar(highest, best, floor, count):
    """Find a value that at least so many columns reach, by halving.

    It need not be the highest such value: of the few tokens too many, the best
    are taken.
    """
    low = np.float32(max(floor, best - _RANGE))
    high = best
    if _reaching(highest, low) <= count:
        return -math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) * np.float32(0.5)
        reaching = _reaching(highest, middle)
        if reaching < count:
            high = middle
            continue
        low = middle
        if reaching == count:
            break
    return low


@inner
def _rounded_down(bar):
    """Make a float32 of it, with which a float32 is compared sooner."""
    low = np.float32(bar)
    return low if low <= bar else np.nextafter(low, np.float32(-np.inf))


@inner
def _reaching(highest, bar):
    """Count the columns with a token as probable as that."""
    reaching = 0
    for value in highest:
        reaching += value >= bar
    return reaching


@outer
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


@inner
def _insert(tokens, scores, count, token, score):
    """Put a token in its place, or when it is full in that of the worst."""
    place = count
    if count == len(tokens):
        place -= 1
        if _worse(score, token, scores[place], tokens[place]):
            return count
    found = place + 1
    while place > 0 and _worse(
        scores[place - 1], tokens[place - 1], score, token
    ):
        scores[place], tokens[place] = scores[place - 1], tokens[place - 1]
        place -= 1
    scores[place], tokens[place] = score, token
    return found


@inner
def _worse(score, token, other_score, other_token):
    """Order by score; of equal ones the higher id is worse."""
    return score < other_score or (score == other_score and token > other_token)
