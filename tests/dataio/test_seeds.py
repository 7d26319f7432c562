import itertools

import numpy as np

from nar_asr_lobes.dataio.seeds import Stream, derived_seed, generator


def test_streams_keep_their_numbers():
    """A stored run continues with the draws it began with."""
    names = [stream.name for stream in sorted(Stream)]
    assert [int(stream) for stream in Stream] == list(range(1, len(Stream) + 1))
    assert names[0] == "SPEC_AUGMENT" and names[7] == "DISTRACTORS"
    first = generator(5, Stream.SHUFFLE, 2).integers(1000)
    assert first == np.random.default_rng([5, 5, 2]).integers(1000)


def test_streams_seeds_and_indices_draw_different_numbers():
    keys = itertools.product(range(20), Stream, range(5))
    seeds = [derived_seed(*key) for key in keys]
    assert len(set(seeds)) == len(seeds) == 100 * len(Stream)
    assert all(0 <= seed < 2**32 for seed in seeds)
    draws = [generator(seed, s).random() for seed in range(9) for s in Stream]
    assert len(set(draws)) == len(draws)
