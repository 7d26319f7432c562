"""An n-gram language model as flat arrays, the same for every device.

V: pieces with the blank, S: states, A: arcs. A state is what of the past
still matters: words after which the model knows something. State 0 is no
words at all; its tokens have a table of their own, all others have arcs.

Look-up of a token in a state: its arc there, or else the state's back-off
weight and the look-up in the next shorter state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Natural logs beyond it are no probabilities, but sums of them are finite.
_LARGEST = 1e4
_ROUNDING = 1e-3  # of a log-probability of 0


class NgramTables(NamedTuple):
    """The arrays of a model: C-contiguous and read-only.

    numba compiles once more for every other kind of array, so all are of this
    kind, whether built or mapped from a file.

    Arguments
    ---------
    unigram_log_prob : np.ndarray
        float32 [V]: natural log-probability in state 0; -inf for the blank.
    unigram_state : np.ndarray
        int32 [V]: the state after it.
    backoff : np.ndarray
        float32 [S]: natural log of the back-off weight; may be above 0.
    backoff_state : np.ndarray
        int32 [S]: the next shorter state, always a smaller number.
    final : np.ndarray
        float32 [S]: natural log-probability of the sentence's end.
    arc_begin : np.ndarray
        int64 [S + 1]: state s has the arcs arc_begin[s]:arc_begin[s + 1],
        sorted by token.
    arc_token : np.ndarray
        int32 [A].
    arc_log_prob : np.ndarray
        float32 [A]: natural log-probability.
    arc_state : np.ndarray
        int32 [A]: the state after it.
    start : np.ndarray
        int32 [1]: the state at the start of a sentence.
    """

    unigram_log_prob: np.ndarray
    unigram_state: np.ndarray
    backoff: np.ndarray
    backoff_state: np.ndarray
    final: np.ndarray
    arc_begin: np.ndarray
    arc_token: np.ndarray
    arc_log_prob: np.ndarray
    arc_state: np.ndarray
    start: np.ndarray


DTYPES = NgramTables(
    unigram_log_prob=np.dtype("<f4"),
    unigram_state=np.dtype("<i4"),
    backoff=np.dtype("<f4"),
    backoff_state=np.dtype("<i4"),
    final=np.dtype("<f4"),
    arc_begin=np.dtype("<i8"),
    arc_token=np.dtype("<i4"),
    arc_log_prob=np.dtype("<f4"),
    arc_state=np.dtype("<i4"),
    start=np.dtype("<i4"),
)


def find_fault(tables: NgramTables) -> str | None:
    """Look for what would crash a look-up, or keep it from ending.

    Arguments
    ---------
    tables : NgramTables
        Arrays of the right types and shapes.

    Returns
    -------
    str or None
        What is wrong with the first array that is; None if all is right.

    Example
    -------
    >>> from nar_asr_lobes.lm.kneser_ney import estimate
    >>> from nar_asr_lobes.lm.states import build_tables
    >>> model = estimate(np.array([1, 2]), np.array([2]), order=2)
    >>> tables = build_tables(model, size=3)
    >>> find_fault(tables._replace(start=np.array([4], dtype=np.int32)))
    'start is not in 0..3'
    """
    last_token = len(tables.unigram_log_prob) - 1
    last_state, arcs = len(tables.backoff) - 1, len(tables.arc_token)
    probability = -_LARGEST, _ROUNDING
    ranges = {
        "unigram_state": (0, last_state),
        "arc_state": (0, last_state),
        "backoff_state": (0, last_state),
        "start": (0, last_state),
        "arc_token": (1, last_token),
        "arc_begin": (0, arcs),
        "backoff": (-_LARGEST, _LARGEST),
        "final": probability,
        "arc_log_prob": probability,
    }
    for name, (low, high) in ranges.items():
        if not _within(getattr(tables, name), low, high):
            return f"{name} is not in {low}..{high}"
    if not _within(tables.unigram_log_prob[1:], *probability):
        return "unigram_log_prob is not in {}..{}".format(*probability)
    if tables.unigram_log_prob[0] != -np.inf:
        return "unigram_log_prob of the blank is not -inf"
    shorter = tables.backoff_state[1:] < np.arange(1, last_state + 1)
    if tables.backoff_state[0] != 0 or not shorter.all():
        return "backoff_state does not lead to shorter states"
    return _fault_in_arcs(tables)


def _fault_in_arcs(tables: NgramTables) -> str | None:
    begin, arcs = tables.arc_begin, len(tables.arc_token)
    if begin[1] != 0 or begin[-1] != arcs or (np.diff(begin) < 0).any():
        return "arc_begin does not divide the arcs"
    rising = np.diff(tables.arc_token) > 0
    inner = begin[(begin > 0) & (begin < arcs)]
    rising[inner - 1] = True  # from one state's arcs to the next one's
    return None if rising.all() else "arc_token is not sorted"


def _within(values: np.ndarray, low: float, high: float) -> bool:
    """Tell whether all lie between; NaN does not."""
    return not len(values) or bool(low <= values.min() <= values.max() <= high)


def read_only(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array of this type that is fit for `NgramTables`."""
    values = np.ascontiguousarray(values, dtype=dtype)
    values.setflags(write=False)
    return values
