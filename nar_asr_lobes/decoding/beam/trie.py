"""The prefixes a beam search has kept, as a trie in flat arrays, compiled.

A prefix is a node: its parent and one more token. A hash table finds a child
again that was in the beam before, so that no prefix is in the beam twice. A
merge says that a prefix left the beam because another, its winner, is equal to
the future and at least as good; the N-best list is filled from them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nar_asr_lobes.jit import jit_function, jit_inline

NONE = -1

# ``closed``: the hot phrase that its token closed, NONE if none; ``past``: as
# in an entry. ``frame``: when it got into the beam. ``slot``: its place there,
# NONE outside. ``merge``: head of the list of merges that it won.
_NODE = np.dtype(
    [
        ("parent", np.int32),
        ("token", np.int32),
        ("state", np.int32),
        ("context", np.int32),
        ("length", np.int32),
        ("hot", np.int32),
        ("closed", np.int32),
        ("frame", np.int32),
        ("slot", np.int32),
        ("merge", np.int32),
        ("past", np.int64),
        ("lm", np.float64),
    ],
    align=True,
)
# The prefix that lost (``node`` is NONE if it never was in the beam), and by
# how much: winner minus loser.
_MERGE = np.dtype(
    [
        ("next", np.int32),
        ("parent", np.int32),
        ("token", np.int32),
        ("node", np.int32),
        ("frame", np.int32),
        ("length_gap", np.int32),
        ("hot_gap", np.int32),
        ("score_gap", np.float64),
        ("ctc_gap", np.float64),
        ("lm_gap", np.float64),
    ],
    align=True,
)


class Trie(NamedTuple):
    """Nodes, their hash table, merges, and how many nodes and merges."""

    nodes: np.ndarray
    table: np.ndarray
    merges: np.ndarray
    count: np.ndarray


def new_trie(size: int) -> Trie:
    """Make room for so many nodes and merges; ``restart`` comes before use."""
    return Trie(
        np.empty(size, _NODE),
        np.empty(2 << (size - 1).bit_length(), np.int32),
        np.empty(size, _MERGE),
        np.zeros(2, np.int64),
    )


@jit_function
def restart(trie: Trie, state: int, context: int) -> None:
    """Leave only the empty prefix, in the first place of the beam."""
    trie.table[:], trie.count[:] = NONE, 0
    add_node(trie, -1, (NONE, NONE, state, context, 0, 0, NONE, 0, 0.0))
    trie.nodes[0].slot = 0


@jit_inline
def has_room(trie: Trie, nodes: int, merges: int) -> bool:
    """Tell whether so many more fit in."""
    count = trie.count
    return count[0] + nodes <= len(trie.nodes) and (
        count[1] + merges <= len(trie.merges)
    )


@jit_inline
def _place(trie, parent, token):
    """Where in the table a node is, or would be put."""
    mask = len(trie.table) - 1
    code = np.int64(parent) * 0x9E3779B1 + np.int64(token) * 0x85EBCA6B
    place = (code ^ (code >> 15)) & mask
    while trie.table[place] != NONE:
        node = trie.nodes[trie.table[place]]
        if node.parent == parent and node.token == token:
            break
        place = (place + 1) & mask
    return place


@jit_inline
def find_node(trie: Trie, parent: int, token: int) -> int:
    """Return the parent's child of this token, NONE if there is none."""
    return trie.table[_place(trie, parent, token)]


@jit_inline
def add_node(
    trie: Trie,
    frame: int,
    new: tuple[int, int, int, int, int, int, int, int, float],
) -> int:
    """Add a child that is not there yet, and return its number.

    ``new``: parent, token, state, context, length, tokens gained, hot phrase
    closed, code of the phrases that gained, language model score.
    """
    index = trie.count[0]
    trie.count[0] += 1
    node = trie.nodes[index]
    node.parent, node.token, node.state, node.context = new[:4]
    node.length, node.hot, node.closed, node.past, node.lm = new[4:]
    node.frame, node.slot, node.merge = frame, NONE, NONE
    trie.table[_place(trie, node.parent, node.token)] = index
    return index


@jit_inline
def add_merge(
    trie: Trie,
    winner: int,
    frame: int,
    limit: int,
    loser: tuple[int, int, int],
    gaps: tuple[int, int, float, float, float],
) -> None:
    """Note that the prefix ``loser`` (parent, token, node) lost against a node.

    Keeps ``limit`` merges of each winner, those with the smallest gap of
    scores. ``gaps``, winner minus loser: length, tokens gained, score, CTC,
    LM.
    """
    worst, length = NONE, 0
    index = trie.nodes[winner].merge
    while index != NONE:
        merge = trie.merges[index]
        if merge.parent == loser[0] and merge.token == loser[1]:
            # the same again, frames later: the winner's continuations by then
            # did not follow the loser, so the first time counts
            return
        if worst == NONE or merge.score_gap > trie.merges[worst].score_gap:
            worst = index
        length += 1
        index = merge.next
    if length < limit:
        worst = trie.count[1]
        trie.count[1] += 1
        trie.merges[worst].next = trie.nodes[winner].merge
        trie.nodes[winner].merge = worst
    elif gaps[2] >= trie.merges[worst].score_gap:
        return
    merge = trie.merges[worst]
    merge.frame = frame
    merge.parent, merge.token, merge.node = loser
    merge.length_gap, merge.hot_gap = gaps[:2]
    merge.score_gap, merge.ctc_gap, merge.lm_gap = gaps[2:]


@jit_inline
def count_closed(trie: Trie, node: int, phrase: int) -> int:
    """Count how often a hot phrase was closed on the way to a node."""
    times = 0
    while node != NONE:
        times += trie.nodes[node].closed == phrase
        node = trie.nodes[node].parent
    return times


@jit_function
def spell(trie: Trie, node: int, tokens: np.ndarray) -> int:
    """Write the tokens of a node to the front; return how many there are."""
    length = trie.nodes[node].length
    for place in range(length - 1, -1, -1):
        tokens[place] = trie.nodes[node].token
        node = trie.nodes[node].parent
    return length
