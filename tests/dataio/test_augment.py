"""Speed and noise are what they promise, and come from the seed alone."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torchaudio.functional import resample

from nar_asr_lobes.dataio.audio.distortions import add_noise, change_speed
from nar_asr_lobes.dataio.augment import WaveAugment, _add_noise
from nar_asr_lobes.errors import UserError


def tone(hertz, samples):
    time = np.arange(samples) / 16000
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def snr_db(clean, noisy):
    noise = noisy.astype(np.float64) - clean
    return 10 * np.log10(np.sum(np.square(clean)) / np.sum(np.square(noise)))


def peak_hertz(wav):
    power = np.abs(np.fft.rfft(wav * np.hanning(len(wav)), 1 << 17))
    return power.argmax() * 16000 / (1 << 17)


@pytest.mark.parametrize("samples", [1, 999, 16000, 20011])
@pytest.mark.parametrize("speed", [0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25])
def test_speed_changes_the_length(speed, samples):
    out = change_speed(tone(500, samples), speed)
    assert 0 <= len(out) - samples / speed < 1
    assert out.dtype == np.float32


@pytest.mark.parametrize("samples", [1, 9, 999, 16000, 20011])
@pytest.mark.parametrize("speed", [0.85, 0.9, 0.95, 1.05, 1.1, 1.25])
def test_speed_is_torchaudio_resampling(speed, samples):
    wav = np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)
    before, after = Fraction(speed).limit_denominator(20).as_integer_ratio()
    expected = resample(torch.from_numpy(wav), before, after).numpy()
    np.testing.assert_allclose(change_speed(wav, speed), expected, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 400, 999, 1000, 2500])
def test_short_noise_is_repeated(samples):
    rng = np.random.default_rng(0)
    wav = rng.uniform(-1, 1, samples).astype(np.float32)
    noise = rng.standard_normal(1000)
    expected = add_noise(wav, np.resize(noise, samples), 5.0)
    np.testing.assert_allclose(
        add_noise(wav, noise, 5.0), expected, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_changes_the_pitch_and_not_the_level(speed):
    out = change_speed(tone(500, 16000), speed)
    assert abs(peak_hertz(out) - 500 * speed) < 1
    assert abs(np.abs(out[2000:-2000]).max() - 0.3) < 0.01


@pytest.mark.parametrize("samples", [400, 16000, 80000])
@pytest.mark.parametrize("wanted", [-5.0, 5.0, 30.0])
def test_noise_has_the_wanted_level(wanted, samples):
    wav = tone(500, samples)
    noisy = _add_noise(wav, wanted, np.random.default_rng(1))
    assert abs(snr_db(wav, noisy) - wanted) < 0.05
    assert noisy.dtype == np.float32


def test_noise_has_many_colours():
    shares = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        noise = _add_noise(np.ones(16000, np.float32), 10.0, rng) - 1
        power = np.abs(np.fft.rfft(noise)) ** 2
        shares.append(power[:2000].sum() / power.sum())  # below 2 kHz
    assert min(shares) < 0.25 < 0.9 < max(shares)


@pytest.mark.parametrize("samples", [1, 2, 400])
def test_silence_stays_silent_and_scraps_stay_finite(samples):
    rng = np.random.default_rng(0)
    silence = np.zeros(samples, np.float32)
    assert not _add_noise(silence, 10.0, rng).any()
    assert np.isfinite(_add_noise(silence + 0.5, 10.0, rng)).all()


def test_the_seed_decides_everything():
    augment = WaveAugment(noise_prob=1.0)
    wav = tone(500, 8000)
    kept = wav.copy()
    outs = [augment(wav, seed) for seed in range(20)]
    np.random.seed(3)
    for seed, out in enumerate(outs):
        np.testing.assert_array_equal(augment(wav, seed), out)
    assert len({out.tobytes() for out in outs}) == 20
    np.testing.assert_array_equal(wav, kept)


def test_draws_follow_the_options():
    augment = WaveAugment(speeds=(0.9, 1.1), noise_prob=0.25, snr_db=(10, 20))
    wav = tone(500, 3000)
    clean = {len(x): x for x in (change_speed(wav, s) for s in (0.9, 1.1))}
    lengths, levels = [], []
    for seed in range(600):
        out = augment(wav, seed)
        lengths.append(len(out))
        if not np.array_equal(out, clean[len(out)]):
            levels.append(snr_db(clean[len(out)], out))
    assert abs(lengths.count(min(lengths)) / 600 - 0.5) < 0.1
    assert abs(len(levels) / 600 - 0.25) < 0.08
    assert 9.9 < min(levels) < 11 and 19 < max(levels) < 20.1


def test_nothing_asked_is_nothing_done():
    wav = tone(500, 3000)
    augment = WaveAugment(speeds=[1.0], noise_prob=0.0)
    np.testing.assert_array_equal(augment(wav, 1), wav)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speeds": "fast"}, "speeds is 'fast'; give a list such as"),
        ({"speeds": 1.0}, "speeds is 1.0; give a list such as"),
        ({"speeds": []}, r"speeds is \[\]; give a list such as"),
        ({"speeds": [1.0, 3.0]}, "speeds is 3.0; it must be"),
        ({"speeds": [0.0]}, "speeds is 0.0; it must be"),
        ({"noise_prob": 2}, "noise_prob is 2; it must be"),
        ({"snr_db": 5}, "snr_db is 5; give a list of the lowest and"),
        ({"snr_db": [5]}, r"snr_db is \[5\]; give a list of the lowest and"),
        ({"snr_db": [9, 5]}, r"snr_db is \[9, 5\]; give a list of the"),
        ({"snr_db": ["low", 5]}, "snr_db is 'low'; it must be"),
    ],
)
def test_wrong_options_are_told(values, message):
    with pytest.raises(UserError, match=f"^wave_augment: {message}"):
        WaveAugment(**values)


@pytest.mark.parametrize("progress, noisy", [(0.0, 0), (0.5, 0.5), (1.0, 1.0)])
def test_speed_changes_come_with_the_run(progress, noisy):
    augment = WaveAugment(speeds=[1.25], noise_prob=0.0, start=0.25, full=0.75)
    wav = np.ones(400, dtype=np.float32)
    changed = [len(augment(wav, seed, progress)) < 400 for seed in range(400)]
    assert np.mean(changed) == pytest.approx(noisy, abs=0.1)


@pytest.mark.parametrize("progress, noisy", [(0.0, 0), (0.5, 0.5), (1.0, 1.0)])
def test_noise_comes_with_the_run(progress, noisy):
    augment = WaveAugment(speeds=[1.0], noise_prob=1.0, start=0.25, full=0.75)
    wav = np.sin(np.arange(400, dtype=np.float32))
    changed = [
        not np.array_equal(augment(wav, seed, progress), wav)
        for seed in range(400)
    ]
    assert np.mean(changed) == pytest.approx(noisy, abs=0.1)
