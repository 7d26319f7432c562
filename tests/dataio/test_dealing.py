"""Nothing is lost in dealing; work is equal; little is padding."""

import numpy as np
import pytest

from nar_asr_lobes.dataio.dealing import deal


def speech(rng, count):
    """Lengths as those of audiobooks: most of 12 to 17 s, and short ones."""
    long = rng.normal(14.5, 1.6, count).clip(2, 24)
    short = rng.uniform(1.5, 15, count)
    return np.sort(np.where(rng.random(count) < 0.65, long, short))[::-1]


def costs(seconds, dealt):
    return np.array(
        [sum(seconds[run][0] * len(seconds[run]) for run in x) for x in dealt]
    )


@pytest.mark.parametrize(
    ("ranks", "limit"), [(1, 120), (2, 120), (8, 100), (64, 120), (128, 240)]
)
def test_padding_and_spread_of_a_step_of_2048(ranks, limit):
    rng = np.random.default_rng(0)
    padding, spread = [], []
    for _ in range(10):
        seconds = speech(rng, 2048)
        dealt = costs(seconds, deal(seconds, ranks, limit))
        padding.append(dealt.sum() / seconds.sum() - 1)
        spread.append(dealt.max() / dealt.mean() - 1)
    assert np.mean(padding) <= 0.006
    assert np.mean(spread) <= 0.005 and max(spread) <= 0.01


def test_random_cases_lose_and_repeat_nothing():
    """Worlds, sizes, lengths and limits, all at random."""
    rng = np.random.default_rng(1)
    for _ in range(400):
        ranks = int(rng.integers(1, 65))
        size = ranks + int(rng.integers(0, 100))
        seconds = np.sort(rng.exponential(10, size))[::-1]
        limit = float(rng.uniform(1, 300))
        dealt = deal(seconds, ranks, limit)
        assert len(dealt) == ranks and all(dealt)
        runs = [run for x in dealt for run in x]
        found = np.concatenate([np.arange(size)[run] for run in runs])
        np.testing.assert_array_equal(np.sort(found), np.arange(size))
        for run in runs:
            count = run.stop - run.start
            assert count == 1 or count * seconds[run][0] <= limit + 1e-9


def test_equal_lengths_and_none():
    seconds = np.full(64, 10.0)
    dealt = deal(seconds, 4, 1000.0)
    assert (costs(seconds, dealt) == 160).all()
    assert all(deal(np.zeros(5), 3, 10.0))
    assert deal(np.array([9.0]), 1, 1.0) == [[slice(0, 1)]]
