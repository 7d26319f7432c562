"""Blocks are resampled as the whole signal is."""

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from nar_asr_lobes.dataio.audio.reading import (
    AudioStream,
    audio_blocks,
    read_audio,
)
from nar_asr_lobes.dataio.audio.waveform import (
    SAMPLE_RATE,
    _filter_rate,
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
        torch.from_numpy(wav), _filter_rate(rate), SAMPLE_RATE
    )
    np.testing.assert_allclose(found, whole.numpy(), atol=1e-6)


def test_results_come_before_the_end():
    blocks = (np.ones(48000, np.float32) for _ in range(10**9))
    first = next(resample_blocks(blocks, 48000))
    assert 15000 < len(first) <= 16000


RATE = 16000


def noise(seconds=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.5, int(seconds * RATE)).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    """Return a writer of channels into a file."""

    def write(*channels):
        path = tmp_path / "a.wav"
        wav = np.stack(channels, axis=1)
        soundfile.write(path, wav, RATE, subtype="FLOAT")
        return path

    return write


@pytest.mark.parametrize("gain", [-1.0, -0.8, -1.2])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_the_loudest_of_opposite_channels_is_taken(write, gain, offset):
    wav = noise()
    path = write(wav + offset, gain * wav + offset)
    loudest = wav if gain > -1.1 else gain * wav
    np.testing.assert_allclose(read_audio(path), loudest + offset, atol=1e-6)
    stream = AudioStream(path)
    list(stream)
    (warning,) = stream.warnings
    assert warning.problem == "has channels of opposite phase"
    assert str(warning).startswith(f"{path}: has channels of opposite phase; ")


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_other_channels_are_averaged_without_a_warning(write, count):
    different = [noise(seed=seed) for seed in range(count)]
    one_of_many = [noise(), *[np.zeros(RATE, np.float32)] * (count - 1)]
    silent = [np.full(RATE, 0.25, np.float32)] * count
    for channels in (different, one_of_many, silent):
        stream = AudioStream(write(*channels))
        found = np.concatenate(list(stream))
        np.testing.assert_allclose(found, np.mean(channels, 0), atol=1e-6)
        assert stream.warnings == []


def test_blocks_and_stretches_are_mixed_as_the_whole(write):
    wav = noise(15)
    other = np.concatenate([wav[: 6 * RATE], -wav[6 * RATE :]])
    path = write(wav, other)
    whole = read_audio(path)
    assert np.abs(whole[13 * RATE :]).mean() > 0.2
    np.testing.assert_array_equal(np.concatenate([*audio_blocks(path)]), whole)
    for start, seconds in [(0.5, 3), (3.9, 0.2), (5, 9), (8.1, 6.9)]:
        first, end = round(start * RATE), round((start + seconds) * RATE)
        found = read_audio(path, start=start, seconds=seconds)
        np.testing.assert_array_equal(found, whole[first:end])
