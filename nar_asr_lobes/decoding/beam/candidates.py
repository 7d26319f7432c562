"""The tokens of one frame that may extend a prefix, compiled.

    row [V] -> highest of each column [256] -> of four columns [64] -> bar
            -> the tokens that reach it -> the best

Most of a row lies far below the floor. A first pass takes the highest
of every 256th token; where more columns than tokens wanted lie above the floor,
their own highest ones already say how probable a token must be, and only
columns that reach it are looked at token by token. Loops are of a kind that
numba turns into vector instructions (over an index that grows by one, without
``max`` and stores on a condition), or do without branches, which a processor
would guess wrong half of the time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nar_asr_lobes.jit import jit_function, jit_inline

_COLUMNS, _WIDE = 256, 64
# In float32, where a value is above 1e-4 exactly if it is above this one.
HIGHEST = np.float32(1e-4)
BAD = -1
_RANGE, _HALVINGS = 16.0, 12
# Of up to so many times the tokens wanted, the worst are taken out one by one.
_FEW = 2


class Columns(NamedTuple):
    """The highest of each column, twice, and of four; the columns that are
    looked at; tokens and scores of which the best are wanted."""

    highest: np.ndarray
    spare: np.ndarray
    widest: np.ndarray
    chosen: np.ndarray
    tokens: np.ndarray
    scores: np.ndarray


def new_columns(size: int) -> Columns:
    """Make room for the columns of so many labels."""
    return Columns(
        np.empty(_COLUMNS, np.float32),
        np.empty(_COLUMNS, np.float32),
        np.empty(_WIDE, np.float32),
        np.empty(_COLUMNS + _WIDE, np.int64),
        np.empty(size, np.int32),
        np.empty(size, np.float64),
    )


@jit_inline
def any_above(values: np.ndarray, bar: float) -> bool:
    """Tell whether a value of float32 [N] is NaN or above a float32 bar."""
    above = False
    for i in range(len(values)):  # over an index, or it is no vector code
        above |= not values[i] <= bar
    return above


@jit_inline
def pick_candidates(
    row: np.ndarray,
    floor: float,
    tokens: np.ndarray,
    scores: np.ndarray,
    columns: Columns,
) -> int:
    """Find the tokens of a frame [V] that are more probable than ``floor``.

    The most probable one always counts. They go to ``tokens`` and ``scores``
    [C] in no order; of equal ones the lowest ids are best. Returns their
    number, at most C, or ``BAD`` if the row cannot hold log-probabilities.
    """
    if any_above(row, HIGHEST):
        return BAD
    if len(row) <= _WIDE + 1:
        count = _gather_all(row, floor, columns)
    else:
        count = _gather(row, floor, len(tokens), columns)
    if count == 0:
        return _most_probable(row, tokens, scores)
    for i in range(count):
        token = columns.tokens[i]
        columns.scores[i] = row[token]
    if count > _FEW * len(tokens):
        return _sort_out(columns, count, tokens, scores)
    count = _drop_worst(columns.tokens, columns.scores, count, len(tokens))
    for i in range(count):
        tokens[i], scores[i] = columns.tokens[i], columns.scores[i]
    return count


@jit_inline
def _gather_all(row, floor, columns):
    """Find the tokens above the floor."""
    count = 0
    for token in range(1, len(row)):
        columns.tokens[count] = token
        count += row[token] > floor
    return count


@jit_inline
def _gather(row, floor, wanted, columns):
    """Find the tokens above the floor, of many only the more probable."""
    highest, widest, chosen = columns.highest, columns.widest, columns.chosen
    _column_maxima(row, columns)
    best = widest[0]
    for i in range(_WIDE):
        best = widest[i] if widest[i] > best else best
    if not best > floor:
        return 0
    bar = _bar(widest, best, floor, wanted)
    wide = 0
    for column in range(_WIDE):
        chosen[wide] = column
        wide += (widest[column] >= bar) & (widest[column] > floor)
    last = _WIDE
    for i in range(wide):
        column = chosen[i]
        while column < _COLUMNS:
            chosen[last] = column
            last += (highest[column] >= bar) & (highest[column] > floor)
            column += _WIDE
    count = 0
    for i in range(_WIDE, last):
        token = chosen[i] + 1
        while token < len(row):
            columns.tokens[count] = token
            count += (row[token] >= bar) & (row[token] > floor)
            token += _COLUMNS
    return count


@jit_inline
def _drop_worst(tokens, scores, count, wanted):
    """Take the worst out until no more are left than wanted."""
    while count > wanted:
        worst = scores[0]
        for i in range(count):
            worst = scores[i] if scores[i] < worst else worst
        place, last = 0, 0
        for i in range(count):
            if scores[i] == worst and tokens[i] > last:
                place, last = i, tokens[i]
        count -= 1
        tokens[place], scores[place] = tokens[count], scores[count]
    return count


@jit_function
def _sort_out(columns, count, tokens, scores):
    """Do the same where equal ones let very many through."""
    kept = 0
    for i in range(count):
        token, score = columns.tokens[i], columns.scores[i]
        kept = _insert(tokens, scores, kept, token, score)
    return kept


@jit_inline
def _column_maxima(row, columns):
    """Take the highest of the tokens with the same remainder.

    There and back: a number that may replace itself would be stored on a
    condition, which is slow.
    """
    highest, spare = columns.highest, columns.spare
    size = min(_COLUMNS, len(row) - 1)
    for i in range(size):
        highest[i] = row[1 + i]
    for i in range(size, _COLUMNS):
        highest[i] = -np.inf
    start = 1 + _COLUMNS
    while start < len(row):
        size = min(_COLUMNS, len(row) - start)
        for i in range(size):
            new, old = row[start + i], highest[i]
            spare[i] = new if new > old else old
        for i in range(size):
            highest[i] = spare[i]
        start += _COLUMNS
    half, quarter = 2 * _WIDE, _WIDE
    for i in range(half):
        new, old = highest[half + i], highest[i]
        spare[i] = new if new > old else old
    for i in range(quarter):
        new, old = spare[quarter + i], spare[i]
        columns.widest[i] = new if new > old else old


@jit_inline
def _bar(highest, best, floor, count):
    """Find a value that at least so many columns reach, by halving.

    It need not be the highest such value: of the few tokens too many, the best
    are taken.
    """
    low = np.float32(max(floor, best - _RANGE))
    high = best
    if _reaching(highest, low) <= count:
        return np.float32(-np.inf)
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


@jit_inline
def _reaching(highest, bar):
    """Count the columns with a token as probable as that."""
    reaching = 0
    for i in range(len(highest)):
        reaching += highest[i] >= bar
    return reaching


@jit_function
def _most_probable(row, tokens, scores):
    """Make the most probable token the only candidate."""
    best = 1
    for token in range(2, len(row)):
        if row[token] > row[best]:
            best = token
    if row[best] == -math.inf and row[0] == -math.inf:
        return BAD
    tokens[0], scores[0] = best, row[best]
    return 1


@jit_inline
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


@jit_inline
def _worse(score, token, other_score, other_token):
    """Order by score; of equal ones the higher id is worse."""
    return score < other_score or (score == other_score and token > other_token)
