"""Counts how often each hot phrase has gained along a prefix, compiled.

A phrase gains where the word ends that ends it, and after ``limit`` times no
more: otherwise a search would fill noise with it. The states of the tables
would be too many with such counts, so a search counts along each prefix.

The bonus of tokens inside phrases is held back when all
these phrases have gained too often. It never comes back, so that one token
more is never worth more than one token gained: the search prunes by that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nar_asr_lobes.decoding.beam.trie import NONE, count_closed
from nar_asr_lobes.jit import inner, outer
from nar_asr_lobes.lm.ngram.lookup import score_token
from nar_asr_lobes.lm.ngram.tables import NgramTables

# Of more phrases that a state may lead to, one may still gain for sure.
_FEW = 4


class Closings(NamedTuple):
    """Phrase ends; S states of the hot words' tables, V labels, P phrases."""

    phrase: np.ndarray  # int32 [S], gains if a word ends there, or NONE
    tokens: np.ndarray  # int32 [S], number that gains
    pending: np.ndarray  # int32 [S], tokens whose bonus may be taken back
    first: np.ndarray  # int32 [S], first:last phrases may still come;
    last: np.ndarray  # shorter ones are those of the back-off states
    boundary: np.ndarray  # bool [V], whether a word ends before the token
    code: np.ndarray  # int64 [P], random; sums tell prefixes apart


@outer
def count_gain(
    tables: NgramTables, closings: Closings, limit: int, ids: np.ndarray
) -> float:
    """Count the tokens that a whole sequence [L] gains, with the limit."""
    times = np.zeros(len(closings.code), np.int64)
    state, gained = tables.start[0], 0.0
    for i in range(len(ids) + 1):
        phrase = closings.phrase[state]
        if phrase != NONE and (i == len(ids) or closings.boundary[ids[i]]):
            if times[phrase] >= limit:
                gained -= closings.tokens[state]
            times[phrase] += 1
        if i < len(ids):
            gain, state = score_token(tables, state, ids[i])
            gained += gain
    return gained + tables.final[state]


@inner
def extend_match(trie, prefix, token, hot, closings, limit):
    """Take a prefix of a beam one token on.

    Returns the state behind it, the tokens gained, the phrase that the token
    closed and the code of those that have gained.
    """
    gain, context = score_token(hot, prefix.context, token)
    gained = prefix.hot + int(gain)
    if not closings.boundary[token]:
        return context, gained, NONE, prefix.past
    closed, excess, past = close(trie, prefix, closings, limit)
    return context, gained - excess, closed, past


@inner
def close(trie, prefix, closings, limit):
    """End a word.

    Returns the phrase that ends with it, its tokens if it has gained too often
    already, and the code of those that have gained.
    """
    closed = closings.phrase[prefix.context]
    if closed == NONE:
        return NONE, 0, prefix.past
    if count_closed(trie, prefix.node, closed) >= limit:
        return closed, closings.tokens[prefix.context], prefix.past
    return closed, 0, prefix.past + closings.code[closed]


@inner
def held_back(trie, entry, hot, closings, limit):
    """Count the last tokens that gained for phrases that may gain no more."""
    state = entry.context
    while closings.pending[state] > 0:
        first, last = closings.first[state], closings.last[state]
        alive = last - first > _FEW
        while first < last and not alive:
            times = count_closed(trie, entry.parent, first)
            alive = times + (first == entry.closed) < limit
            first += 1
        if alive:
            break
        state = hot.backoff_state[state]
    return closings.pending[entry.context] - closings.pending[state]
