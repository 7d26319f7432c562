"""How often a hot phrase has gained, so that none gains without end, compiled.

A phrase gains where the word ends that ends it. Where posteriors say nothing,
a search would put it wherever it fits; after ``limit`` times it gains nothing.
The states of the tables would be too many with such counts, so a search counts
along each prefix. What tokens on their way through a phrase have gained is held
back as soon as no other phrase can come of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nar_asr_lobes.compiled import inner, outer
from nar_asr_lobes.decoding.prefix_trie import NONE, count_closed
from nar_asr_lobes.lm.lookup import score_token
from nar_asr_lobes.lm.tables import NgramTables

AHEAD = 4
# Times a phrase's number: sums are equal where the same phrases are in them.
MIX = 0x1E3779B97F4A7C15


class Closings(NamedTuple):
    """What ends where; S states of the tables of hot words, V labels.

    Arguments
    ---------
    phrase : np.ndarray
        int32 [S]: the phrase that gains if a word ends there, ``NONE`` if none
        does.
    tokens : np.ndarray
        int32 [S]: how many tokens it gains.
    boundary : np.ndarray
        bool [V]: whether a word ends before the token.
    pending : np.ndarray
        int32 [S]: tokens that have gained and may have to give it back.
    ahead : np.ndarray
        int32 [S, AHEAD]: the phrases that may come of them, then ``NONE``;
        all ``NONE`` if they are more.
    """

    phrase: np.ndarray
    tokens: np.ndarray
    boundary: np.ndarray
    pending: np.ndarray
    ahead: np.ndarray


@outer
def count_gain(
    tables: NgramTables, closings: Closings, limit: int, ids: np.ndarray
) -> float:
    """Count the tokens that a whole sequence gains.

    Arguments
    ---------
    tables : NgramTables
        Of the hot words.
    closings : Closings
        Of the same states.
    limit : int
        How often a phrase gains, at most.
    ids : np.ndarray
        Tokens, int64 [L].

    Returns
    -------
    float
        How many.
    """
    closed, count = np.empty(len(ids) + 1, np.int32), 0
    state, gained = tables.start[0], 0.0
    for i in range(len(ids) + 1):
        phrase = closings.phrase[state]
        if phrase != NONE and (i == len(ids) or closings.boundary[ids[i]]):
            times = np.sum(closed[:count] == phrase)
            if times >= limit:
                gained -= closings.tokens[state]
            closed[count] = phrase
            count += 1
        if i < len(ids):
            gain, state = score_token(tables, state, ids[i])
            gained += gain
    return gained + tables.final[state]


@inner
def listen(trie, prefix, token, hot, closings, limit):
    """Take a prefix of a beam one token on.

    Returns the state behind it, the tokens gained, the phrase that the token
    closed and a number for those that can gain no more.
    """
    gain, context = score_token(hot, prefix.context, token)
    gained = prefix.hot + int(gain)
    if not closings.boundary[token]:
        return context, gained, NONE, prefix.spent
    closed, back, spent = close(trie, prefix, closings, limit)
    return context, gained - back, closed, spent


@inner
def close(trie, prefix, closings, limit):
    """End a word: the phrase that gains, what it had gained already if it does
    so too often, and a number for those that can gain no more."""
    closed = closings.phrase[prefix.context]
    if closed == NONE:
        return NONE, 0, prefix.spent
    times = count_closed(trie, prefix.node, closed)
    back = closings.tokens[prefix.context] if times >= limit else 0
    once = (closed + 1) * MIX if times + 1 == limit else 0
    return closed, back, prefix.spent + once


@inner
def held_back(trie, entry, closings, limit):
    """What the last tokens have gained, if no phrase ahead may gain."""
    for i in range(AHEAD):
        phrase = closings.ahead[entry.context, i]
        if phrase == NONE:
            return closings.pending[entry.context] if i > 0 else 0
        times = count_closed(trie, entry.parent, phrase)
        if times + (phrase == entry.closed) < limit:
            return 0
    return closings.pending[entry.context]
