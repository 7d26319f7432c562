"""Draws of corpora: exact shares, whole epochs, each computed alone."""

from collections import Counter

import numpy as np
import pytest

from nar_asr_lobes.dataio.stream import UtteranceStream
from nar_asr_lobes.errors import UserError

SIZES, WEIGHTS = [300, 50, 5000], [2.0, 0.5, 1.0]


def test_without_weights_epochs_follow_one_another():
    stream = UtteranceStream([3, 50], seed=2)
    epochs, indices = stream.draw(np.arange(3 * 53))
    for epoch in range(3):
        there = slice(53 * epoch, 53 * (epoch + 1))
        assert set(epochs[there]) == {epoch}
        assert sorted(indices[there]) == list(range(53))


def test_each_corpus_has_its_share_and_whole_epochs():
    stream = UtteranceStream(SIZES, WEIGHTS, seed=2)
    count = 100_000
    epochs, indices = stream.draw(np.arange(count))
    firsts = np.cumsum([0, *SIZES])
    for corpus, weight in enumerate(WEIGHTS):
        low, high = firsts[corpus], firsts[corpus + 1]
        there = (indices >= low) & (indices < high)
        share = weight / sum(WEIGHTS)
        # Within three deviations of as many independent draws.
        bound = 3 * np.sqrt(count * share * (1 - share))
        assert abs(there.sum() - share * count) < bound
        drawn = Counter(zip(epochs[there], indices[there], strict=True))
        assert set(drawn.values()) == {1}
        last = epochs[there].max()
        assert len(drawn) >= last * SIZES[corpus]
        assert (np.diff(epochs[there]) >= 0).all()


def test_draws_do_not_depend_on_what_is_drawn_with_them():
    stream = UtteranceStream(SIZES, WEIGHTS, seed=4)
    whole = np.stack(stream.draw(np.arange(140_000)))
    for start in (0, 65_500, 131_000):
        fresh = UtteranceStream(SIZES, WEIGHTS, seed=4)
        part = np.stack(fresh.draw(np.arange(start, start + 100)))
        np.testing.assert_array_equal(part, whole[:, start : start + 100])
    other = np.stack(UtteranceStream(SIZES, WEIGHTS, seed=5).draw(np.arange(9)))
    assert (other != whole[:, :9]).any()


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ([3, 0], [1, 1], "no utterances"),
        ([3, 3], [1, 0], "above 0"),
        ([3, 3], [1, -1], "above 0"),
        ([3, 3], [1, float("nan")], "above 0"),
        ([3, 3], [1, 1e-9], "below 1 / 65536"),
    ],
)
def test_bad_sizes_and_weights(sizes, weights, message):
    with pytest.raises(UserError, match=message):
        UtteranceStream(sizes, weights)
