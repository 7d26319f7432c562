"""Interpolated modified Kneser-Ney estimation, as KenLM's ``lmplz`` does it.

    sentences [S] -> n-grams per order, counted -> adjusted counts, discounts
                  -> log10 probability and back-off of every n-gram

S: tokens in the text, K: n-grams of one order n. The tables are in suffix
order (last word first), so the n-grams that end alike lie together and the
order n - 1 table is the sorted list of the endings of order n.

Papers: Chen and Goodman (1998), "An empirical study of smoothing techniques";
Heafield et al. (2013), "Scalable modified Kneser-Ney language model
estimation". Sums are float32 where lmplz has float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNKNOWN, START, END = 0, 1, 2  # lmplz's numbers for <unk>, <s>, </s>
SPECIAL_WORDS = ("<unk>", "<s>", "</s>")

# Discounts of `lmplz --discount_fallback` where a text has no usable ones.
_FALLBACK = np.array([0, 0.5, 1, 1.5], dtype=np.float32)


@dataclass(frozen=True)
class NgramTable:
    """The n-grams of one order."""

    # int32 [K, n]; 0 <unk>, 1 <s>, 2 </s>, 3 + i vocabulary[i]
    words: np.ndarray
    log_prob: np.ndarray  # float32 [K], log10
    backoff: np.ndarray  # float32 [K], log10; 0 in the highest order


@dataclass(frozen=True)
class NgramModel:
    """An estimated model."""

    vocabulary: np.ndarray  # int [V], ids in the text, by first appearance
    tables: list[NgramTable]  # of orders 1, 2, …


@dataclass
class _Counts:
    """Counted n-grams of one order, in suffix order."""

    words: np.ndarray  # int32 [K, n]
    raw: np.ndarray  # int64 [K], occurrences
    suffix: np.ndarray  # int64 [K], row of it without its first word
    context: np.ndarray  # int64 [K], row of it without its last word
    # int64 [K], different words before it; raw in the highest order, after
    # <s>
    adjusted: np.ndarray


def estimate(
    tokens: np.ndarray,
    lengths: np.ndarray,
    order: int,
    prune: Sequence[int] = (),
) -> NgramModel:
    """Estimate an n-gram model of ``order`` from tokens [S] of sentences [L].

    ``prune``: for each order, n-grams that occur at most so often are dropped;
    non-decreasing, the first 0.

    Example
    -------
    >>> model = estimate(np.array([7, 4, 7]), np.array([2, 1]), order=2)
    >>> [len(table.words) for table in model.tables]
    [5, 4]
    >>> float(10 ** model.tables[0].log_prob[[0, 2, 3, 4]].sum()) < 1
    True
    """
    vocabulary, words = _number_by_appearance(tokens)
    orders = _count(words, lengths, order, len(vocabulary) + 3)
    _adjust(orders)
    discounts = [_discounts(counts) for counts in _counts_of_counts(orders)]
    pruned = [
        counts.raw <= limit if limit else np.zeros(len(counts.raw), dtype=bool)
        for counts, limit in zip(orders, prune or [0] * order, strict=True)
    ]
    # <unk> shares the uniform part; lmplz divides in double.
    uniform = np.float32(1.0 / np.float32(len(vocabulary) + 2))
    probs, gammas = _interpolate_all(orders, discounts, pruned, uniform)
    tables = []
    for n, (counts, dropped) in enumerate(zip(orders, pruned, strict=True)):
        log_prob = np.minimum(_log10(probs[n]), 0)[~dropped]
        backoff = np.zeros_like(log_prob)
        if n + 1 < order:
            backoff = _log10(gammas[n + 1])[~dropped]
        tables.append(NgramTable(counts.words[~dropped], log_prob, backoff))
    return NgramModel(vocabulary, tables)


def _number_by_appearance(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids by first appearance, and the tokens as word numbers."""
    ids, first, inverse = np.unique(
        tokens, return_index=True, return_inverse=True
    )
    by_appearance = np.argsort(first)
    number = np.empty(len(ids), dtype=np.int32)
    number[by_appearance] = np.arange(len(ids)) + len(SPECIAL_WORDS)
    return ids[by_appearance], number[inverse]


def _with_boundaries(
    words: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put <s> and </s> around every sentence.

    Returns the stream, and each word's offset in its sentence (<s>: 0).
    """
    ends = np.cumsum(lengths + 2)
    starts = ends - lengths - 2
    stream = np.empty(ends[-1], dtype=np.int32)
    inner = np.ones(len(stream), dtype=bool)
    inner[starts] = inner[ends - 1] = False
    stream[inner] = words
    stream[starts], stream[ends - 1] = START, END
    offsets = np.arange(len(stream)) - np.repeat(starts, lengths + 2)
    return stream, offsets


def _count(
    words: np.ndarray, lengths: np.ndarray, order: int, size: int
) -> list[_Counts]:
    """Count the n-grams of all orders; `size` is the number of words."""
    stream, offsets = _with_boundaries(words, lengths)
    raw = np.bincount(stream, minlength=size)
    raw[START] = 0  # it is a context, never predicted
    none = np.zeros(size, dtype=np.int64)
    first = np.arange(size, dtype=np.int32)[:, None]
    orders = [_Counts(first, raw, none, none, raw)]
    rows = stream.astype(np.int64)  # row of the n-gram that ends here
    for n in range(2, order + 1):
        ends = np.flatnonzero(offsets >= n - 1)
        # The row one order lower sorts like the n-gram's last n - 1 words.
        keys, inverse, raw = np.unique(
            rows[ends] * size + stream[ends - n + 1],
            return_inverse=True,
            return_counts=True,
        )
        suffix, first = np.divmod(keys, size)
        context = np.empty(len(keys), dtype=np.int64)
        context[inverse] = rows[ends - 1]
        words = np.column_stack(
            [first.astype(np.int32), orders[-1].words[suffix]]
        )
        orders.append(_Counts(words, raw, suffix, context, raw))
        rows = np.zeros_like(rows)
        rows[ends] = inverse
    return orders


def _adjust(orders: list[_Counts]) -> None:
    """Count the words before an n-gram, not how often it occurs."""
    for counts, longer in zip(orders, orders[1:], strict=False):
        before = np.bincount(longer.suffix, minlength=len(counts.raw))
        after_start = counts.words[:, 0] == START
        counts.adjusted = np.where(after_start, counts.raw, before)


def _counts_of_counts(orders: list[_Counts]) -> list[np.ndarray]:
    """Return, for each order, how many n-grams have adjusted count 0 to 4.

    As in lmplz, the very last n-gram of the text in suffix order and its
    endings enter with their raw counts; small texts show the difference.
    """
    seen = [counts.adjusted.copy() for counts in orders]
    last = 0
    for counts, numbers in zip(orders[:-1], seen, strict=False):
        if len(numbers) == 0 or counts.suffix[-1] != last:
            break
        numbers[-1] = counts.raw[-1]
        last = len(numbers) - 1
    return [np.bincount(numbers, minlength=5)[:5] for numbers in seen]


def _discounts(n: np.ndarray) -> np.ndarray:
    """Return float32 [4]: discounts of the counts 0, 1, 2 and 3 or more."""
    if not n[1:4].all():
        return _FALLBACK
    y = np.float32(n[1]) / np.float32(n[1] + 2.0 * n[2])
    discount = np.zeros(4, dtype=np.float32)
    for j in (1, 2, 3):
        share = np.float32(j + 1) * y * np.float32(n[j + 1]) / np.float32(n[j])
        discount[j] = np.float32(j) - share
    return _FALLBACK if (discount < 0).any() else discount


def _interpolate_all(
    orders: list[_Counts],
    discounts: list[np.ndarray],
    pruned: list[np.ndarray],
    uniform: np.float32,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the probabilities and the left-over masses of all orders."""
    probs, gammas = [], []
    below, contexts = uniform, 1
    for n, counts in enumerate(orders):
        if n:
            below, contexts = probs[-1][counts.suffix], len(probs[-1])
        gamma = _left_over(counts, discounts[n], pruned[n], contexts)
        whole = _sums(counts, counts.adjusted, contexts)[counts.context]
        group = np.minimum(counts.adjusted, 3)
        kept = counts.adjusted.astype(np.float32) - discounts[n][group]
        prob = kept / whole + gamma[counts.context] * below
        if n == 0:
            prob[START] = 1.0  # never predicted; lmplz writes log 1
        probs.append(prob)
        gammas.append(gamma)
    return probs, gammas


def _left_over(
    counts: _Counts, discount: np.ndarray, dropped: np.ndarray, contexts: int
) -> np.ndarray:
    """Return float32 [contexts]: the share a context leaves to lower orders.

    It is the mass that discounting and pruning free; 1 if nothing follows.
    """
    group = np.minimum(counts.adjusted, 3)
    freed = np.zeros(contexts, dtype=np.float32)
    for i in (1, 2, 3):
        freed += discount[i] * _sums(counts, (group == i) & ~dropped, contexts)
    freed += _sums(counts, counts.adjusted * dropped, contexts)
    whole = _sums(counts, counts.adjusted, contexts)
    share = np.ones(contexts, dtype=np.float32)
    return np.divide(freed, whole, out=share, where=whole > 0)


def _sums(counts: _Counts, values: np.ndarray, contexts: int) -> np.ndarray:
    """Sum `values` over the n-grams of each context."""
    sums = np.bincount(counts.context, weights=values, minlength=contexts)
    return sums.astype(np.float32)


def _log10(values: np.ndarray) -> np.ndarray:
    """Return log10, with -99 for 0: ARPA's way to write it."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log10(values), np.float32(-99))
