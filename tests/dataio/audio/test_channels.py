"""Telephone, narrow band, and codecs that keep length and time."""

import io

import numpy as np
import pytest
from scipy.signal import correlate, welch

from nar_asr_lobes.dataio.audio import channels
from nar_asr_lobes.errors import UserError
from tests.tones import tone_speech

RATE = 16000
KBPS = {"opus": 6, "mp3": 16, "amr": 4.75}


def noise(samples=4 * RATE):
    wav = 0.1 * np.random.default_rng(0).standard_normal(samples)
    return wav.astype(np.float32)


def level_db(wav, low, high):
    hertz, power = welch(wav, RATE, nperseg=1024)
    return 10 * np.log10(power[(hertz > low) & (hertz < high)].mean())


def test_a_telephone_has_its_band_only():
    out = channels.telephone(noise())
    assert len(out) == 4 * RATE
    inside = level_db(out, 400, 3200)
    assert inside == pytest.approx(level_db(noise(), 400, 3200), abs=1)
    # within 4 kHz what is left is the noise of mu-law, -38 dB of all
    assert level_db(out, 3600, 3900) < inside - 25
    assert level_db(out, 50, 200) < inside - 25
    assert level_db(out, 5000, 8000) < inside - 50


def test_mu_law_is_heard():
    """Without it, a telephone would be a linear filter."""
    once, twice = (channels.telephone(x * noise()) for x in (0.5, 1.0))
    assert not np.allclose(2 * once, twice, atol=1e-4)


def test_narrow_band_ends_at_4_khz():
    out = channels.narrow_band(noise(RATE + 1))
    assert len(out) == RATE + 1
    inside = level_db(out, 50, 3500)
    assert inside == pytest.approx(level_db(noise(), 50, 3500), abs=1)
    assert level_db(out, 5000, 8000) < inside - 50


@pytest.mark.parametrize("name", channels.CODECS)
def test_codecs_keep_length_and_time(name):
    wav = tone_speech("left knee")[:-1]  # an odd number of samples
    out = channels.code(wav, name, KBPS[name])
    assert len(out) == len(wav) and out.dtype == np.float32
    products = correlate(out, wav)
    lag = np.argmax(products) - (len(wav) - 1)
    assert abs(lag) <= 0.005 * RATE
    likeness = products.max() / np.linalg.norm(out) / np.linalg.norm(wav)
    assert 0.5 < likeness < 0.999


@pytest.mark.parametrize("name", channels.CODECS)
def test_codecs_have_the_bit_rate_asked_for(name):
    codec = channels.CODECS[name]
    file = io.BytesIO()
    wav = noise(10 * codec.sample_rate)
    channels._encode(file, codec, wav, round(1000 * KBPS[name]))
    kbps = len(file.getvalue()) * 8 / 10 / 1000
    assert kbps == pytest.approx(KBPS[name], rel=0.25)


@pytest.mark.parametrize("name", channels.CODECS)
def test_hardly_any_samples_can_be_coded(name):
    assert channels.code(noise(3), name, KBPS[name]).shape == (3,)


def test_a_missing_encoder_is_one_sentence(monkeypatch):
    codec = channels.Codec("nosuch", "ogg", RATE)
    monkeypatch.setitem(channels.CODECS, "nosuch", codec)
    with pytest.raises(UserError, match="encoder nosuch is missing .*; "):
        channels.code(noise(100), "nosuch", 6)
