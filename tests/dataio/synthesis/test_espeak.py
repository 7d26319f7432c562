"""Synthetic speech: repeatable, of the right rate, and noisy as asked."""

import sys

import numpy as np
import pytest

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE
from nar_asr_lobes.dataio.synthesis.espeak import (
    Espeak,
    babble_noise,
    coloured_noise,
    mix_noise,
)
from nar_asr_lobes.errors import UserError

TEXT = "start aspirin seventy five milligrams once daily"


@pytest.fixture
def needs_espeak():
    pytest.importorskip("espeakng_loader", reason="extra demo not installed")


def say_all(requests):
    with Espeak() as espeak:
        return [espeak.speak(*request) for request in requests]


def test_a_new_session_gives_the_same_bytes(needs_espeak):
    # f3 has breath and echo, klatt4 another synthesizer: both keep state.
    requests = [
        (TEXT, "en-us+f3", 160, 40),
        (TEXT, "en+klatt4", 180, 60),
        (TEXT, "en-us+f3", 160, 40),
    ]
    first, again = say_all(requests), say_all(requests)
    for one, other in zip(first, again, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


def test_voice_speed_and_pitch_all_matter(needs_espeak):
    plain = (TEXT, "en-us+m1", 150, 50)
    for other in (
        (TEXT, "en-us+f1", 150, 50),
        (TEXT, "en-us+m1", 200, 50),
        (TEXT, "en-us+m1", 150, 70),
    ):
        (a,), (b,) = say_all([plain]), say_all([other])
        assert a.shape != b.shape or np.abs(a - b).max() > 0.01


def test_speed_shortens_and_the_rate_is_16_khz(needs_espeak):
    slow, fast = say_all([(TEXT, "en-us", 120), (TEXT, "en-us", 240)])
    assert 1.7 < len(slow) / len(fast) < 2.3
    assert 3.0 < len(slow) / SAMPLE_RATE < 5.0


def test_resampling_keeps_the_pitch(needs_espeak):
    """The first harmonic of a deep voice lies where espeak puts it."""
    (wav,) = say_all([("ah", "en-us+m1", 80, 50)])
    middle = wav[len(wav) // 3 : 2 * len(wav) // 3]
    correlation = np.correlate(middle, middle, "full")[len(middle) :]
    lag = 100 + int(correlation[99:320].argmax())
    assert 70 < SAMPLE_RATE / lag < 140


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("", "en-us"), "empty text"),
        ((TEXT, "xx-none"), "no voice 'xx-none'"),
        ((TEXT, "en-us", 20), "speed 20 is out of range; use 80 to 450"),
        ((TEXT, "en-us", 175, 120), "pitch 120 is out of range"),
    ],
)
def test_mistakes_are_named(needs_espeak, arguments, words):
    with Espeak() as espeak, pytest.raises(UserError, match=words):
        espeak.speak(*arguments)


def test_two_sessions_at_once_are_refused(needs_espeak):
    with Espeak(), pytest.raises(UserError, match="already open"), Espeak():
        pass
    say_all([(TEXT, "en-us")])  # the first session is still closed properly


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"nar-asr-lobes\[demo\]"), Espeak():
        pass


@pytest.mark.parametrize(
    ("colour", "slope"), [("white", 0), ("pink", -1), ("brown", -2)]
)
def test_noise_has_its_slope_and_unit_power(colour, slope):
    noise = coloured_noise(1 << 16, colour, np.random.default_rng(3))
    assert noise.dtype == np.float32
    assert np.mean(noise**2) == pytest.approx(1.0, rel=1e-4)
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[500:1000].mean(), power[8000:16000].mean()
    assert np.log2(high / low) / 4 == pytest.approx(slope, abs=0.1)


def test_unknown_colour_is_refused():
    with pytest.raises(UserError, match="white, pink, brown"):
        coloured_noise(100, "red", np.random.default_rng(0))


def test_mix_has_the_ratio_asked_for():
    rng = np.random.default_rng(1)
    speech, noise = 0.1 * rng.standard_normal(8000), rng.standard_normal(8000)
    for snr_db in (-3.0, 5.0, 25.0):
        added = mix_noise(speech, noise, snr_db) - speech
        ratio = np.mean(speech**2) / np.mean(added**2)
        assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.01)


def test_babble_holds_every_talker():
    talkers = [np.sin(np.arange(4000) * w) for w in (0.3, 1.0, 2.0)]
    babble = babble_noise(talkers, 10000, np.random.default_rng(0))
    assert babble.shape == (10000,)
    assert np.mean(babble**2) == pytest.approx(1.0, rel=1e-4)
    spectrum = np.abs(np.fft.rfft(babble * np.hanning(10000)))
    for w in (0.3, 1.0, 2.0):
        peak = round(w / (2 * np.pi) * 10000)
        near = spectrum[peak - 10 : peak + 10].max()
        assert near > 100 * np.median(spectrum)
