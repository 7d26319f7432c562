"""From a back-off n-gram of words to one of their pieces, with look-ahead.

    states and arcs over words -> a trie of spellings for each state
                               -> states and arcs over pieces

A state over pieces is a context of words and the pieces of the word that has
begun. Each context has a trie of the words that the n-gram knows behind it.
Where the trie lacks a piece, the shorter context's does the same pieces; a
piece that the trie of no words at all lacks begins an unknown word, which is
spelled in an n-gram of pieces.

A space ends a word, as a piece of its own. Where the pieces that begin words
end those before instead (sentencepiece's), they have a chain of back-offs of
their own: from a state where a word of its context is spelled out to the
context behind that word, from other states to the shorter context's, and from
those inside an unknown word to the context behind that.

Look-ahead: a state's potential is the highest log-probability that a word
with its pieces may yet have. The weight of a piece is the change of the
potential, so a hypothesis pays for a word from its first piece on, and whole
words cost their n-gram log-probability, whatever the potentials.

An unknown word costs log P(<unk> | context) and the log-probability of its
spelling. A word of no pieces counts as one: a space at the sentence's begin or
end, or behind a space.

C: contexts, K: arcs over words, N: states over pieces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nar_asr_lobes.jit import jit_entry, jit_inline
from nar_asr_lobes.lm.ngram.lookup import score_token
from nar_asr_lobes.lm.ngram.tables import DTYPES, NgramTables, read_only
from nar_asr_lobes.lm.words.lexicon import (
    NONE,
    Lexicon,
    Tries,
    WordArcs,
    WordEnds,
    grow_tries,
    raise_to_beginnings,
    word_arcs,
)

_OPEN = 1.0  # no log-probability: not known yet


class _Moves(NamedTuple):
    """Arcs over pieces as in `NgramTables`, without their weights."""

    begin: np.ndarray
    token: np.ndarray
    target: np.ndarray


def spell_words(
    words: NgramTables,
    lexicon: Lexicon,
    spelling: NgramTables,
    word_ends: WordEnds,
) -> NgramTables:
    """Turn an n-gram of words into an equal one of their pieces.

    ``words`` are over the tokens 1..W, the lexicon's words in its order, and W
    + 1, <unk>, which no arc has; ``spelling`` is an n-gram of pieces, each
    sentence a word. No log-probability is above 0 if none of ``words`` is.
    """
    arcs = word_arcs(words, len(lexicon.begin) - 1)
    unknown = words.unigram_state[len(lexicon.begin)]
    space = word_ends.tokens[0] if word_ends.space else None
    if space is None:
        spelling = _set_apart(spelling)
    tries = grow_tries(arcs, lexicon, len(spelling.backoff))
    moves, order = _moves(arcs, tries, spelling, space, unknown)
    potential = np.full(len(tries.parent), -np.inf)
    potential[tries.end] = arcs.log_prob
    raise_to_beginnings(tries, potential)
    backoff, shorter = _back_offs(words, tries, moves, spelling, potential)
    ends = np.minimum(arcs.log_prob - potential[tries.end], 0)
    final = _finals(words, arcs, tries, spelling, unknown, ends)
    _fill_finals(final, backoff, shorter)
    inside = np.flatnonzero(tries.parent != NONE)
    steps = potential[inside] - potential[tries.parent[inside]]
    log_probs = [spelling.arc_log_prob, steps]
    if word_ends.space:
        log_probs += [spelling.final[1:], ends]
    tables = spelling._replace(
        backoff=backoff,
        backoff_state=shorter,
        final=np.minimum(final, 0),
        arc_begin=moves.begin,
        arc_token=moves.token,
        arc_log_prob=np.minimum(np.concatenate(log_probs)[order], 0),
        arc_state=moves.target,
        start=tries.empty[words.start],
    )
    after_unknown = tries.empty[unknown]
    if space is None:
        first = word_ends.tokens
        tables = _add_chain(tables, spelling, first, after_unknown)
        tables.backoff[-len(final) :][tries.end] = ends
        tables.backoff_state[-len(final) :][tries.end] = tries.empty[arcs.after]
        tables.final[tables.start] = np.minimum(words.final[words.start], 0)
    else:
        tables = _let_space_end(tables, spelling, space, after_unknown)
        tables.final[-1:] = np.minimum(words.final[words.start], 0)
    return NgramTables(*map(read_only, tables, DTYPES))


def _set_apart(spelling: NgramTables) -> NgramTables:
    """Let no context inside a word be another state than state 0.

    A look-up ends in state 0, so a beginning piece could not end a word there.
    """
    inside = len(spelling.final)
    new = spelling._replace(
        unigram_state=np.where(
            spelling.unigram_state, spelling.unigram_state, inside
        ),
        backoff=np.append(spelling.backoff, 0),
        backoff_state=np.append(spelling.backoff_state, 0),
        final=np.append(spelling.final, spelling.final[0]),
        arc_begin=np.append(spelling.arc_begin, spelling.arc_begin[-1]),
        arc_state=np.where(spelling.arc_state, spelling.arc_state, inside),
    )
    return NgramTables(*map(read_only, new, DTYPES))


def _add_chain(
    tables: NgramTables,
    spelling: NgramTables,
    first: np.ndarray,
    after_unknown: int,
) -> NgramTables:
    """Give the pieces that begin words a chain, which ends unknown words."""
    states, spelled = len(tables.final), np.arange(len(spelling.final))
    inside = np.setdiff1d(spelled, [0, spelling.start[0]])
    weight, state = tables.backoff.copy(), tables.backoff_state.copy()
    weight[inside] = spelling.final[inside]
    state[inside] = after_unknown
    chain = np.zeros(len(tables.unigram_state), dtype=np.int64)
    chain[first] = states
    return tables._replace(
        backoff=np.append(tables.backoff, weight),
        backoff_state=np.append(tables.backoff_state, state),
        chain=chain,
    )


def _let_space_end(
    tables: NgramTables, spelling: NgramTables, space: int, after_unknown: int
) -> NgramTables:
    """Let the space end unknown words in state 0, and add a start.

    It is a state of its own: only there a sentence may end without a word.
    """
    log_prob = tables.unigram_log_prob.copy()
    state = tables.unigram_state.copy()
    log_prob[space], state[space] = spelling.final[0], after_unknown
    return tables._replace(
        unigram_log_prob=log_prob,
        unigram_state=state,
        backoff=np.append(tables.backoff, 0.0),
        backoff_state=np.append(tables.backoff_state, tables.start),
        final=np.append(tables.final, 0.0),
        arc_begin=np.append(tables.arc_begin, tables.arc_begin[-1]),
        start=[len(tables.final)],
    )


def _moves(
    arcs: WordArcs,
    tries: Tries,
    spelling: NgramTables,
    space: int | None,
    unknown: int,
) -> tuple[_Moves, np.ndarray]:
    """List all arcs over pieces, and the order that sorts their weights.

    Before it: the spelling's arcs, the tries' arcs; the spaces that end
    unknown words, those that end known ones.
    """
    known = len(spelling.backoff)
    spelled = np.repeat(np.arange(known), np.diff(spelling.arc_begin))
    inside = np.flatnonzero(tries.parent != NONE)
    source = [spelled, tries.parent[inside]]
    token = [spelling.arc_token, tries.token[inside]]
    target = [spelling.arc_state, inside]
    if space is not None:
        source += [np.arange(1, known), tries.end]
        token += [np.full(known - 1 + len(tries.end), space)]
        target += [np.full(known - 1, tries.empty[unknown])]
        target += [tries.empty[arcs.after]]
    source, token, target = map(np.concatenate, (source, token, target))
    order = np.argsort(source * len(spelling.unigram_log_prob) + token)
    counts = np.bincount(source, minlength=len(tries.parent))
    begin = np.append(0, np.cumsum(counts))
    return _Moves(begin, token[order], target[order]), order


@jit_entry
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
        if parent == NONE:
            context += 1
        if parent == NONE and context == 0:
            shorter[state] = spelling.start[0]
            below = words.unigram_log_prob[-1]
        elif parent == NONE:
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
        if parent == NONE:
            potential[state] = 0.0
        else:
            potential[state] = min(max(potential[state], below), 0.0)
        weight[state] = below - potential[state]
    return weight, shorter


@jit_inline
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
    arcs: WordArcs,
    tries: Tries,
    spelling: NgramTables,
    unknown: int,
    ends: np.ndarray,
) -> np.ndarray:
    """Return log P(word end, </s>) where a word ends, else _OPEN."""
    final = np.full(len(tries.parent), _OPEN)
    final[: len(spelling.final)] = spelling.final + words.final[unknown]
    final[tries.end] = ends + words.final[arcs.after]
    return final


@jit_entry
def _fill_finals(final, backoff, shorter):
    """Let the shorter state end the sentence where no known word ends."""
    for state in range(len(final)):
        if final[state] == _OPEN:
            final[state] = backoff[state] + final[shorter[state]]
