"""Named random streams: draws for different purposes never coincide.

Every draw comes from the seed of an utterance or of the run and the number of
its stream, so that it depends neither on the batch nor on the rank. The
numbers make a run reproducible: never reuse one.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The purpose of a draw."""

    SPEC_AUGMENT = 1
    SPAN_MASK = 2
    TOKEN_MASK = 3
    WAVE_AUGMENT = 4
    SHUFFLE = 5
    BATCH_ORDER = 6
    SAMPLE_SEED = 7
    DISTRACTORS = 8
    DISTORTION = 9
    CORPUS_ORDER = 10


def generator(seed: int, stream: Stream, *index: int) -> np.random.Generator:
    """Make the random generator of a stream.

    Example
    -------
    >>> one, two = (generator(7, Stream.SHUFFLE, epoch) for epoch in (0, 1))
    >>> one.random() == two.random()
    False
    """
    return np.random.default_rng([int(seed), stream, *index])


def derived_seed(seed: int, stream: Stream, *index: int) -> int:
    """Derive a seed below 2^32 from another."""
    state = np.random.SeedSequence([int(seed), stream, *index])
    return int(state.generate_state(1)[0])
