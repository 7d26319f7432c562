"""An n-gram language model as flat arrays, for compiled searches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class NgramTables(NamedTuple):
    """A back-off automaton over V tokens with S states and A arcs.

    Arguments
    ---------
    unigram_log_prob : np.ndarray
        Natural log-probability of each token, float32 [V].
    unigram_state : np.ndarray
        State after each token from the empty context, int32 [V].
    backoff : np.ndarray
        Natural log of each state's back-off weight, float32 [S]; state 0 is
        the empty context.
    backoff_state : np.ndarray
        The state with one token less of context, int32 [S].
    final : np.ndarray
        Natural log-probability of the sentence's end, float32 [S].
    arc_begin : np.ndarray
        Bounds of each state's arcs, int64 [S + 1].
    arc_token, arc_log_prob, arc_state : np.ndarray
        Token (ascending per state), natural log-probability and next state of
        each arc, int32, float32 and int32 [A].
    start : np.ndarray
        State at the start of a sentence, int32 [1].
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
