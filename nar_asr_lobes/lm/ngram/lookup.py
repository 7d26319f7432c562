"""Look-ups in the tables of an n-gram language model, as compiled code.

Other kernels may call them. They check nothing: states and tokens must be
those of the tables.
"""

from __future__ import annotations

import numpy as np

from nar_asr_lobes.jit import inner, inner_and_entry, outer
from nar_asr_lobes.lm.ngram.tables import DTYPES, NgramTables, read_only

# Numbers in the rows of a model, 12 bytes each; a cache is not much larger,
# and working them out takes a few hundredths of a second.
_NUMBERS = 1 << 20


@inner_and_entry
def score_token(
    tables: NgramTables, state: int, token: int
) -> tuple[float, int]:
    """Predict one token by the back-off rule.

    Arguments
    ---------
    tables : NgramTables
    state : int
        In 0..S-1.
    token : int
        In 1..V-1.

    Returns
    -------
    tuple
        Natural log-probability of the token (float64), and the state after it
        (int64).

    Example
    -------
    >>> import numpy as np
    >>> from nar_asr_lobes.lm.ngram.kneser_ney import estimate
    >>> from nar_asr_lobes.lm.ngram.states import build_tables
    >>> model = estimate(np.array([1, 2]), np.array([2]), order=2)
    >>> tables = build_tables(model, size=3)
    >>> _, state = score_token(tables, int(tables.start[0]), 1)
    >>> score_token(tables, state, 2) > score_token(tables, state, 1)
    True
    """
    log_prob, rows = 0.0, len(tables.row_log_prob)
    while state != 0 and state >= rows:
        low, end = tables.arc_begin[state], tables.arc_begin[state + 1]
        high = end
        while low < high:
            middle = (low + high) >> 1
            if tables.arc_token[middle] < token:
                low = middle + 1
            else:
                high = middle
        if low < end and tables.arc_token[low] == token:
            log_prob += tables.arc_log_prob[low]
            return log_prob, tables.arc_state[low]
        if len(tables.chain):
            state += tables.chain[token]
        log_prob += tables.backoff[state]
        state = tables.backoff_state[state]
    log_prob += shortest(tables, state, token)
    if rows:
        return log_prob, tables.row_state[state, token]
    return log_prob, tables.unigram_state[token]


@inner
def shortest(tables: NgramTables, state: int, token: int) -> float:
    """Predict one token where backing off ends: in state 0 or in a row."""
    if len(tables.row_log_prob):
        return tables.row_log_prob[state, token]
    return np.float64(tables.unigram_log_prob[token])


def fill_rows(tables: NgramTables, numbers: int = _NUMBERS) -> NgramTables:
    """Work out every look-up in the first states.

    Arguments
    ---------
    tables : NgramTables
        Without such rows.
    numbers : int
        How many look-ups, at most; those of state 0 at least.

    Returns
    -------
    NgramTables
        The same model with rows; look-ups find the same but for rounding.

    Example
    -------
    >>> from nar_asr_lobes.lm.ngram.kneser_ney import estimate
    >>> from nar_asr_lobes.lm.ngram.states import build_tables
    >>> model = estimate(np.array([1, 2]), np.array([2]), order=2)
    >>> fill_rows(build_tables(model, size=3)).row_log_prob.shape
    (4, 3)
    """
    size, states = len(tables.unigram_log_prob), len(tables.final)
    rows = min(max(1, numbers // size), states)
    log_prob, state = np.empty((rows, size)), np.empty((rows, size), np.int32)
    _fill(tables, log_prob, state)
    return tables._replace(
        row_log_prob=read_only(log_prob, DTYPES.row_log_prob),
        row_state=read_only(state, DTYPES.row_state),
    )


@outer
def _fill(tables, log_prob, state):
    """Look every token up in every state that has a row."""
    for row in range(len(log_prob)):
        log_prob[row, 0], state[row, 0] = -np.inf, 0  # no token
        for token in range(1, log_prob.shape[1]):
            log_prob[row, token], state[row, token] = score_token(
                tables, row, token
            )


@outer
def score_sentence(tables: NgramTables, tokens: np.ndarray) -> float:
    """Predict all tokens of a sentence and its end.

    Arguments
    ---------
    tables : NgramTables
    tokens : np.ndarray
        int [L]: ids in 1..V-1.

    Returns
    -------
    float
        Natural log-probability.

    Example
    -------
    >>> import numpy as np
    >>> from nar_asr_lobes.lm.ngram.kneser_ney import estimate
    >>> from nar_asr_lobes.lm.ngram.states import build_tables
    >>> model = estimate(np.array([1, 2]), np.array([2]), order=2)
    >>> score_sentence(build_tables(model, size=3), np.array([1, 2])) < 0
    True
    """
    state, total = tables.start[0], 0.0
    for token in tokens:
        log_prob, state = score_token(tables, state, token)
        total += log_prob
    return total + tables.final[state]
