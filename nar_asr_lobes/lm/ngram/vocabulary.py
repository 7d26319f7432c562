"""Changes of the words of an n-gram model, and of which n-grams it has.

Words get other numbers, are left out, or become one, such as "The" and "the".

A model over words w becomes one over joined words v. With h for a history, g
for the joined one and h- for h without its first word,

    P(w | h) = P(w | h-) b(h) + d(h, w)             b: back-off, d: the rest
    P(v | g) = P(v | g-) sum_h s(h) b(h) + sum_hw s(h) d(h, w)

over all h and w that become g and v; s(h) is the share of h in g, from the
probabilities of its words. The sum over v is 1 where that over w is. It is
exact for bigrams; in longer n-grams, P(v | g-) stands for the same of each h-.
Of 77,000 words of cased consultations (order 3), new ones have a perplexity of
45.5; with an estimate on lower-cased text 44.2, with one spelling a word 147.

K: n-grams of one order n, G: joined ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nar_asr_lobes.lm.ngram.kneser_ney import (
    SPECIAL_WORDS,
    UNKNOWN,
    NgramModel,
    NgramTable,
)
from nar_asr_lobes.lm.ngram.states import unusable

_SPECIAL = len(SPECIAL_WORDS)
_LEAST = 1e-99  # -99 is the format's sign for log10 of 0
_ROUNDING = 1e-9
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def renumber(model: NgramModel, number: np.ndarray) -> NgramModel:
    """Give words other numbers [V], or leave them out (-1) with their n-grams.

    0 makes a word <unk>, which is then as probable as all such words. It stays
    where n-grams begin with it; others that hold it are left out.
    """
    number = np.append(np.arange(_SPECIAL), number)
    tables = []
    for table in model.tables:
        words = number[table.words].astype(np.int32)
        kept = (words >= 0).all(1) & (words[:, 1:] != UNKNOWN).all(1)
        log_prob, backoff = table.log_prob[kept], table.backoff[kept]
        tables.append(NgramTable(words[kept], log_prob, backoff))
    tables[0] = _one_unknown(tables[0])
    return NgramModel(np.arange(number.max() - _SPECIAL + 1), tables)


def _one_unknown(unigrams: NgramTable) -> NgramTable:
    """Make one <unk> of all."""
    rows = np.flatnonzero(unigrams.words[:, 0] == UNKNOWN)
    if len(rows) < 2:
        return unigrams
    log_prob, backoff = unigrams.log_prob.copy(), unigrams.backoff.copy()
    log_prob[rows[0]] = np.log10(np.sum(10.0 ** log_prob[rows]))
    backoff[rows[0]] = backoff[rows].sum()  # nothing follows all but one
    kept = np.delete(np.arange(len(log_prob)), rows[1:])
    return NgramTable(unigrams.words[kept], log_prob[kept], backoff[kept])


def add_endings(model: NgramModel) -> NgramModel:
    """Add the n-grams that end others and are missing; nothing else changes.

    SRILM's pruning may keep "a b c" without "b c". An added one has the
    probability that the back-off rule gives it.
    """
    tables, known = list(model.tables), [len(t.words) for t in model.tables]
    for n in range(len(tables) - 1, 1, -1):
        lower, ends = tables[n - 1], tables[n].words[:, 1:]
        missing = ends[~np.isin(_hash_rows(ends), _hash_rows(lower.words))]
        if len(missing):
            missing = np.unique(missing, axis=0)
            zeros = np.zeros(len(missing), dtype=np.float32)
            tables[n - 1] = NgramTable(
                np.concatenate([lower.words, missing]),
                np.concatenate([lower.log_prob, zeros]),
                np.concatenate([lower.backoff, zeros]),
            )
    for n in range(1, len(tables) - 1):
        lower, words = tables[n - 1], tables[n].words[known[n] :]
        if len(words):
            context, ending = words[:, :-1], words[:, 1:]
            tables[n].log_prob[known[n] :] = (
                lower.backoff[_find_rows(lower.words, context)]
                + lower.log_prob[_find_rows(lower.words, ending)]
            )
    return replace(model, tables=tables)


def merge_words(model: NgramModel, number: np.ndarray) -> NgramModel:
    """Merge words that get the same number [V].

    No ending may be missing (`add_endings`).
    """
    number = np.append(np.arange(_SPECIAL), number)
    orders: list[_Order] = []
    for table in model.tables:
        orders.append(_join(table, number, orders[-1:]))
    tables = [order.joined(number) for order in orders]
    tables[-1].backoff[:] = 0
    return NgramModel(np.arange(number.max() - _SPECIAL + 1), tables)


@dataclass
class _Order:
    """The n-grams of one order."""

    words: np.ndarray  # int [K, n], as given
    prob: np.ndarray  # float64 [K]
    backoff: np.ndarray  # float64 [K]
    weight: np.ndarray  # float64 [K], probability of all its words
    share: np.ndarray  # float64 [K], part of the joined one's weight
    group: np.ndarray  # int64 [K], number of the joined n-gram
    first: np.ndarray  # int64 [G], a row of each joined n-gram
    joined_prob: np.ndarray  # float64 [G]
    joined_backoff: np.ndarray  # float64 [G]

    def joined(self, number: np.ndarray) -> NgramTable:
        """Give the joined n-grams as a table."""
        words = number[self.words[self.first]].astype(np.int32)
        prob, backoff = map(_log10, (self.joined_prob, self.joined_backoff))
        # As exact as a file: no state for a back-off of 0 that is rounded.
        return NgramTable(words, np.minimum(prob, 0), np.round(backoff, 7))


def _join(
    table: NgramTable, number: np.ndarray, lower: Sequence[_Order]
) -> _Order:
    """Join the n-grams of one order; the one below it, if any, is joined."""
    if len(np.unique(_hash_rows(table.words))) < len(table.words):
        raise unusable("an n-gram stands twice")
    prob, backoff = (
        10.0 ** values.astype(np.float64)
        for values in (table.log_prob, table.backoff)
    )
    key, weight = number[table.words[:, -1]].astype(np.int64), prob
    for below in lower:
        context = _rows(below.words, table.words[:, :-1], "beginning")
        ending = _rows(below.words, table.words[:, 1:], "ending")
        key += below.group[context] * (number.max() + 1)
        weight = np.maximum(below.weight[context] * prob, _LEAST)
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    share = weight / np.bincount(group, weight)[group]
    joined = np.bincount(group, prob)
    for below in lower:
        rest = prob - below.backoff[context] * below.prob[ending]
        seen, rest = (
            np.bincount(group, below.share[context] * values)
            for values in (prob, rest)
        )
        history = below.group[context[first]]
        end = below.joined_prob[below.group[ending[first]]]
        joined = _joined_prob(seen, rest, history, end, below)
    return _Order(
        table.words,
        prob,
        backoff,
        weight,
        share,
        group,
        first,
        joined,
        np.bincount(group, share * backoff),
    )


def _joined_prob(
    seen: np.ndarray,
    rest: np.ndarray,
    history: np.ndarray,
    lower: np.ndarray,
    below: _Order,
) -> np.ndarray:
    """Give the probabilities of joined n-grams.

    One is not below the sum of its observed parts. Where the rest is so
    negative, as it may be in models that do not interpolate, the history's
    back-off pays.
    """

    def sums(values):
        return np.bincount(history, values, minlength=len(backoff))

    backoff = below.joined_backoff
    exact = rest + backoff[history] * lower
    prob = np.maximum(exact, seen)
    free = np.maximum(1 - sums(lower), _LEAST)
    whole = sums(exact) + backoff * free
    too_many = sums(prob) > whole + _ROUNDING
    prob = np.where(too_many[history], seen, prob)
    more = sums(prob) - sums(exact)
    more[np.abs(more) < _ROUNDING] = 0
    backoff[:] = np.maximum(backoff - more / free, 0)
    return prob


def _rows(words: np.ndarray, wanted: np.ndarray, part: str) -> np.ndarray:
    rows = _find_rows(words, wanted)
    if (words[rows] != wanted).any():
        raise unusable(f"the {part} of an n-gram is missing")
    return rows


def _log10(values: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(values, _LEAST)).astype(np.float32)


def _find_rows(words: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Find n-grams; one that is not there gets any row."""
    hashes = _hash_rows(words)
    order = np.argsort(hashes)
    found = np.searchsorted(hashes, _hash_rows(wanted), sorter=order)
    return order[np.minimum(found, len(order) - 1)]


def _hash_rows(words: np.ndarray) -> np.ndarray:
    """Return a number for each n-gram, the same for the same words.

    Were two alike, the tables' own check would find the missing one.
    """
    hashes = np.zeros(len(words), dtype=np.uint64)
    for column in words.T:
        hashes = (hashes ^ column.astype(np.uint64)) * _PRIME
        hashes ^= hashes >> np.uint64(29)
    return hashes
