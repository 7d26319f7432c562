"""Tries of the words that each context of a word n-gram knows.

    arcs over words, spellings of the words -> a trie for each context

C: contexts, K: arcs over words, N: states over pieces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.jit import outer
from nar_asr_lobes.lm.ngram.tables import NgramTables
from nar_asr_lobes.lm.words.lexicon import Lexicon

_MOST_STATES = 2**31 - 1  # they are int32
NONE = -1


class WordArcs(NamedTuple):
    """What each context knows; the first is no words at all.

    Arguments
    ---------
    begin : np.ndarray
        int64 [C + 1]: context c has the arcs begin[c]:begin[c + 1], in the
        order of the lexicon.
    word, after : np.ndarray
        int64 [K]: number in the lexicon, and the context behind it.
    log_prob : np.ndarray
        float64 [K], natural.
    """

    begin: np.ndarray
    word: np.ndarray
    after: np.ndarray
    log_prob: np.ndarray


class Tries(NamedTuple):
    """The tries of all contexts; their states begin behind the spelling's.

    A trie's states stand in the order in which its words are spelled.

    Arguments
    ---------
    empty : np.ndarray
        int64 [C]: state of a context before a word begins; the trie's first.
    parent, token : np.ndarray
        int32 [N]: the state one piece shorter, and that piece; -1 at `empty`.
    end : np.ndarray
        int64 [K]: the state in which an arc's word is spelled out.
    """

    empty: np.ndarray
    parent: np.ndarray
    token: np.ndarray
    end: np.ndarray


def word_arcs(words: NgramTables, count: int) -> WordArcs:
    """Put the unigrams in front of the other arcs, as those of context 0.

    Arguments
    ---------
    words : NgramTables
        Over the tokens 1..count, the lexicon's words in its order, and more.
    count : int

    Returns
    -------
    WordArcs
    """
    own = slice(1, count + 1)
    log_prob = [words.unigram_log_prob[own], words.arc_log_prob]
    return WordArcs(
        begin=np.append(0, words.arc_begin[1:] + count),
        word=np.append(np.arange(count), words.arc_token - 1),
        after=np.append(words.unigram_state[own], words.arc_state),
        log_prob=np.concatenate(log_prob).astype(np.float64),
    )


def grow_tries(arcs: WordArcs, lexicon: Lexicon, first: int) -> Tries:
    """Number the states over pieces, from `first` on.

    Arguments
    ---------
    arcs : WordArcs
    lexicon : Lexicon
    first : int

    Returns
    -------
    Tries

    Raises
    ------
    UserError
        If the states are too many for the tables.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.pieces import CharTokenizer
    >>> from nar_asr_lobes.lm.words.lexicon import make_lexicon
    >>> lexicon = make_lexicon(["a", "ab"], CharTokenizer("ab "))
    >>> two = np.arange(2)
    >>> arcs = WordArcs(np.array([0, 2]), two, two, -two.astype(float))
    >>> tries = grow_tries(arcs, lexicon, first=3)
    >>> tries.empty.tolist(), tries.parent.tolist(), tries.end.tolist()
    ([3], [-1, -1, -1, -1, 3, 4], [4, 5])
    """
    new = _count_new(arcs.begin, arcs.word, lexicon.begin, lexicon.pieces)
    contexts = len(arcs.begin) - 1
    states = first + contexts + int(new.sum())
    if states >= _MOST_STATES:
        raise UserError(
            f"the word n-gram needs {states} states over pieces, more than"
            f" {_MOST_STATES - 1}; prune it, or give it fewer words or a"
            " lower order"
        )
    tries = Tries(
        empty=np.empty(contexts, dtype=np.int64),
        parent=np.full(states, NONE, dtype=np.int32),
        token=np.full(states, NONE, dtype=np.int32),
        end=np.empty(len(arcs.word), dtype=np.int64),
    )
    _grow(arcs, new, lexicon.begin, lexicon.pieces, first, tries)
    return tries


@outer
def _count_new(arc_begin, word, begin, pieces):
    """Count the states that each arc's word adds to its context's trie."""
    new = begin[word + 1] - begin[word]
    for context in range(len(arc_begin) - 1):
        for arc in range(arc_begin[context] + 1, arc_begin[context + 1]):
            one, other = begin[word[arc - 1]], begin[word[arc]]
            # different and in order: they differ before the second one ends
            length, shared = begin[word[arc - 1] + 1] - one, 0
            while (
                shared < length
                and pieces[one + shared] == pieces[other + shared]
            ):
                shared += 1
            new[arc] -= shared
    return new


@outer
def _grow(arcs, new, begin, pieces, first, tries):
    """Fill the tries; their states stand in the order of their spellings."""
    path = np.empty((begin[1:] - begin[:-1]).max() + 1, np.int64)
    state = first
    for context in range(len(tries.empty)):
        tries.empty[context] = path[0] = state
        state += 1
        for arc in range(arcs.begin[context], arcs.begin[context + 1]):
            low, high = begin[arcs.word[arc]], begin[arcs.word[arc] + 1]
            for i in range(high - new[arc], high):
                tries.parent[state] = path[i - low]
                tries.token[state] = pieces[i]
                path[i - low + 1] = state
                state += 1
            tries.end[arc] = state - 1


@outer
def raise_to_beginnings(tries, potential):
    """Give each beginning the highest value of its trie's words.

    Arguments
    ---------
    tries : Tries
    potential : np.ndarray
        float64 [N]; changed in place.
    """
    for state in range(len(potential) - 1, tries.empty[0] - 1, -1):
        parent = tries.parent[state]
        if parent != NONE:
            potential[parent] = max(potential[parent], potential[state])
