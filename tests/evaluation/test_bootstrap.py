"""Intervals hold the true rate as often as they say; pairs make them narrow."""

import numpy as np
import pytest
from scipy import stats

from nar_asr_lobes.evaluation.bootstrap import (
    _difference,
    _fewer,
    _rate,
    compare_rates,
    rate_interval,
)

TRUE_RATE = 0.1


def draw_speakers(rng, speakers, utterances=8):
    """Errors and words of utterances whose speakers differ in their rate."""
    rates = rng.beta(2, 18, speakers)  # mean TRUE_RATE
    words = rng.integers(3, 21, (speakers, utterances))
    errors = rng.binomial(words, rates[:, None])
    names = np.repeat(np.arange(speakers), utterances)
    return errors.ravel(), words.ravel(), names


def coverage(speakers, by_speaker, rounds=600):
    """Share of simulated test sets whose interval holds the true rate."""
    hits = 0
    for seed in range(rounds):
        drawn = draw_speakers(np.random.default_rng(seed), speakers)
        errors, words, names = drawn
        found = rate_interval(
            errors, words, names if by_speaker else None, seed, samples=400
        )
        hits += found.low <= TRUE_RATE <= found.high
    return hits / rounds


@pytest.mark.parametrize("speakers", [10, 20, 50, 100])
def test_intervals_hold_the_true_rate(speakers):
    assert 0.93 <= coverage(speakers, by_speaker=True) <= 0.97


def naive_interval(errors, words, samples):
    """The bootstrap-t interval of a rate, or Student's, by loops."""

    def with_error(e, w):
        rate = e.sum() / w.sum()
        rest = e - rate * w
        count = len(e)
        return rate, np.sqrt(count / (count - 1) * (rest @ rest)) / w.sum()

    rng, count = np.random.default_rng(0), len(errors)
    rate, error = with_error(errors, words)
    t = []
    for drawn in rng.integers(count, size=(samples, count)):
        other, spread = with_error(errors[drawn], words[drawn])
        if spread > 1e-9:
            t.append((other - rate) / spread)
    student = stats.t.ppf(0.975, count - 1)
    below, above = np.quantile(t, [0.025, 0.975])
    return (
        rate - error * max(above, student),
        rate - error * min(below, -student),
    )


@pytest.mark.parametrize("most", [None, 150])
@pytest.mark.parametrize("speakers", [3, 8, 30])
def test_the_interval_is_that_of_a_loop(speakers, most):
    """Of speakers with few errors and a few with many, or the other way."""
    rng = np.random.default_rng(speakers)
    errors = np.floor(rng.lognormal(1, 1, speakers))
    words = np.full(speakers, 100.0)
    if most:
        errors = most - errors
    found = rate_interval(errors, words, samples=300)
    low, high = naive_interval(errors, words, 300)
    if speakers > 3:
        skew = (high - found.value) - (found.value - low)
        assert skew < 0 if most else skew > 0
    assert (found.low, found.high) == pytest.approx((max(low, 0), high))


@pytest.mark.parametrize("statistic", [_rate, _difference, _fewer])
def test_gradients_are_those_of_small_steps(statistic):
    columns = 2 if statistic is _rate else 4
    sums = np.array([[30.0, 200.0, 25.0, 190.0]])[:, :columns]
    _, gradient = statistic(sums)
    for column in range(columns):
        step = np.zeros_like(sums)
        step[0, column] = 1e-4
        up, down = statistic(sums + step)[0], statistic(sums - step)[0]
        assert gradient[0, column] == pytest.approx((up - down)[0] / 2e-4)


def test_utterances_alone_would_make_them_too_narrow():
    assert coverage(20, by_speaker=False, rounds=100) < 0.85


def test_few_speakers_have_wider_intervals_than_quantiles():
    errors, words, names = draw_speakers(np.random.default_rng(3), 5)
    found = rate_interval(errors, words, names)
    rng = np.random.default_rng(0)
    sums = np.stack([errors, words]).reshape(2, 5, -1).sum(-1)
    drawn = sums[:, rng.integers(5, size=(10_000, 5))].sum(-1)
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    assert found.low < low < found.value < high < found.high


def test_one_cluster_has_no_interval():
    found = rate_interval([1, 2], [5, 5], ["a", "a"])
    assert (found.value, found.low, found.high) == (0.3, None, None)


def test_clusters_are_drawn_as_a_whole():
    rng = np.random.default_rng(1)
    errors, words = rng.poisson(2, 60), rng.integers(5, 9, 60)
    names = rng.integers(12, size=60).astype(str)
    sums = [
        [values[names == name].sum() for name in np.unique(names)]
        for values in (errors, words)
    ]
    assert rate_interval(errors, words, names) == rate_interval(*sums)


def test_equal_systems_differ_by_nothing():
    errors, words = [3, 0, 2, 5], [9, 9, 9, 9]
    found = compare_rates(errors, errors, words, words)
    assert found.probability == 0.5
    for interval in (found.difference, found.fewer):
        assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_the_interval_narrows_with_more_utterances():
    rng = np.random.default_rng(0)
    widths = []
    for count in (50, 5000):
        a = rng.poisson(4, count)
        b = rng.binomial(a, 0.7)
        words = np.full(count, 30)
        found = compare_rates(a, b, words, words).fewer
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert 5 < widths[0] / widths[1] < 20  # with the root of the number
    assert found.low < 0.3 < found.high


def test_swapping_the_systems_mirrors_the_comparison():
    rng = np.random.default_rng(5)
    a, b = rng.poisson(3, (2, 30))
    words = np.full(30, 20)
    there = compare_rates(a, b, words, words)
    back = compare_rates(b, a, words, words)
    assert there.difference.low == pytest.approx(-back.difference.high)
    assert there.probability == pytest.approx(1 - back.probability)


def test_pairs_tell_systems_apart_whose_intervals_overlap():
    rng = np.random.default_rng(2)
    a = rng.poisson(5, 60)
    b = np.maximum(a - (np.arange(60) % 4 == 0), 0)
    words = np.full(60, 20)
    alone = rate_interval(a, words), rate_interval(b, words)
    assert alone[0].low < alone[1].high
    assert compare_rates(a, b, words, words).probability > 0.99


def test_references_without_words_are_no_division_by_zero():
    assert rate_interval([2, 0], [0, 4]).low >= 0
    assert rate_interval([2, 0], [0, 4]).value == 0.5
