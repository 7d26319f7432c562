"""How often a hot phrase has gained, so that none gains without end, compiled.

A phrase gains where the word ends that ends it. Where posteriors say nothing,
a search would put it wherever it fits; after ``limit`` times it gains nothing.
The states of the tables would be too many with such counts, so a search counts
along each prefix. What tokens on their way through a phrase have gained is held
back as soon as no other phrase can come of them; it never comes back, so that
one token more is never worth more than one token gained.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nar_asr_lobes.decoding.beam.trie import NONE, count_closed
from nar_asr_lobes.jit import inner, outer
from nar_asr_lobes.lm.ngram.lookup import score_token
from nar_asr_lobes.lm.ngram.tables import NgramTables

AHEAD = 4


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
        int32 [S, AHEAD]: the phrases that may come of them, then ``NONE``.
    kept : np.ndarray
        int32 [S, AHEAD]: how many of them each may need.
    rest : np.ndarray
        int32 [S]: how many phrases need that are too many to be in ``ahead``.
    code : np.ndarray
        int64 [P]: a random number for each phrase; the sum of those that have
        gained, each as often, tells prefixes apart.
    """

    phrase: np.ndarray
    tokens: np.ndarray
    boundary: np.ndarray
    pending: np.ndarray
    ahead: np.ndarray
    kept: np.ndarray
    rest: np.ndarray
    code: np.ndarray


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
    closed and the code of those that have gained.
    """
    gain, context = score_token(hot, prefix.context, token)
    gained = prefix.hot + int(gain)
    if not closings.boundary[token]:
        return context, gained, NONE, prefix.past
    closed, back, past = close(trie, prefix, closings, limit)
    return context, gained - back, closed, past


@inner
def close(trie, prefix, closings, limit):
    """End a word: the phrase that gains, what it had gained already if it does
    so too often, and the code of those that have gained."""
    closed = closings.phrase[prefix.context]
    if closed == NONE:
        return NONE, 0, prefix.past
    times = count_closed(trie, prefix.node, closed)
    if times >= limit:
        return closed, closings.tokens[prefix.context], prefix.past
    return closed, 0, prefix.past + closings.code[closed]


@inner
def held_back(trie, entry, closings, limit):
    """What the last tokens have gained for phrases that may gain no more."""
    context = entry.context
    needed = closings.rest[context]
    for i in range(AHEAD):
        phrase, kept = closings.ahead[context, i], closings.kept[context, i]
        if phrase == NONE:
            break
        if kept > needed:
            times = count_closed(trie, entry.parent, phrase)
            if times + (phrase == entry.closed) < limit:
                needed = kept
    return closings.pending[context] - needed
