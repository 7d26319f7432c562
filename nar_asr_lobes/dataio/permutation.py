"""Random orders that need no memory: the place of each item is computed."""

from __future__ import annotations

import numpy as np

from nar_asr_lobes.dataio.seeds import Stream, generator

_ROUNDS = 6
_LEAST_BITS = 4  # of a half: tiny halves would give few different orders
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


class Permutation:
    """A random order of ``size`` numbers, the same for the same seed.

    A Feistel network over the next power of four, walked until it comes back
    into the range (format-preserving encryption, Black and Rogaway, 2002). It
    is for shuffling, not for secrets.

    Arguments
    ---------
    size : int
        Numbers 0 to size - 1 are put in order.
    seed : int
        Of the run.
    *index : int
        What else the order depends on, such as the epoch.

    Example
    -------
    >>> order = Permutation(5, seed=1)
    >>> sorted(order(np.arange(5)).tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, size: int, seed: int, *index: int):
        bits = max(1, (size - 1).bit_length())
        self.size, self.half = size, max(_LEAST_BITS, -(-bits // 2))
        rng = generator(seed, Stream.SHUFFLE, *index)
        self.keys = rng.integers(2**64, size=_ROUNDS, dtype=np.uint64)

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Give the numbers at ``places``, int64 of any shape."""
        found = self._encrypt(places.astype(np.uint64))
        outside = found >= self.size
        while outside.any():
            found[outside] = self._encrypt(found[outside])
            outside = found >= self.size
        return found.astype(np.int64)

    def _encrypt(self, numbers: np.ndarray) -> np.ndarray:
        shift = np.uint64(self.half)
        mask = np.uint64(2**self.half - 1)
        left, right = numbers >> shift, numbers & mask
        for key in self.keys:
            left, right = right, left ^ (_mix(right ^ key) & mask)
        return (left << shift) | right


def _mix(x: np.ndarray) -> np.ndarray:
    """Spread each bit over all others; products wrap around."""
    shift = np.uint64(32)
    for factor in _MIX:
        x = (x ^ (x >> shift)) * factor
    return x ^ (x >> shift)
