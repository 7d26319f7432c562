"""Look-ups in the tables of an n-gram language model, as compiled code.

Other kernels may call them. They check nothing: states and tokens must be
those of the tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nar_asr_lobes.compiled import inner, outer

if TYPE_CHECKING:
    import numpy as np

    from nar_asr_lobes.lm.tables import NgramTables


@inner
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
    >>> from nar_asr_lobes.lm.kneser_ney import estimate
    >>> from nar_asr_lobes.lm.states import build_tables
    >>> model = estimate(np.array([1, 2]), np.array([2]), order=2)
    >>> tables = build_tables(model, size=3)
    >>> _, state = score_token(tables, int(tables.start[0]), 1)
    >>> score_token(tables, state, 2) > score_token(tables, state, 1)
    True
    """
    log_prob = 0.0
    while state != 0:
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
    log_prob += tables.unigram_log_prob[token]
    return log_prob, tables.unigram_state[token]


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
    >>> from nar_asr_lobes.lm.kneser_ney import estimate
    >>> from nar_asr_lobes.lm.states import build_tables
    >>> model = estimate(np.array([1, 2]), np.array([2]), order=2)
    >>> score_sentence(build_tables(model, size=3), np.array([1, 2])) < 0
    True
    """
    state, total = tables.start[0], 0.0
    for token in tokens:
        log_prob, state = score_token(tables, state, token)
        total += log_prob
    return total + tables.final[state]
