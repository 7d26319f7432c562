"""Intervals of error rates, and comparisons of two systems, by resampling.

    errors [N], totals [N], clusters [N] -> sums of each cluster [G]
        -> G clusters drawn with replacement, many times, with a t of each
        -> quantiles

N is the number of utterances, G that of the clusters: utterances of one speaker
or of one recording err together, so whole clusters are drawn (Bisani and Ney,
2004). Each draw is judged by its own standard error (bootstrap-t, Efron and
Tibshirani, 1993, chapter 12), for percentiles of the rates alone are too narrow
with few clusters; so are the draws of fewer than ten clusters, and no interval
is narrower than Student's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

SAMPLES = 10_000
_BLOCK = 2**22  # cluster numbers drawn at once
_ROUNDING = 1e-12  # of the squares that add up to a variance
# Sums [..., K] -> a figure [...] and its gradient [..., K].
_Statistic = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


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
    found = _interval(_rate, sums, _resample(sums, seed, samples))
    if found.low is None:
        return found
    return Interval(found.value, max(found.low, 0.0), found.high)


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
    drawn = _resample(sums, seed, samples)
    differences, _ = _difference(drawn[:, : len(columns)])
    return Comparison(
        _interval(_difference, sums, drawn),
        _interval(_fewer, sums, drawn),
        float(np.mean((1 - np.sign(differences)) / 2)),
    )


def _rate(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    errors, totals = sums[..., 0], sums[..., 1]
    rate, one = _ratio(errors, totals), _ratio(np.ones_like(totals), totals)
    return rate, np.stack([one, -rate * one], axis=-1)


def _difference(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, of_a = _rate(sums[..., :2])
    b, of_b = _rate(sums[..., 2:])
    return b - a, np.concatenate([-of_a, of_b], axis=-1)


def _fewer(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, of_a = _rate(sums[..., :2])
    b, of_b = _rate(sums[..., 2:])
    one = _ratio(np.ones_like(a), a)[..., None]
    rest = _ratio(b, a)[..., None]
    gradient = np.concatenate([rest * one * of_a, -one * of_b], axis=-1)
    return _ratio(a - b, a), gradient


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


def _with_products(sums: np.ndarray) -> np.ndarray:
    """Add the products of each two columns, [G, K + K (K + 1) / 2]."""
    first, second = np.triu_indices(sums.shape[1])
    return np.concatenate([sums, sums[:, first] * sums[:, second]], axis=1)


def _resample(sums: np.ndarray, seed: int, samples: int) -> np.ndarray:
    """Sums over G clusters drawn with replacement, and of the products."""
    rng = np.random.default_rng(seed)
    table = _with_products(sums)
    count = len(sums)
    size = max(_BLOCK // count, 1)
    blocks = []
    for start in range(0, samples, size):
        rows = min(size, samples - start)
        drawn = rng.integers(count, size=(rows, count))
        drawn += count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count)
        blocks.append(times.reshape(rows, count) @ table)
    return np.concatenate(blocks)


def _interval(
    statistic: _Statistic, sums: np.ndarray, drawn: np.ndarray
) -> Interval:
    """The bootstrap-t interval, and Student's where that is wider."""
    count = len(sums)
    whole = _with_products(sums).sum(0, keepdims=True)
    (value,), (error,) = _with_error(statistic, whole, count)
    if count < 2:
        return Interval(float(value), None, None)
    values, errors = _with_error(statistic, drawn, count)
    spread = errors > 0
    low = high = value
    if error > 0 and spread.any():
        t = (values[spread] - value) / errors[spread]
        least = stdtrit(count - 1, 0.975)
        below, above = np.quantile(t, [0.025, 0.975])
        low -= error * max(above, least)
        high -= error * min(below, -least)
    return Interval(float(value), float(low), float(high))


def _with_error(
    statistic: _Statistic, table: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """A figure of sums and its standard error by the delta method, [R] each."""
    # triu_indices' order: K columns have K (K + 1) / 2 products
    columns = int((np.sqrt(8 * table.shape[1] + 9) - 3) / 2)
    first, second = np.triu_indices(columns)
    value, gradient = statistic(table[:, :columns])
    twice = np.where(first == second, 1, 2)
    weights = twice * gradient[:, first] * gradient[:, second]
    terms = weights * table[:, columns:]
    squares = terms.sum(1)
    squares[squares < _ROUNDING * np.abs(terms).sum(1)] = 0
    return value, np.sqrt(squares * count / max(count - 1, 1))
