"""From a back-off n-gram of words to one of their pieces, with look-ahead.

    states and arcs over words -> a trie of spellings for each state
                               -> states and arcs over pieces

A state over pieces is a context of words and the pieces of the word that has
begun. Each context has a trie of the words that the n-gram knows behind it.
Where the trie lacks a piece, the shorter context's does the same pieces; a
piece that the trie of no words at all lacks begins an unknown word, which is
spelled in an n-gram of pieces. The space ends a word.

Look-ahead: a state's potential is the highest log-probability that a word
with its pieces may yet have. The weight of a piece is the change of the
potential, so a hypothesis pays for a word from its first piece on, and whole
words cost what the n-gram says, whatever the potentials.

An unknown word costs log P(<unk> | context) and the log-probability of its
spelling. A word of no pieces counts as one: a space at the sentence's begin or
end, or behind a space.

C: contexts, K: arcs over words, N: states over pieces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nar_asr_lobes.compiled import inner, outer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.lexicon import Lexicon
from nar_asr_lobes.lm.lookup import score_token
from nar_asr_lobes.lm.tables import DTYPES, NgramTables, read_only

_MOST_STATES = 2**31 - 1  # they are int32
_NONE = -1
_OPEN = 1.0  # no log-probability: not known yet


class _WordArcs(NamedTuple):
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


class _Tries(NamedTuple):
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


class _Moves(NamedTuple):
    """Arcs over pieces as in `NgramTables`, without their weights."""

    begin: np.ndarray
    token: np.ndarray
    target: np.ndarray


def spell_words(
    words: NgramTables, lexicon: Lexicon, spelling: NgramTables, space: int
) -> NgramTables:
    """Turn an n-gram of words into an equal one of their pieces.

    Arguments
    ---------
    words : NgramTables
        Over the tokens 1..W, the lexicon's words in its order, and W + 1,
        <unk>, which no arc has.
    lexicon : Lexicon
        Of W words.
    spelling : NgramTables
        An n-gram of pieces, each sentence a word.
    space : int
        The piece that ends a word.

    Returns
    -------
    NgramTables
        Log-probabilities of pieces, none above 0 if those of `words` are
        none, whose sums are those of the words.

    Raises
    ------
    UserError
        If the states are too many for the tables.

    Example
    -------
    >>> from nar_asr_lobes.dataio.pieces import CharTokenizer
    >>> from nar_asr_lobes.lm.kneser_ney import estimate
    >>> from nar_asr_lobes.lm.lexicon import make_lexicon
    >>> from nar_asr_lobes.lm.lookup import score_sentence
    >>> from nar_asr_lobes.lm.states import build_tables
    >>> tokenizer = CharTokenizer("ab ")
    >>> lexicon = make_lexicon(["a", "ab"], tokenizer)
    >>> model = estimate(np.array([1, 2, 2]), np.array([2, 1]), order=2)
    >>> words = build_tables(model, 4)
    >>> letters = estimate(lexicon.pieces, np.diff(lexicon.begin), order=1)
    >>> spelling = build_tables(letters, tokenizer.size)
    >>> tables = spell_words(words, lexicon, spelling, space=1)
    >>> ids = np.array(tokenizer.encode("a ab"))
    >>> wanted = score_sentence(words, np.array([1, 2]))
    >>> bool(np.isclose(score_sentence(tables, ids), wanted))
    True
    """
    arcs = _word_arcs(words, len(lexicon.begin) - 1)
    unknown = words.unigram_state[len(lexicon.begin)]
    tries = _grow_tries(arcs, lexicon, len(spelling.backoff))
    moves, order = _moves(arcs, tries, spelling, space, unknown)
    potential = np.full(len(tries.parent), -np.inf)
    potential[tries.end] = arcs.log_prob
    _raise_to_beginnings(tries, potential)
    backoff, shorter = _back_offs(words, tries, moves, spelling, potential)
    ends = arcs.log_prob - potential[tries.end]
    final = _finals(words, arcs, tries, spelling, unknown, ends)
    _fill_finals(final, backoff, shorter)
    inside = np.flatnonzero(tries.parent != _NONE)
    steps = potential[inside] - potential[tries.parent[inside]]
    log_probs = spelling.arc_log_prob, spelling.final[1:], steps, ends
    unigrams = spelling.unigram_log_prob.copy()
    unigrams[space] = spelling.final[0]
    states = spelling.unigram_state.copy()
    states[space] = tries.empty[unknown]
    # a state of its own: only there a sentence may end without a word
    start = words.start[0]
    tables = NgramTables(
        unigram_log_prob=unigrams,
        unigram_state=states,
        backoff=np.append(backoff, 0.0),
        backoff_state=np.append(shorter, tries.empty[start]),
        final=np.minimum(np.append(final, words.final[start]), 0),
        arc_begin=np.append(moves.begin, moves.begin[-1]),
        arc_token=moves.token,
        arc_log_prob=np.minimum(np.concatenate(log_probs)[order], 0),
        arc_state=moves.target,
        start=[len(backoff)],
    )
    return NgramTables(*map(read_only, tables, DTYPES))


def _word_arcs(words: NgramTables, count: int) -> _WordArcs:
    """Put the unigrams in front of the other arcs, as those of context 0."""
    own = slice(1, count + 1)
    log_prob = [words.unigram_log_prob[own], words.arc_log_prob]
    return _WordArcs(
        begin=np.append(0, words.arc_begin[1:] + count),
        word=np.append(np.arange(count), words.arc_token - 1),
        after=np.append(words.unigram_state[own], words.arc_state),
        log_prob=np.concatenate(log_prob).astype(np.float64),
    )


def _grow_tries(arcs: _WordArcs, lexicon: Lexicon, first: int) -> _Tries:
    """Number the states over pieces, from `first` on."""
    new = _count_new(arcs.begin, arcs.word, lexicon.begin, lexicon.pieces)
    contexts = len(arcs.begin) - 1
    states = first + contexts + int(new.sum())
    if states >= _MOST_STATES:
        raise UserError(
            f"the word n-gram needs {states} states over pieces, more than"
            f" {_MOST_STATES - 1}; prune it, or give it fewer words or a"
            " lower order"
        )
    tries = _Tries(
        empty=np.empty(contexts, dtype=np.int64),
        parent=np.full(states, _NONE, dtype=np.int32),
        token=np.full(states, _NONE, dtype=np.int32),
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


def _moves(
    arcs: _WordArcs,
    tries: _Tries,
    spelling: NgramTables,
    space: int,
    unknown: int,
) -> tuple[_Moves, np.ndarray]:
    """List all arcs over pieces, and the order that sorts their weights.

    Before it: the spelling's arcs, the ends of unknown words, the tries'
    arcs, the ends of known words.
    """
    known = len(spelling.backoff)
    spelled = np.repeat(np.arange(known), np.diff(spelling.arc_begin))
    inside = np.flatnonzero(tries.parent != _NONE)
    source = [spelled, np.arange(1, known), tries.parent[inside], tries.end]
    token = [spelling.arc_token, np.full(known - 1, space)]
    token += [tries.token[inside], np.full(len(tries.end), space)]
    target = [spelling.arc_state, np.full(known - 1, tries.empty[unknown])]
    target += [inside, tries.empty[arcs.after]]
    source, token, target = map(np.concatenate, (source, token, target))
    order = np.argsort(source * len(spelling.unigram_log_prob) + token)
    counts = np.bincount(source, minlength=len(tries.parent))
    begin = np.append(0, np.cumsum(counts))
    return _Moves(begin, token[order], target[order]), order


@outer
def _raise_to_beginnings(tries, potential):
    """Give each beginning the highest value of its trie's words."""
    for state in range(len(potential) - 1, tries.empty[0] - 1, -1):
        parent = tries.parent[state]
        if parent != _NONE:
            potential[parent] = max(potential[parent], potential[state])


@outer
def _back_offs(words, tries, moves, spelling, potential):
    """Find weight and shorter state, and let potentials look into those.

    A shorter context has the words of the longer one, and states of lower
    numbers.
    """
    shorter = np.zeros(len(potential), np.int64)
    weight = np.zeros(len(potential))
    first = tries.empty[0]
    shorter[:first] = spelling.backoff_state
    weight[:first] = spelling.backoff
    context = -1
    for state in range(first, len(potential)):
        parent, token = tries.parent[state], tries.token[state]
        if parent == _NONE:
            context += 1
        if parent == _NONE and context == 0:
            shorter[state] = spelling.start[0]
            below = words.unigram_log_prob[-1]
        elif parent == _NONE:
            shorter[state] = tries.empty[words.backoff_state[context]]
            below = words.backoff[context]
        elif context == 0:
            spelled = weight[parent] + potential[parent]
            log_prob, shorter[state] = score_token(
                spelling, shorter[parent], token
            )
            below = spelled + log_prob
        else:
            shorter[state] = _follow(moves, shorter[parent], token)
            below = words.backoff[context] + potential[shorter[state]]
        if parent == _NONE:
            potential[state] = 0.0
        else:
            potential[state] = min(max(potential[state], below), 0.0)
        weight[state] = below - potential[state]
    return weight, shorter


@inner
def _follow(moves, state, token):
    """Return the state behind an arc that is there."""
    low, high = moves.begin[state], moves.begin[state + 1]
    while low < high:
        middle = (low + high) >> 1
        if moves.token[middle] < token:
            low = middle + 1
        else:
            high = middle
    return moves.target[low]


def _finals(
    words: NgramTables,
    arcs: _WordArcs,
    tries: _Tries,
    spelling: NgramTables,
    unknown: int,
    ends: np.ndarray,
) -> np.ndarray:
    """Return log P(word end, </s>) where a word ends, else _OPEN."""
    final = np.full(len(tries.parent), _OPEN)
    final[: len(spelling.final)] = spelling.final + words.final[unknown]
    final[tries.end] = ends + words.final[arcs.after]
    return final


@outer
def _fill_finals(final, backoff, shorter):
    """Let the shorter state end the sentence where no known word ends."""
    for state in range(len(final)):
        if final[state] == _OPEN:
            final[state] = backoff[state] + final[shorter[state]]
