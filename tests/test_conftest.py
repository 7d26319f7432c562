"""The shared fixtures are what the other tests take them for."""

import numpy as np
import torch

from nar_asr_lobes.dataio.audio.reading import read_audio
from tests.tones import LETTER_SECONDS, TONE_TEXTS, tone_speech


def spectrum(samples):
    return np.abs(np.fft.rfft(samples, 4096))


def test_every_letter_sounds_different():
    letters = "abcdefghijklmnopqrstuvwxyz"
    spectra = np.stack([spectrum(tone_speech(letter)) for letter in letters])
    spectra /= np.linalg.norm(spectra, axis=1, keepdims=True)
    likeness = spectra @ spectra.T - np.eye(26)
    # Two letters share one tone of their pair at most.
    assert likeness.max() < 0.6


def test_a_double_letter_is_two_sounds():
    samples = np.abs(tone_speech("ee"))
    slot = len(samples) // 2
    gap = samples[slot - 200 : slot]
    assert gap.max() < 0.01 < 0.2 < samples[:slot].max()


def test_tones_repeat_exactly():
    np.testing.assert_array_equal(tone_speech("no"), tone_speech("no"))
    assert np.any(tone_speech("no") != tone_speech("no", seed=1))


def test_clips_hold_their_texts(tone_clips):
    assert [clip.text for clip in tone_clips] == list(TONE_TEXTS)
    assert len(tone_clips) == len({clip.id for clip in tone_clips}) == 8
    for clip in tone_clips:
        samples = read_audio(clip.audio)
        assert len(samples) / 16000 == clip.duration
        assert clip.duration == LETTER_SECONDS * len(clip.text)
        np.testing.assert_allclose(
            samples, tone_speech(clip.text), atol=1 / 32768
        )


def test_one_thread():
    assert torch.get_num_threads() == 1


def test_real_data_is_where_the_variable_says(real_data):
    assert list(real_data.glob("*/utterances.tsv"))
