"""The signal-to-noise ratio of a recording, estimated from itself.

    samples [S] -> power of each frame of 50 ms
        -> noise: the power that a fifth of the frames stay below
        -> 10 log10((mean power - noise) / noise)

A fifth of the frames are taken for pauses. Steady noise is measured well; noise
with pauses of its own, such as a few voices, is measured too low.
"""

from __future__ import annotations

import math

import numpy as np

from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE

ESTIMATOR = "20 % quantile of the power of 50 ms frames, version 1"
MAX_SNR = 60.0  # dB; also of a recording whose pauses are digital silence
_FRAME = SAMPLE_RATE // 20
_HOP = SAMPLE_RATE // 100
_PAUSES = 0.2
_LEAST_FRAMES = 20


def estimate_snr(wav: np.ndarray) -> float:
    """Estimate the signal-to-noise ratio of a recording.

    Arguments
    ---------
    wav : numpy.ndarray
        Mono samples at 16 kHz, [S].

    Returns
    -------
    float
        In dB, from -60 to 60; NaN for less than 0.25 s and for silence.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.standard_normal(32000)
    >>> speech = 10 * rng.standard_normal(32000) * (np.arange(32000) > 16000)
    >>> round(estimate_snr(noise + speech))  # of 50 times the noise's power
    17
    """
    wav = wav.astype(np.float64)
    if len(wav) < _FRAME + _HOP * (_LEAST_FRAMES - 1):
        return math.nan
    squares = np.concatenate([[0.0], np.cumsum((wav - wav.mean()) ** 2)])
    powers = (squares[_FRAME::_HOP] - squares[:-_FRAME:_HOP]) / _FRAME
    mean, noise = powers.mean(), np.quantile(powers, _PAUSES)
    if not mean > 0:
        return math.nan
    least = 10 ** (-MAX_SNR / 10) * mean
    ratio = max(mean - noise, least) / max(noise, least)
    return float(np.clip(10 * math.log10(ratio), -MAX_SNR, MAX_SNR))
