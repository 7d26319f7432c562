"""Look-ups in an n-gram's tables, compiled."""

from __future__ import annotations

from numba import njit

from nar_asr_lobes.lm.tables import NgramTables


@njit(nogil=True, cache=True)
def score_token(
    tables: NgramTables, state: int, token: int
) -> tuple[float, int]:
    """Predict one token.

    Arguments
    ---------
    tables : NgramTables
        The model.
    state : int
        State before the token.
    token : int
        Its id.

    Returns
    -------
    tuple
        Natural log-probability of the token, and the state after it.
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
            return log_prob + tables.arc_log_prob[low], tables.arc_state[low]
        log_prob += tables.backoff[state]
        state = tables.backoff_state[state]
    return (
        log_prob + tables.unigram_log_prob[token],
        tables.unigram_state[token],
    )
