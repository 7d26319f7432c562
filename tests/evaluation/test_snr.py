"""The estimate of the SNR on mixtures whose SNR is known."""

import math

import numpy as np
import pytest

from nar_asr_lobes.evaluation.snr import MAX_SNR, estimate_snr
from tests.tones import TONE_TEXTS, tone_speech

PAUSE = np.zeros(8000)


def speech():
    """Five seconds of tones, and pauses between them for a fourth of it."""
    parts = [tone_speech(text, seed=n) for n, text in enumerate(TONE_TEXTS[:4])]
    return np.concatenate([x for part in parts for x in (part, PAUSE)])


def make_noise(colour, size, rng):
    noise = rng.standard_normal(size)
    if colour == "pink":
        spectrum = np.fft.rfft(noise)
        hertz = np.maximum(np.fft.rfftfreq(size, 1 / 16000), 20)
        noise = np.fft.irfft(spectrum / np.sqrt(hertz), size)
    return noise


@pytest.mark.parametrize("colour", ["white", "pink"])
@pytest.mark.parametrize("snr", [-5, 0, 5, 10, 20])
def test_the_snr_of_a_mixture_is_found(colour, snr):
    clean = speech().astype(np.float64)
    clean -= clean.mean()
    noise = make_noise(colour, len(clean), np.random.default_rng(1))
    power = clean.var() / noise.var() / 10 ** (snr / 10)
    found = estimate_snr(clean + noise * math.sqrt(power))
    assert found == pytest.approx(snr, abs=1.5)


def test_the_level_and_an_offset_do_not_count():
    wav = speech() + np.random.default_rng(0).normal(0, 0.01, len(speech()))
    assert estimate_snr(wav) == pytest.approx(estimate_snr(0.1 * wav + 0.3))


def test_frames_are_those_of_a_loop():
    wav = np.random.default_rng(2).standard_normal(5000)
    centred = wav - wav.mean()
    powers = [
        np.mean(centred[first : first + 800] ** 2)
        for first in range(0, len(wav) - 800 + 1, 160)
    ]
    noise = np.quantile(powers, 0.2)
    wanted = 10 * math.log10((np.mean(powers) - noise) / noise)
    assert estimate_snr(wav) == pytest.approx(wanted)


def test_limits():
    assert math.isnan(estimate_snr(np.ones(16000)))  # silence
    assert math.isnan(estimate_snr(np.random.default_rng(0).random(3000)))
    clean = np.concatenate([np.zeros(16000), np.sin(np.arange(16000.0)), PAUSE])
    assert estimate_snr(clean) == pytest.approx(MAX_SNR, abs=1e-3)
