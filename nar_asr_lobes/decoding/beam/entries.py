"""The entries of one frame of a beam search, compiled.

An entry is a prefix with the log-probabilities of its paths that end in the
blank and in its last token. The best of a frame are found with a heap; an
entry that another one makes superfluous is marked and noted as lost.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nar_asr_lobes.decoding.beam.trie import NONE
from nar_asr_lobes.jit import jit_inline

IMPOSSIBLE = -math.inf
# Beyond this distance the smaller of two summands is lost in float64 anyway.
_NEGLIGIBLE = -40.0

# ``node`` is NONE until a new prefix gets into the beam. ``context`` is the
# state among the hot words, ``hot`` the tokens gained there, ``closed`` the
# phrase that the last token closed, ``past`` the code of all that have gained.
# ``score``: ``total``, of all paths, plus ``offset``. ``winner``: the entry
# that makes this one superfluous, NONE if none is.
ENTRY = np.dtype(
    [
        ("node", np.int32),
        ("parent", np.int32),
        ("token", np.int32),
        ("state", np.int32),
        ("context", np.int32),
        ("length", np.int32),
        ("hot", np.int32),
        ("closed", np.int32),
        ("winner", np.int32),
        ("past", np.int64),
        ("blank", np.float64),
        ("label", np.float64),
        ("total", np.float64),
        ("lm", np.float64),
        ("offset", np.float64),
        ("score", np.float64),
    ],
    align=True,
)


class Settings(NamedTuple):
    """The options as the compiled search takes them; see ``BeamOptions``."""

    beam_size: int
    widest: int  # prefixes kept where their scores are close to the best
    margin: float  # how close, in nats
    max_candidates: int
    lm_weight: float
    token_bonus: float
    hot_boost: float  # bonus of each token of the hot words
    hot_limit: int  # bonuses of each token
    floor: float  # least log-probability of a candidate
    sure: float  # least log-probability of a confident blank
    use_lm: bool
    use_hot: bool
    recombine: bool  # whether prefixes with equal futures are merged


class Work(NamedTuple):
    """Buffers of a frame.

    Entries, the heaps of the best ``widest`` and ``beam_size`` of them, the
    highest score, losers.
    """

    entries: np.ndarray
    heap: np.ndarray
    first: np.ndarray
    best: np.ndarray
    lost: np.ndarray


def new_work(size: int, beam_size: int, widest: int) -> Work:
    """Make room for the entries of a frame."""
    return Work(
        np.empty(size, ENTRY),
        np.empty(min(size, widest), np.int64),
        np.empty(min(size, beam_size), np.int64),
        np.empty(1, np.float64),
        np.empty(size, ENTRY),
    )


@jit_inline
def weigh(settings: Settings, lm: float, length: int, gained: int) -> float:
    """Weigh the language model, the length and the tokens gained."""
    offset = settings.lm_weight * lm + settings.token_bonus * length
    return offset + settings.hot_boost * gained


@jit_inline
def log_add(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b)) without overflow."""
    if a < b:
        a, b = b, a
    if b - a > _NEGLIGIBLE:
        return a + math.log1p(math.exp(b - a))
    return a


@jit_inline
def merge_stays(work: Work, count: int) -> int:
    """Mark the entries that can never again overtake another one.

    With the same last token and states, the future gives both the same.
    """
    entries, lost = work.entries, 0
    for k in range(1, count):
        for i in range(k):
            a, b = entries[i], entries[k]
            if a.token != b.token or a.winner != NONE or not _same(a, b):
                continue
            if _dominates(a, b):
                lost = lose(work, lost, k, i)
                break
            if _dominates(b, a):
                lost = lose(work, lost, i, k)
    return lost


@jit_inline
def find_rival(entries: np.ndarray, stays: int, first: int, new: int) -> int:
    """Find an entry with the future of a new one, NONE if there is none.

    One that stays counts if it wins; of the same frame and token there is at
    most one.
    """
    token = entries[new].token
    for i in range(stays):
        if entries[i].token == token and _same(entries[i], entries[new]):
            if _dominates(entries[i], entries[new]):
                return i
    for i in range(first, new):
        if _same(entries[i], entries[new]):
            return i
    return NONE


@jit_inline
def _same(a, b):
    """Whether the language model and the hot words see the same past."""
    same = a.state == b.state and a.context == b.context
    return same and a.past == b.past


@jit_inline
def _dominates(a, b):
    """Whether both kinds of paths are at least as good in ``a``."""
    return (
        a.blank + a.offset >= b.blank + b.offset
        and a.label + a.offset >= b.label + b.offset
    )


@jit_inline
def lose(work: Work, lost: int, loser: int, winner: int) -> int:
    """Note an entry that lost; return how many there are."""
    work.entries[loser].winner = winner
    work.lost[lost] = work.entries[loser]
    return lost + 1


@jit_inline
def lowest(work: Work, kept: int, margin: float) -> float:
    """The score that an entry must exceed to be kept."""
    heap, first = work.heap, work.first
    bar = IMPOSSIBLE
    if kept == len(heap):
        bar = work.entries[heap[0]].score
    if len(first) < len(heap) and kept >= len(first):
        close = min(work.entries[first[0]].score, work.best[0] - margin)
        bar = max(bar, close)
    return bar


@jit_inline
def offer(work: Work, kept: int, entry: int) -> int:
    """Add to the heaps of the best; return the size of the larger one."""
    if kept == 0 or work.entries[entry].score > work.best[0]:
        work.best[0] = work.entries[entry].score
    if len(work.first) < len(work.heap):
        _push(work, work.first, min(kept, len(work.first)), entry)
    return _push(work, work.heap, kept, entry)


@jit_inline
def _push(work, heap, kept, entry):
    """Add to a heap, whose root is the worst of its entries."""
    if kept == len(heap):
        if _worse(work, heap[0], entry):
            _sink(work, heap, kept, entry)
        return kept
    place = kept
    while place > 0:
        above = (place - 1) >> 1
        if not _worse(work, entry, heap[above]):
            break
        heap[place] = heap[above]
        place = above
    heap[place] = entry
    return kept + 1


@jit_inline
def sort_heap(work: Work, kept: int) -> None:
    """Turn the heap into a list, best first."""
    for last in range(kept - 1, 0, -1):
        entry = work.heap[last]
        work.heap[last] = work.heap[0]
        _sink(work, work.heap, last, entry)


@jit_inline
def _worse(work, a, b):
    """Order entries by score; of equal ones the later is worse."""
    left, right = work.entries[a].score, work.entries[b].score
    return left < right or (left == right and a > b)


@jit_inline
def _sink(work, heap, kept, entry):
    """Put an entry in the place of the root and order the heap."""
    place = 0
    while True:
        below = 2 * place + 1
        if below >= kept:
            break
        if below + 1 < kept and _worse(work, heap[below + 1], heap[below]):
            below += 1
        if not _worse(work, heap[below], entry):
            break
        heap[place] = heap[below]
        place = below
    heap[place] = entry
