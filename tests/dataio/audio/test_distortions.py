"""Noise at a ratio, its spectrum, babble, speed and clipping."""

import numpy as np
import pytest
from scipy.signal import welch

from nar_asr_lobes.dataio.audio import distortions as made

RATE = 16000


def rng(seed=0):
    return np.random.default_rng(seed)


def tone(hertz, samples=RATE):
    wav = 0.3 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)
    return wav.astype(np.float32)


def voices():
    return [tone(150, 3000), tone(230, 9000) * 5]


NOISES = {
    "white": lambda samples: made.white_noise(rng(), samples),
    "pink": lambda samples: made.pink_noise(rng(), samples),
    "babble": lambda samples: made.babble(rng(), voices(), samples),
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("snr_db", [20, 10, 5, 0])
def test_the_ratio_of_energies_is_the_wished_one(noise, snr_db):
    speech = tone(440, 5000)
    mixed = made.add_noise(speech, noise(5000), snr_db)
    clean = added = 0.0
    for before, after in zip(speech.tolist(), mixed.tolist(), strict=True):
        clean += before**2
        added += (after - before) ** 2
    assert 10 * np.log10(clean / added) == pytest.approx(snr_db, abs=0.01)


@pytest.mark.parametrize(("name", "slope"), [("white", 0.0), ("pink", -3.01)])
def test_the_slope_of_the_spectrum(name, slope):
    hertz, power = welch(NOISES[name](2**18), RATE, nperseg=4096)
    some = (hertz > 60) & (hertz < 7000)
    octaves, level = np.log2(hertz[some]), 10 * np.log10(power[some])
    assert np.polyfit(octaves, level, 1)[0] == pytest.approx(slope, abs=0.15)


@pytest.mark.parametrize("name", ["white", "pink"])
def test_noise_has_variance_1_and_no_inaudible_part(name):
    noise = NOISES[name](2**16)
    assert noise.std() == pytest.approx(1, abs=0.01)
    if name == "pink":
        spectrum = np.abs(np.fft.rfft(noise)) ** 2
        assert spectrum[: 2**16 * 19 // RATE].sum() < 1e-9 * spectrum.sum()


@pytest.mark.parametrize("samples", [0, 1, 7])
def test_noise_of_hardly_any_samples(samples):
    noise = made.pink_noise(rng(), samples) if samples else np.zeros(0)
    assert noise.shape == (samples,) and np.isfinite(noise).all()


def test_silence_stays_silent():
    silence = np.zeros(100, np.float32)
    assert not made.add_noise(silence, made.white_noise(rng(), 100), 5).any()
    speech = tone(300, 100)
    assert np.array_equal(made.add_noise(speech, silence, 5), speech)


def test_babble_repeats_each_voice_equally_loud():
    voice = rng(1).normal(size=50) * 0.01
    mixed = made.babble(rng(), [voice], 100)
    assert np.array_equal(mixed[:50], mixed[50:])
    assert np.mean(mixed**2) == pytest.approx(1)
    ratio = np.sort(mixed[:50]) / np.sort(voice)
    assert ratio == pytest.approx(np.full(50, ratio[0]))
    both = made.babble(rng(), voices(), 90000)
    spectrum = np.abs(np.fft.rfft(both))
    hertz = np.fft.rfftfreq(90000, 1 / RATE)
    low, high = (np.sum(spectrum[abs(hertz - x) < 20] ** 2) for x in (150, 230))
    assert low == pytest.approx(high, rel=0.1)  # though one was 5 times louder


def test_speakers_are_others_and_all_different():
    speakers = list("aabbbcdeea")
    counts = np.zeros(len(speakers))
    for seed in range(200):
        found = made.draw_speakers(rng(seed), speakers, "a", count=3)
        names = [speakers[index] for index in found]
        assert len(set(names)) == 3 and "a" not in names
        counts[found] += 1
    assert (counts[2:9] > 0).all()
    assert len(made.draw_speakers(rng(), speakers, "a")) == 4
    assert sorted(made.draw_speakers(rng(), list("aab"), "a")) == [2]
    assert made.draw_speakers(rng(), list("aa"), "a") == []


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.2])
def test_speed_changes_length_and_pitch(speed):
    out = made.change_speed(tone(1000), speed)
    assert len(out) == np.ceil(RATE / speed)
    peak = np.argmax(np.abs(np.fft.rfft(out))) * RATE / len(out)
    assert peak == pytest.approx(1000 * speed, abs=2)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_a_share_of_the_samples_is_clipped(share):
    wav = rng().normal(scale=0.01, size=10000)
    out = made.clip_samples(wav, share)
    assert np.abs(out).max() == 1
    assert np.mean(np.abs(out) == 1) == pytest.approx(share, abs=2e-4)
    loudest = sorted(np.abs(wav))[-round(share * 10000) - 1]
    below = np.abs(out) < 1
    assert wav[below] / out[below] == pytest.approx(loudest, rel=0.01)
    assert not made.clip_samples(np.zeros(9), share).any()


def test_scaling_is_for_loud_audio_only():
    assert np.array_equal(made.within_full_scale(tone(300)), tone(300))
    loud = 9 * tone(300)
    scaled = made.within_full_scale(loud)
    assert np.abs(scaled).max() == pytest.approx(1)
    assert np.corrcoef(loud, scaled)[0, 1] == pytest.approx(1)
