"""Finds listed phrases in tokens, one token at a time (Aho-Corasick).

A phrase occurs where its tokens stand from the start of a word up to a word
boundary or the end of the sentence. Each token that an occurrence covers gains
1, once. Tokens on their way through a phrase gain at once and give it back
where the phrase does not come to its end.

A phrase gains ``limit`` times at most: otherwise a search would fill noise
with it. The states of the tables would be too many with such counts, so a
search counts along each prefix. The bonus of tokens inside phrases is held
back when all these phrases have gained too often. It never comes back, so that
one token more is never worth more than one token gained: the search prunes by
that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nar_asr_lobes.decoding.beam.trie import NONE, count_closed
from nar_asr_lobes.jit import jit_entry, jit_inline
from nar_asr_lobes.lm.ngram.lookup import score_token
from nar_asr_lobes.lm.ngram.tables import DTYPES, NgramTables, read_only

_NOWHERE, _ROOT = 0, 1


class PhraseTrie:
    """The phrases as a trie with suffix links between word starts.

    Node 0: inside a word that no phrase begins with. Node 1: the root. Any
    other node stands for the longest run of last tokens that begins a phrase.
    A word ends before ``boundaries``, of which ``spaces`` hold nothing else;
    ``leading``: a word's first token holds the space before it.
    """

    def __init__(
        self,
        phrases: Sequence[Sequence[int]],
        boundaries: set[int],
        spaces: set[int],
        leading: bool = False,
    ):
        self.boundaries, self._spaces = boundaries, spaces
        self._leading = leading
        self.children: list[dict[int, int]] = [{}, {}]
        self.length, self.phrase = [0, 0], [NONE, NONE]
        # phrases that may come of a node: first:last, as they are sorted
        self.first, self.last = [0, 0], [0, 0]
        for number, tokens in enumerate(sorted(phrases)):
            node = _ROOT
            for token in tokens:
                node = self._child(node, token, number)
            self.phrase[node] = number
        # of the longest phrase that ends at the node
        self.closes = [0] * len(self.length)
        self.suffix = [_NOWHERE] * len(self.length)
        self._link()

    @property
    def start(self) -> int:
        """The node at the start of a sentence."""
        return _NOWHERE if self._leading else _ROOT

    def enter(self, token: int) -> int:
        """Return the node behind a token that goes on with no phrase."""
        if token not in self.boundaries:
            return _NOWHERE
        if token in self._spaces and not self._leading:
            return _ROOT
        return self.children[_ROOT].get(token, _NOWHERE)

    def _child(self, node: int, token: int, phrase: int) -> int:
        child = self.children[node].setdefault(token, len(self.children))
        if child == len(self.children):
            self.children.append({})
            self.length.append(self.length[node] + 1)
            self.phrase.append(NONE)
            self.first.append(phrase)
            self.last.append(phrase)
        self.last[child] = phrase + 1
        return child

    def _link(self) -> None:
        """Set suffixes and phrase ends, shorter nodes first."""
        nodes = [_ROOT]
        for node in nodes:
            for token, child in self.children[node].items():
                nodes.append(child)
                if node != _ROOT:
                    self.suffix[child] = self._next(self.suffix[node], token)
                if self.phrase[child] != NONE:
                    self.closes[child] = self.length[child]
                    continue
                suffix = self.suffix[child]
                self.phrase[child] = self.phrase[suffix]
                self.closes[child] = self.closes[suffix]

    def _next(self, node: int, token: int) -> int:
        while node != _NOWHERE:
            if token in self.children[node]:
                return self.children[node][token]
            node = self.suffix[node]
        return self.enter(token)


def compile_phrases(
    trie: PhraseTrie, size: int
) -> tuple[NgramTables, Closings]:
    """Write the matching as the tables of an n-gram.

    A state is a node and which of its tokens a phrase covers that has ended,
    as bits, the last token's the lowest. It has arcs to the node's children
    and backs off to its suffix. A token that begins a word has a back-off
    chain of its own: before it, a phrase ends.

    Tokens gained stand in place of log-probabilities.
    """
    numbers, states = {}, []

    def number(node: int, covered: int) -> int:
        state = node, covered & ((1 << trie.length[node]) - 1)
        if state not in numbers:
            numbers[state] = len(states)
            states.append(state)
        return numbers[state]

    number(_NOWHERE, 0)  # state 0, whose arcs are the unigrams
    start = number(trie.start, 0)
    entered = [trie.enter(token) for token in range(1, size)]
    unigram_state = [0, *(number(node, 0) for node in entered)]
    tokens, targets, begin = [], [], [0]
    ends, final = [], []
    chains = [], []  # of tokens within a word, and of those that begin one
    for node, covered in states:  # grows meanwhile
        length, suffix = trie.length[node], trie.suffix[node]
        ended = covered | ((1 << trie.closes[node]) - 1)
        before, behind = covered.bit_count(), ended.bit_count()
        phrase = trie.phrase[node] if behind > before else NONE
        reach = trie.first[node], trie.last[node]
        pending = length - before
        ends.append((phrase, behind - before, pending, *reach))
        final.append(behind - length)
        kept = trie.length[suffix]
        for chain, bits in zip(chains, (covered, ended), strict=True):
            # the bonus of tokens left behind uncovered is given back
            given_back = length - kept - (bits >> kept).bit_count()
            chain.append((-given_back, number(suffix, bits)))
        for token, child in sorted(trie.children[node].items()):
            bits = ended if token in trie.boundaries else covered
            tokens.append(token)
            targets.append(number(child, bits << 1))
        begin.append(len(tokens))
    backoff, backoff_state = zip(*chains[0], *chains[1], strict=True)
    boundary = np.isin(np.arange(size), list(trie.boundaries))
    arrays = NgramTables(
        unigram_log_prob=[-np.inf, *(trie.length[node] for node in entered)],
        unigram_state=unigram_state,
        backoff=backoff,
        backoff_state=backoff_state,
        final=final,
        arc_begin=begin,
        arc_token=tokens,
        arc_log_prob=np.ones(len(tokens)),
        arc_state=targets,
        start=[start],
        chain=boundary * len(states),
    )
    tables = NgramTables(*map(read_only, arrays, DTYPES))
    return tables, _closings(ends, boundary, 1 + max(trie.phrase))


def _closings(
    ends: list[tuple[int, ...]], boundary: np.ndarray, phrases: int
) -> Closings:
    """Put the numbers of all states, in the order of fields, into arrays."""
    columns = np.array(ends, np.int32).T
    phrase, tokens, pending, first, last = map(np.ascontiguousarray, columns)
    code = np.random.default_rng(0).integers(2**62, size=phrases)
    return Closings(phrase, tokens, pending, first, last, boundary, code)


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


@jit_entry
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


@jit_inline
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


@jit_inline
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


@jit_inline
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
