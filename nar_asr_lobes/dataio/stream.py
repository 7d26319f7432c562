"""The endless stream of utterances of a training: which one is drawn when."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from nar_asr_lobes.dataio.permutation import Permutation
from nar_asr_lobes.dataio.seeds import Stream, generator
from nar_asr_lobes.errors import UserError

_PERIOD = 65536  # draws in which each corpus has its exact share


class UtteranceStream:
    """Epochs in random order, of one set or of corpora mixed by weights.

    A draw is computed from its place in the stream, so that a training goes on
    anywhere at once, whatever the size of the data.

    Arguments
    ---------
    sizes : sequence of int
        Utterances of each corpus, which follow one another in the data set.
    weights : sequence of float, optional
        Draws of each corpus, relative to those of the others; each corpus then
        has epochs of its own. Without them all are one set.
    seed : int
        Of the order.

    Raises
    ------
    UserError
        For a corpus without utterances, and weights that are not above 0 or
        below 1 / 65,536 of their sum.

    Example
    -------
    >>> stream = UtteranceStream([20, 100], weights=[1, 1])
    >>> epochs, indices = stream.draw(np.arange(8000))
    >>> int((indices < 20).sum()) in range(3800, 4200)
    True
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float] | None = None,
        seed: int = 0,
    ):
        if weights is None:
            sizes, weights = [sum(sizes)], [1.0]
        self.sizes = np.array(sizes, dtype=np.int64)
        if self.sizes.min() < 1:
            raise UserError("a corpus has no utterances; leave it out")
        self.counts = _shares(np.array(weights, dtype=np.float64))
        self.offsets = np.cumsum(self.sizes) - self.sizes
        self.seed = seed
        # Neighbouring draws share their periods and epochs.
        self._period = lru_cache(maxsize=2)(self._order_corpora)
        self._order = lru_cache(maxsize=64)(self._order_epoch)

    def draw(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give (epochs of their corpora, indices) at ``positions`` [N]."""
        corpora, places = self._in_corpora(positions)
        epochs, places = np.divmod(places, self.sizes[corpora])
        indices = np.empty_like(places)
        for corpus, epoch in np.unique([corpora, epochs], axis=1).T:
            there = (corpora == corpus) & (epochs == epoch)
            order = self._order(int(corpus), int(epoch))
            indices[there] = order(places[there]) + self.offsets[corpus]
        return epochs, indices

    def _in_corpora(
        self, positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the corpus of each draw, and its place among that one's."""
        if len(self.sizes) == 1:
            return np.zeros_like(positions), positions
        periods, within = np.divmod(positions, _PERIOD)
        corpora, places = np.empty_like(positions), np.empty_like(positions)
        for period in np.unique(periods):
            there = periods == period
            drawn, ranks = self._period(int(period))
            corpora[there] = drawn[within[there]]
            places[there] = ranks[within[there]]
        return corpora, places + periods * self.counts[corpora]

    def _order_corpora(self, period: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the corpora of a period, and how many of each came before."""
        rng = generator(self.seed, Stream.CORPUS_ORDER, period)
        corpora = np.repeat(np.arange(len(self.counts)), self.counts)
        rng.shuffle(corpora)
        ranks = np.empty_like(corpora)
        ranks[np.argsort(corpora, kind="stable")] = np.concatenate(
            [np.arange(count) for count in self.counts]
        )
        return corpora, ranks

    def _order_epoch(self, corpus: int, epoch: int) -> Permutation:
        size = int(self.sizes[corpus])
        return Permutation(size, self.seed, epoch, corpus)


def _shares(weights: np.ndarray) -> np.ndarray:
    """Divide a period by weights: largest remainders, in whole draws."""
    if not (weights > 0).all() or not np.isfinite(weights).all():
        raise UserError(
            f"weights are {weights.tolist()}; give finite numbers above 0"
        )
    exact = weights / weights.sum() * _PERIOD
    counts = exact.astype(np.int64)
    missing = _PERIOD - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    if counts.min() == 0:
        raise UserError(
            f"a weight of {weights.tolist()} is below 1 / {_PERIOD} of their "
            "sum; leave that corpus out"
        )
    return counts
