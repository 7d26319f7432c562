"""Blocks are resampled as the whole signal is."""

import numpy as np
import pytest
import torch
import torchaudio

from nar_asr_lobes.dataio.audio.resampling import (
    SAMPLE_RATE,
    filter_rate,
    resample_blocks,
)

RATES = [1000, 8000, 11025, 11127, 16000, 22050, 44100, 48000, 96000]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [1, 37, 160, 441, 5000, 50000])
def test_blocks_equal_the_whole(rate, size):
    length = min(30000, 200 * size)
    rng = np.random.default_rng(rate + size)
    wav = rng.uniform(-1, 1, length).astype(np.float32)
    ends = np.cumsum(rng.integers(1, size + 1, length))
    blocks = np.split(wav, ends[ends < length])
    found = np.concatenate(list(resample_blocks(blocks, rate)))
    whole = torchaudio.functional.resample(
        torch.from_numpy(wav), filter_rate(rate), SAMPLE_RATE
    )
    np.testing.assert_allclose(found, whole.numpy(), atol=1e-6)


def test_results_come_before_the_end():
    blocks = (np.ones(48000, np.float32) for _ in range(10**9))
    first = next(resample_blocks(blocks, 48000))
    assert 15000 < len(first) <= 16000
