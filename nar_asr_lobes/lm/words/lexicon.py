"""The words of a word n-gram, how a tokenizer spells them, and their tries.

    words -> spellings; with arcs over words -> a trie for each context

C: contexts, K: arcs over words, N: states over pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.dataio.text.pieces import (
    SPACE,
    CharTokenizer,
    Tokenizer,
    UnknownCharactersError,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.jit import jit_entry
from nar_asr_lobes.lm.ngram.tables import NgramTables

_MOST_STATES = 2**31 - 1  # they are int32
NONE = -1


@dataclass(frozen=True)
class Lexicon:
    """W words in the order of their spellings, all different."""

    pieces: np.ndarray  # int32 [P], spellings without spaces between words
    begin: np.ndarray  # int64 [W + 1], word w is pieces[begin[w]:begin[w + 1]]
    # int64 [G]: number of each word given, the same for those that are
    # spelled alike, -1 for those left out
    place: np.ndarray


@dataclass(frozen=True)
class WordEnds:
    """The pieces behind which, or with which, the word before has ended."""

    tokens: np.ndarray  # int64 [E]
    space: bool  # one piece between words; else each starts a word


def find_word_ends(tokenizer: Tokenizer) -> WordEnds:
    """Find out how a tokenizer's pieces tell that a word has ended."""
    pieces = tokenizer.pieces
    holders = [i for i, piece in enumerate(pieces) if SPACE in piece]
    odd = [i for i in holders if SPACE in pieces[i].lstrip(SPACE)]
    if odd or not holders:
        fault = "none of this one's does"
        if odd:
            fault = f"{pieces[odd[0]]!r} of this one holds it elsewhere"
        raise UserError(
            "a word n-gram needs a tokenizer whose pieces hold the space in"
            f" front of a word, or alone, and {fault}; train the language"
            " model over pieces, or the model with another tokenizer on text"
            " of several words"
        )
    space = isinstance(tokenizer, CharTokenizer)
    return WordEnds(np.array(holders), space)


def make_lexicon(
    words: Sequence[str], tokenizer: Tokenizer, text_style: str = "none"
) -> Lexicon:
    """Spell words; those that cannot be spelled are left out.

    So are those that ``text_style`` turns into nothing or several words.
    """
    ends, rows = find_word_ends(tokenizer), {}
    holders, wanted = set(ends.tokens.tolist()), [] if ends.space else [0]
    for row, word in enumerate(words):
        try:
            ids = tokenizer.encode(normalize_text(word, text_style))
        except UnknownCharactersError:
            continue
        places = [i for i, token in enumerate(ids) if token in holders]
        if ids and places == wanted:
            rows.setdefault(tuple(ids), []).append(row)
    if not rows:
        shown = ", ".join(map(repr, words[:5]))
        raise UserError(
            f"none of the {len(words)} words ({shown}, …) can be spelled with"
            " this tokenizer; normalise the words like the tokenizer's"
            " training text"
        )
    spellings = sorted(rows)
    place = np.full(len(words), -1)
    for number, ids in enumerate(spellings):
        place[rows[ids]] = number
    return Lexicon(
        np.array([i for ids in spellings for i in ids], dtype=np.int32),
        np.cumsum([0, *map(len, spellings)]),
        place,
    )


class WordArcs(NamedTuple):
    """The words that each of C contexts knows; the first is no words at all."""

    begin: np.ndarray  # int64 [C + 1], context c: arcs begin[c]:begin[c + 1]
    word: np.ndarray  # int64 [K], number in the lexicon, ascending
    after: np.ndarray  # int64 [K], the context behind it
    log_prob: np.ndarray  # float64 [K], natural


class Tries(NamedTuple):
    """The tries of all contexts; their states begin behind the spelling's.

    A trie's states stand in the order in which its words are spelled.
    """

    empty: np.ndarray  # int64 [C], first state, before a word begins
    parent: np.ndarray  # int32 [N], state one piece shorter, -1 at empty
    token: np.ndarray  # int32 [N], that piece, -1 at empty
    end: np.ndarray  # int64 [K], state where an arc's word is complete


def word_arcs(words: NgramTables, count: int) -> WordArcs:
    """Put the unigrams in front of the other arcs, as those of context 0.

    The n-gram's tokens 1..count are the lexicon's words in its order.
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
    """Number the states over pieces, from ``first`` on."""
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


@jit_entry
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


@jit_entry
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


@jit_entry
def raise_to_beginnings(tries, potential):
    """Give each beginning the highest value of its trie's words, in place."""
    for state in range(len(potential) - 1, tries.empty[0] - 1, -1):
        parent = tries.parent[state]
        if parent != NONE:
            potential[parent] = max(potential[parent], potential[state])
