"""From the n-grams of a model to the states and arcs of its tables.

    n-grams per order -> sorted, linked to their parts -> states -> arcs

K: n-grams of one order. Everything is done for all of an order at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.kneser_ney import NgramModel, NgramTable
from nar_asr_lobes.lm.ngram.tables import (
    DTYPES,
    NgramTables,
    find_fault,
    read_only,
)

_LN10 = math.log(10)
# log10 for a token when the model has neither it nor <unk>; KenLM's choice.
_MISSING = -100.0


@dataclass
class _Grams:
    """The n-grams of one order, sorted by their words."""

    keys: np.ndarray  # int64 [K], (context, last) as one number, ascending
    last: np.ndarray  # int64 [K], token, or size + 0, 1, 2: <unk>, <s>, </s>
    context: np.ndarray  # int64 [K], row of it without its last word
    ending: np.ndarray  # int64 [K], row of it without its first word
    log_prob: np.ndarray  # float64 [K], natural
    backoff: np.ndarray  # float64 [K], natural


def build_tables(model: NgramModel, size: int) -> NgramTables:
    """Turn n-grams over ``size`` pieces (with the blank) into states and arcs.

    The states are as few as can be: the words that a state stands for are the
    longest ending of the past that begins a longer n-gram or has a back-off
    weight. So pasts with equal futures get equal states.
    """
    orders: list[_Grams] = []
    for table in model.tables:
        orders.append(_link(table, model.vocabulary, orders, size))
    states = _number_states(orders)
    after = _states_after(orders, states)
    tables = NgramTables(
        *_unigrams(orders[0], after[1], size),
        *_backoffs(orders, states, after, size),
        *_arcs(orders, states, after, size),
        start=after[1][orders[0].last == size + 1],
    )
    tables = NgramTables(*map(read_only, tables, DTYPES))
    fault = find_fault(tables)
    if fault:
        raise unusable(fault)
    return tables


def _link(
    table: NgramTable, vocabulary: np.ndarray, lower: list[_Grams], size: int
) -> _Grams:
    """Sort the n-grams of one order and find their parts one order lower."""
    codes = np.concatenate([size + np.arange(3), vocabulary])
    words = codes[table.words]  # [K, n]
    context = np.zeros(len(words), dtype=np.int64)
    for column, grams in enumerate(lower):
        context = _find(grams.keys, context, words[:, column], size)
    keys = _keys(context, words[:, -1], size)
    by_key = np.argsort(keys)
    keys, context, last = keys[by_key], context[by_key], words[by_key, -1]
    _refuse(np.diff(keys) == 0, "an n-gram stands twice")
    ending = np.zeros_like(context)
    if lower:
        _refuse(context < 0, "the beginning of an n-gram is missing")
        known = lower[-1]
        ending = _find(known.keys, known.ending[context], last, size)
        _refuse(ending < 0, "the ending of an n-gram is missing")
        # <unk> and <s> are predicted nowhere, nothing follows <unk> and </s>.
        odd = (last == size) | (last == size + 1)
        before = known.last[context]
        odd |= (before == size) | (before == size + 2)
        _refuse(odd, "<unk>, <s> or </s> stands inside an n-gram")
    backoff = table.backoff[by_key].astype(np.float64)
    log_prob = table.log_prob[by_key].astype(np.float64)
    return _Grams(
        keys, last, context, ending, log_prob * _LN10, backoff * _LN10
    )


def _keys(context: np.ndarray, last: np.ndarray, size: int) -> np.ndarray:
    """Number the n-grams so that the order is that of their words."""
    return context * (size + 3) + last


def _find(
    keys: np.ndarray, context: np.ndarray, last: np.ndarray, size: int
) -> np.ndarray:
    """Return the rows of n-grams, -1 for those (or a context) not there."""
    wanted = _keys(context, last, size)
    if not len(keys):
        return np.full(len(wanted), -1)
    rows = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[rows] == wanted, rows, -1)


def _number_states(orders: list[_Grams]) -> list[np.ndarray]:
    """Give n-grams of order 0, 1, ... their state; -1 for those without."""
    states, count = [np.zeros(1, dtype=np.int64)], 1
    for grams, longer in zip(orders, [*orders[1:], None], strict=True):
        known = grams.backoff != 0
        if longer is not None:
            known[longer.context] = True
        state = np.full(len(known), -1)
        state[known] = count + np.arange(known.sum())
        states.append(state)
        count += known.sum()
    return states


def _states_after(
    orders: list[_Grams], states: list[np.ndarray]
) -> list[np.ndarray]:
    """Give n-grams of order 0, 1, ... the state of their longest ending."""
    after = [states[0]]
    for grams, state in zip(orders, states[1:], strict=True):
        after.append(np.where(state >= 0, state, after[-1][grams.ending]))
    return after


def _unigrams(
    grams: _Grams, after: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-probability of each token, and the state after it."""
    log_prob, state = np.full(size, _MISSING * _LN10), np.zeros(size)
    unknown = grams.last == size
    if unknown.any():
        log_prob[:], state[:] = grams.log_prob[unknown], after[unknown]
    known = grams.last < size
    log_prob[grams.last[known]] = grams.log_prob[known]
    state[grams.last[known]] = after[known]
    log_prob[0] = -np.inf
    return log_prob, state


def _backoffs(
    orders: list[_Grams],
    states: list[np.ndarray],
    after: list[np.ndarray],
    size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return back-off weight, shorter state and sentence end of all states."""
    ends = [grams.last == size + 2 for grams in orders]
    if not ends[0].any() or not (orders[0].last == size + 1).any():
        raise unusable("<s> or </s> is missing")
    weight, shorter = [np.zeros(1)], [np.zeros(1, dtype=np.int64)]
    final = orders[0].log_prob[ends[0]]
    for n, grams in enumerate(orders, 1):
        known = states[n] >= 0
        weight.append(grams.backoff[known])
        shorter.append(after[n - 1][grams.ending[known]])
        final = np.concatenate([final, weight[-1] + final[shorter[-1]]])
        if n < len(orders):
            longer, end = orders[n], ends[n]
            final[states[n][longer.context[end]]] = longer.log_prob[end]
    return np.concatenate(weight), np.concatenate(shorter), final


def _arcs(
    orders: list[_Grams],
    states: list[np.ndarray],
    after: list[np.ndarray],
    size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return begin, token, log-probability and next state of all arcs."""
    columns = [np.zeros((4, 0))]
    for n, grams in enumerate(orders[1:], 1):
        token = grams.last < size
        source = states[n][grams.context]
        rows = source, grams.last, grams.log_prob, after[n + 1]
        columns.append(np.array(rows)[:, token])
    # float64 holds states and tokens exactly, they are below 2**31.
    source, token, log_prob, state = np.concatenate(columns, axis=1)
    count = 1 + sum((state >= 0).sum() for state in states[1:])
    arcs = np.bincount(source.astype(np.int64), minlength=count)
    begin = np.concatenate([[0], np.cumsum(arcs)])
    return begin, token, log_prob, state


def _refuse(wrong: np.ndarray, fault: str) -> None:
    if wrong.any():
        raise unusable(fault)


def unusable(fault: str) -> UserError:
    """Return the error of a model that cannot become tables."""
    return UserError(
        f"this n-gram model cannot be used ({fault}); train it again"
    )
