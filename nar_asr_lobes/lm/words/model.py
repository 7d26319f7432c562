"""N-grams of words, brought into the form that their tables need.

K: n-grams of one order n.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nar_asr_lobes.lm.ngram.kneser_ney import (
    SPECIAL_WORDS,
    UNKNOWN,
    NgramModel,
    NgramTable,
)

_SPECIAL = len(SPECIAL_WORDS)
_LOWEST = np.float32(-99)  # log10 of 0; "-inf" is another spelling of it
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def renumber(model: NgramModel, number: np.ndarray) -> NgramModel:
    """Give words other numbers, or leave them out with their n-grams.

    Arguments
    ---------
    model : NgramModel
        With back-offs in all orders.
    number : np.ndarray
        int [V]: that of each word, as in `NgramTable`; -1 to leave it out, 0
        to make it <unk>, which is then as probable as all such words. It
        stays where n-grams begin with it; others that hold it are left out.

    Returns
    -------
    NgramModel
        Its vocabulary are the numbers from 0 on.

    Example
    -------
    >>> from nar_asr_lobes.lm.ngram.kneser_ney import estimate
    >>> model = estimate(np.array([0, 1, 0]), np.array([3]), order=1)
    >>> unigrams = replace(model.tables[0], backoff=np.zeros(5, np.float32))
    >>> model = replace(model, tables=[unigrams])
    >>> found = renumber(model, np.array([3, 0]))
    >>> found.tables[0].words[:, 0].tolist()
    [0, 1, 2, 3]
    >>> probs = 10 ** model.tables[0].log_prob
    >>> bool(np.isclose(10 ** found.tables[0].log_prob[0], probs[0] + probs[4]))
    True
    """
    number = np.append(np.arange(_SPECIAL), number)
    tables = []
    for table in model.tables:
        words = number[table.words].astype(np.int32)
        kept = (words >= 0).all(1) & (words[:, 1:] != UNKNOWN).all(1)
        log_prob = np.maximum(table.log_prob[kept], _LOWEST)
        backoff = np.maximum(table.backoff[kept], _LOWEST)
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

    SRILM's pruning may keep "a b c" without "b c". What is added has the
    probability that the back-off rule gives it.

    Arguments
    ---------
    model : NgramModel
        With back-offs in all orders.

    Returns
    -------
    NgramModel

    Example
    -------
    >>> half = np.full(2, -0.5, dtype=np.float32)
    >>> tables = [
    ...     NgramTable(np.array([[3], [4]]), half, half),
    ...     NgramTable(np.array([[3, 4]]), half[:1], half[:1]),
    ...     NgramTable(np.array([[3, 4, 3]]), half[:1], half[:1]),
    ... ]
    >>> bigrams = add_endings(NgramModel(np.arange(2), tables)).tables[1]
    >>> bigrams.words.tolist(), bigrams.log_prob.tolist()
    ([[3, 4], [4, 3]], [-0.5, -1.0])
    """
    tables, known = list(model.tables), [len(t.words) for t in model.tables]
    for n in range(len(tables) - 1, 1, -1):
        lower, ends = tables[n - 1], tables[n].words[:, 1:]
        missing = ends[~np.isin(hash_rows(ends), hash_rows(lower.words))]
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
                lower.backoff[find_rows(lower.words, context)]
                + lower.log_prob[find_rows(lower.words, ending)]
            )
    return replace(model, tables=tables)


def find_rows(words: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Find n-grams; one that is not there gets any row."""
    hashes = hash_rows(words)
    order = np.argsort(hashes)
    found = np.searchsorted(hashes, hash_rows(wanted), sorter=order)
    return order[np.minimum(found, len(order) - 1)]


def hash_rows(words: np.ndarray) -> np.ndarray:
    """Return a number for each n-gram, the same for the same words.

    Were two alike, the tables' own check would find what is missing.
    """
    hashes = np.zeros(len(words), dtype=np.uint64)
    for column in words.T:
        hashes = (hashes ^ column.astype(np.uint64)) * _PRIME
        hashes ^= hashes >> np.uint64(29)
    return hashes
