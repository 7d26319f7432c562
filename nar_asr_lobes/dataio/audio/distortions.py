"""Distortions of speech at 16 kHz: noise at a ratio, speed, clipping.

wav [S] (and noise [S], or a generator for draws) -> float32 [S']
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torchaudio.transforms import Resample

from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE

VOICES = 4  # of babble
_PERIODS = 4  # of the filter in one product; the fastest of 1, 2, 4, 6, 8
_LOWEST = 20.0  # Hz; pink noise has no end, and below nothing is audible


def add_noise(wav: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise [N] to wav [S] at a ratio of the energies of the whole.

    Noise that is shorter is repeated. Silence, in the one or the other, gets
    no noise.

    Example
    -------
    >>> add_noise(np.ones(2, np.float32), np.array([2.0, -2.0]), 0.0)
    array([2., 0.], dtype=float32)
    """
    times, rest = divmod(len(wav), len(noise))
    energy = times * float(noise @ noise) + float(noise[:rest] @ noise[:rest])
    wanted = float(wav @ wav) / 10 ** (snr_db / 10)
    noise = noise * noise.dtype.type(np.sqrt(wanted / (energy + 1e-20)))
    noisy = np.empty(len(wav), np.float32)
    for start in range(0, len(wav), len(noise)):
        part = wav[start : start + len(noise)]
        noisy[start : start + len(noise)] = part + noise[: len(part)]
    return noisy


def within_full_scale(wav: np.ndarray) -> np.ndarray:
    """Scale wav [S] down where it is beyond full scale, instead of clipping.

    Example
    -------
    >>> within_full_scale(np.array([2.0, -1.0]))
    array([ 1. , -0.5])
    """
    return wav / max(1.0, np.abs(wav).max(initial=0.0))


def white_noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Draw Gaussian noise [S] of variance 1."""
    return rng.standard_normal(samples)


def pink_noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Draw noise [S] of variance 1, as strong in each octave from 20 Hz up."""
    spectrum = np.fft.rfft(white_noise(rng, samples))
    hertz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    spectrum[hertz < _LOWEST] = 0.0
    noise = np.fft.irfft(spectrum / np.sqrt(hertz.clip(_LOWEST)), samples)
    return noise / (noise.std() + 1e-20)


def draw_speakers(
    rng: np.random.Generator,
    speakers: Sequence[str],
    own: str,
    count: int = VOICES,
) -> list[int]:
    """Draw utterances of other speakers, each of another one.

    Arguments
    ---------
    rng : numpy.random.Generator
        Of the draw.
    speakers : sequence of str
        Of each utterance.
    own : str
        The speaker who is left out.
    count : int
        Number of utterances; fewer where there are not so many speakers.

    Returns
    -------
    list of int

    Example
    -------
    >>> draw_speakers(np.random.default_rng(0), ["a", "b", "a"], "a")
    [1]
    """
    count = min(count, len({*speakers} - {own}))
    found: dict[str, int] = {}
    for index in rng.permutation(len(speakers)):
        if len(found) == count:
            break
        if speakers[index] != own:
            found.setdefault(speakers[index], int(index))
    return list(found.values())


def babble(
    rng: np.random.Generator, voices: Sequence[np.ndarray], samples: int
) -> np.ndarray:
    """Mix voices, each equally loud, repeated, and begun anywhere, to [S]."""
    mixed = np.zeros(samples)
    for voice in voices:
        turned = np.roll(voice, rng.integers(len(voice))).astype(np.float64)
        voice = np.resize(turned, samples)
        mixed += voice / max(np.sqrt(np.mean(voice**2)), 1e-9)
    return mixed


def change_speed(wav: np.ndarray, speed: float) -> np.ndarray:
    """Play wav [S] faster by ``speed``, which makes it higher, too.

    Example
    -------
    >>> len(change_speed(np.ones(1000, np.float32), 1.25))
    800
    """
    ratio = Fraction(speed).limit_denominator(20)
    if ratio == 1:
        return wav
    before, after = ratio.numerator, ratio.denominator
    taps, reach = _speed_filter(before, after)
    step = before * _PERIODS
    frames = len(wav) // step + 1
    padded = torch.empty((frames - 1) * step + len(taps))
    padded[:reach], padded[reach + len(wav) :] = 0, 0
    padded[reach : reach + len(wav)] = torch.from_numpy(
        np.ascontiguousarray(wav)
    )
    out = padded.unfold(0, len(taps), step) @ taps
    return out.flatten()[: -(-len(wav) * after // before)].numpy()


@lru_cache(maxsize=32)
def _speed_filter(before: int, after: int) -> tuple[torch.Tensor, int]:
    """Give torchaudio's filter for some periods, and its reach in samples.

    As a matrix product [taps, periods * after] it takes less than half the
    time of torchaudio's convolution.
    """
    resample = Resample(before, after, dtype=torch.float32)
    taps = resample.kernel[:, 0].T
    matrix = torch.zeros(len(taps) + before * (_PERIODS - 1), after * _PERIODS)
    for i in range(_PERIODS):
        place = slice(i * before, i * before + len(taps))
        matrix[place, i * after : (i + 1) * after] = taps
    return matrix, resample.width


def clip_samples(wav: np.ndarray, share: float) -> np.ndarray:
    """Amplify wav [S] until a share of its samples is at full scale.

    Example
    -------
    >>> clip_samples(np.array([0.1, -0.2, 0.2, 0.3]), 0.5)
    array([ 0.5, -1. ,  1. ,  1. ])
    """
    level = np.quantile(np.abs(wav), 1 - share)
    return np.clip(wav / level, -1, 1) if level > 0 else wav
