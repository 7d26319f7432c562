"""Intervals of error rates, and comparisons of two systems, by resampling.

    errors [N], totals [N], clusters [N] -> sums of each cluster [G]
        -> G clusters drawn with replacement, many times -> quantiles

N is the number of utterances, G that of the clusters: utterances of one speaker
or of one recording err together, so whole clusters are drawn (Bisani and Ney,
2004). The quantiles are moved outwards for few clusters (Hesterberg, 2015: the
expanded percentile interval), which percentiles alone make too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

SAMPLES = 10_000
_BLOCK = 2**22  # cluster numbers drawn at once


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its 95 % interval.

    Arguments
    ---------
    value : float
        Of all the data.
    low, high : float or None
        None where there is one cluster only.

    Example
    -------
    >>> rate_interval([1, 1], [4, 4])
    Interval(value=0.25, low=0.25, high=0.25)
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same utterances.

    Arguments
    ---------
    difference : Interval
        Rate of B minus rate of A.
    fewer : Interval
        Share of A's errors that B does not make; negative where it makes more.
    probability : float
        That B is better: the share of resamples where its rate is lower, and
        half of those where both are equal.

    Example
    -------
    >>> found = compare_rates([2, 2], [1, 1], [4, 4], [4, 4])
    >>> found.difference.value, found.fewer.high, found.probability
    (-0.25, 0.5, 1.0)
    """

    difference: Interval
    fewer: Interval
    probability: float


def rate_interval(
    errors: Sequence[float],
    totals: Sequence[float],
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Interval:
    """Give an error rate with its interval.

    Arguments
    ---------
    errors, totals : sequence of float
        Errors and reference words of each utterance, [N].
    clusters : sequence of str, optional
        Speaker or recording of each utterance, [N]; each utterance for itself
        where not given.
    seed : int
        Of the draws.
    samples : int
        Number of resamples.

    Returns
    -------
    Interval

    Example
    -------
    >>> found = rate_interval([0, 2, 1, 1] * 25, [10, 5, 8, 9] * 25)
    >>> round(found.value, 3), round(found.low, 2), round(found.high, 2)
    (0.125, 0.1, 0.15)
    """
    sums = _cluster_sums([errors, totals], clusters)
    drawn = _resample(sums, seed, samples)
    value = _ratio(*sums.sum(0))
    return _interval(value, _ratio(drawn[:, 0], drawn[:, 1]), len(sums))


def compare_rates(
    errors_a: Sequence[float],
    errors_b: Sequence[float],
    totals_a: Sequence[float],
    totals_b: Sequence[float],
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Comparison:
    """Compare the error rates of two systems, paired by utterance.

    Arguments
    ---------
    errors_a, errors_b, totals_a, totals_b : sequence of float
        Errors and reference words of each utterance, [N]. The words of both
        differ where the references have alternatives.
    clusters, seed, samples :
        As for ``rate_interval``.

    Returns
    -------
    Comparison
    """
    columns = [errors_a, totals_a, errors_b, totals_b]
    sums = _cluster_sums(columns, clusters)
    rates = _rates(_resample(sums, seed, samples))
    value = _rates(sums.sum(0, keepdims=True))[:, 0]
    better = np.sign(rates[0] - rates[1])
    return Comparison(
        _interval(value[1] - value[0], rates[1] - rates[0], len(sums)),
        _interval(_fewer(*value), _fewer(*rates), len(sums)),
        float(np.mean((better + 1) / 2)),
    )


def _rates(sums: np.ndarray) -> np.ndarray:
    """Rates of A and B, [2, R]."""
    return np.stack([_ratio(sums[:, i], sums[:, i + 1]) for i in (0, 2)])


def _fewer(rate_a: np.ndarray, rate_b: np.ndarray) -> np.ndarray:
    return _ratio(rate_a - rate_b, rate_a)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """0 where there is no whole, as in a draw of empty references."""
    return part / np.where(whole == 0, np.inf, whole)


def _cluster_sums(
    columns: Sequence[Sequence[float]], clusters: Sequence[str] | None
) -> np.ndarray:
    """Sums of each cluster, [G, K]."""
    table = np.array(columns, dtype=float).T
    if clusters is None:
        return table
    names, index = np.unique(np.array(clusters, dtype=str), return_inverse=True)
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, index, table)
    return sums


def _resample(sums: np.ndarray, seed: int, samples: int) -> np.ndarray:
    """Sums over G clusters drawn with replacement, [samples, K]."""
    rng = np.random.default_rng(seed)
    count = len(sums)
    size = max(_BLOCK // count, 1)
    blocks = []
    for start in range(0, samples, size):
        rows = min(size, samples - start)
        drawn = rng.integers(count, size=(rows, count))
        blocks.append(
            np.stack([column[drawn].sum(1) for column in sums.T], axis=1)
        )
    return np.concatenate(blocks)


def _interval(value: float, drawn: np.ndarray, count: int) -> Interval:
    if count < 2:
        return Interval(float(value), None, None)
    expanded = np.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.025)
    tail = ndtr(expanded)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))
