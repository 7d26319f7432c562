"""The utterances of a step -> micro-batches of equal cost -> ranks.

A step is a random draw over all lengths: sorted by length it is cut into runs
of about the same padded seconds, which the ranks get in such a way that none
has to wait for another.
"""

from __future__ import annotations

import numpy as np

_LEAST = 5  # micro-batches of a rank at least, so that their sums can be equal
_UTTERANCES = 4  # of a micro-batch at least, before that
_HALVINGS = 20  # of the interval that holds the smallest possible size
_EXCHANGES = 300
_TOLERANCE = 0.003  # of the costliest rank above the mean


def deal(
    seconds: np.ndarray, ranks: int, max_batch_seconds: float
) -> list[list[slice]]:
    """Deal utterances to ranks, in micro-batches.

    Arguments
    ---------
    seconds : numpy.ndarray
        Length of each utterance [N], longest first; N >= ranks.
    ranks : int
        Number of processes.
    max_batch_seconds : float
        Most padded seconds in a micro-batch. A longer utterance gets one of
        its own.

    Returns
    -------
    list of list of slice
        For each rank, which utterances are in its micro-batches. Every rank
        has some.

    Example
    -------
    >>> deal(np.array([4.0, 2.0, 2.0, 1.0]), ranks=2, max_batch_seconds=9.0)
    [[slice(1, 4, None)], [slice(0, 1, None)]]
    """
    bounds = _cut(seconds, ranks, max_batch_seconds)
    costs = seconds[bounds[:-1]] * np.diff(bounds)
    return [
        [slice(int(bounds[i]), int(bounds[i + 1])) for i in owned]
        for owned in _share(costs, ranks)
    ]


def _cut(seconds: np.ndarray, ranks: int, limit: float) -> np.ndarray:
    """Cut into micro-batches; returns their bounds."""
    if ranks == 1:
        return _greedy(seconds, limit)
    fewest = min(_LEAST, max(1, len(seconds) // ranks // _UTTERANCES))
    rounds = max(fewest, int(np.ceil(seconds.sum() / ranks / limit)))
    while True:
        size = min(limit, _smallest_size(seconds, ranks * rounds))
        bounds = _greedy(seconds, size)
        if len(bounds) - 1 <= ranks * rounds:
            return _at_least(bounds, ranks)
        rounds += 1


def _smallest_size(seconds: np.ndarray, count: int) -> float:
    """Find how many padded seconds ``count`` runs need at least."""
    low, high = 0.0, float(seconds[0]) * len(seconds)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if len(_greedy(seconds, middle)) - 1 <= count:
            high = middle
        else:
            low = middle
    return high


def _greedy(seconds: np.ndarray, limit: float) -> np.ndarray:
    """Fill runs one after another up to ``limit`` padded seconds."""
    bounds = [0]
    while bounds[-1] < len(seconds):
        longest = max(float(seconds[bounds[-1]]), 1e-9)
        bounds.append(bounds[-1] + max(1, int(limit / longest)))
    bounds[-1] = len(seconds)
    return np.array(bounds)


def _at_least(bounds: np.ndarray, ranks: int) -> np.ndarray:
    """Halve the longest runs until each rank can have one."""
    while len(bounds) <= ranks:
        run = int(np.diff(bounds).argmax())
        middle = (bounds[run] + bounds[run + 1]) // 2
        bounds = np.insert(bounds, run + 1, middle)
    return bounds


def _share(costs: np.ndarray, ranks: int) -> list[list[int]]:
    """Give each rank runs of about the same sum.

    Round by round the rank with the least gets the costliest; then the one
    with the most exchanges a run with another, while that helps.
    """
    runs_in_all, rounds = len(costs), -(-len(costs) // ranks)
    costs = np.concatenate([costs, np.zeros(rounds * ranks - len(costs))])
    owned = np.zeros((rounds, ranks), dtype=np.int64)
    sums = np.zeros(ranks)
    for row in range(rounds):
        runs = np.arange(row * ranks, (row + 1) * ranks)
        runs = runs[np.argsort(-costs[runs], kind="stable")]
        lightest = np.argsort(sums, kind="stable")
        owned[row, lightest] = runs
        sums[lightest] += costs[runs]
    _exchange(costs, owned, sums)
    return [
        [int(i) for i in owned[:, rank] if i < runs_in_all]
        for rank in range(ranks)
    ]


def _exchange(costs: np.ndarray, owned: np.ndarray, sums: np.ndarray) -> None:
    """Level the sums in place by exchanges within the rounds."""
    for _ in range(_EXCHANGES):
        most = int(sums.argmax())
        if sums[most] <= (1 + _TOLERANCE) * sums.mean():
            return
        table = costs[owned]
        moved = table[:, [most]] - table  # from that rank to each other one
        worse = np.maximum(sums[most] - moved, sums + moved)
        row, other = np.unravel_index(worse.argmin(), worse.shape)
        if worse[row, other] >= sums[most]:
            return
        sums[most] -= moved[row, other]
        sums[other] += moved[row, other]
        pair = owned[row, [most, other]]
        owned[row, [other, most]] = pair
