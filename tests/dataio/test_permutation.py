"""Every size has a bijection; orders are as random as numpy's."""

import numpy as np
import pytest
from scipy import stats

from nar_asr_lobes.dataio.permutation import Permutation


@pytest.mark.parametrize(
    "size", [*range(1, 40), 255, 256, 257, 1000, 4096, 100_003]
)
def test_every_number_once(size):
    order = Permutation(size, 5)(np.arange(size))
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_parts_are_those_of_the_whole():
    order = Permutation(1000, 5, 2)
    places = np.array([[999, 3], [3, 0]])
    np.testing.assert_array_equal(order(places), order(np.arange(1000))[places])


def test_forty_million_take_no_memory():
    order = Permutation(40_000_000, 1)
    found = order(np.arange(39_000_000, 39_002_048))
    assert len(np.unique(found)) == 2048
    assert 0 <= found.min() < 2_000_000 and 38_000_000 < found.max()


@pytest.mark.parametrize("size", [7, 50])
def test_each_number_is_as_likely_at_each_place(size):
    """Chi-squared over seeds, of the first and the last place."""
    draws = np.array(
        [Permutation(size, seed)(np.arange(size)) for seed in range(1000)]
    )
    for place in (0, -1):
        counts = np.bincount(draws[:, place], minlength=size)
        assert stats.chisquare(counts).pvalue > 1e-4


def test_neighbours_are_far_apart():
    order = Permutation(10_000, 3)(np.arange(10_000))
    assert abs(stats.spearmanr(order[:-1], order[1:]).statistic) < 0.05
    assert abs(stats.spearmanr(order, np.arange(10_000)).statistic) < 0.05
    other = Permutation(10_000, 3, 1)(np.arange(10_000))
    assert abs(stats.spearmanr(order, other).statistic) < 0.05
