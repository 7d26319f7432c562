"""Reverberation of shoebox rooms by the image method (Allen and Berkley, 1979).

    size, RT60, place -> response [R] -> convolution with wav [S] -> [S]

The reflection coefficient is negative, as Lehmann and Johansson (2008) propose:
with a positive one the late images add up to a slow swell. It is fitted until
the energy of the response decays as fast as asked for.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.signal import fftconvolve

from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE

_METRES_A_SECOND = 343.0
_WALL = 0.5  # metres between a wall and the mouth or the microphone
_DISTANCES = (1.0, 2.0)  # metres from mouth to microphone
_FITS = 4
_Size = tuple[float, float, float]


@lru_cache(maxsize=64)
def room_response(size: _Size, seconds: float, place: int) -> np.ndarray:
    """Compute the impulse response of a room.

    Arguments
    ---------
    size : tuple of float
        Length, width and height in metres.
    seconds : float
        Time in which the energy falls by 60 dB (RT60).
    place : int
        Seed of the positions of mouth and microphone.

    Returns
    -------
    numpy.ndarray
        float64 [R]; the direct sound, of amplitude 1, is its first sample.

    Example
    -------
    >>> response = room_response((5.0, 4.0, 2.7), 0.3, place=1)
    >>> float(response[0]), round(_decay_seconds(response), 2)
    (1.0, 0.3)
    """
    delays, hits, metres = _images(size, seconds, place)
    reflection = 0.9
    for _ in range(_FITS):
        kept = (-reflection) ** np.arange(hits.max() + 1)
        response = np.bincount(delays, kept[hits] / metres)
        reflection **= _decay_seconds(response) / seconds
    direct = delays.min()
    return response[direct:] / response[direct]


def _images(
    size: _Size, seconds: float, place: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give delay in samples, reflections and metres of each image."""
    reach = _METRES_A_SECOND * seconds
    squares, hits = np.zeros(1), np.zeros(1, dtype=int)
    for length, *ends in zip(size, *_positions(size, place), strict=True):
        mouth, microphone = ends
        count = math.ceil(reach / length) + 1
        mirrors = np.arange(-count, count + 1)
        source = np.where(mirrors % 2, length - mouth, mouth)
        offsets = mirrors * length + source - microphone
        squares = np.add.outer(squares, offsets**2).ravel()
        hits = np.add.outer(hits, np.abs(mirrors)).ravel()
        near = squares < reach**2
        squares, hits = squares[near], hits[near]
    metres = np.sqrt(squares)
    delays = np.rint(metres / _METRES_A_SECOND * SAMPLE_RATE).astype(int)
    return delays, hits, metres


def _positions(size: _Size, place: int) -> np.ndarray:
    """Draw where the mouth and the microphone are, [2, 3]."""
    rng = np.random.default_rng(place)
    while True:
        ends = _WALL + (np.array(size) - 2 * _WALL) * rng.random((2, 3))
        if _DISTANCES[0] <= np.linalg.norm(ends[0] - ends[1]) <= _DISTANCES[1]:
            return ends


def _decay_seconds(response: np.ndarray) -> float:
    """Extend the decay from -5 to -35 dB to 60 dB; Schroeder's method."""
    energy = np.cumsum(np.square(response[::-1]))[::-1] / np.sum(response**2)
    start, end = (np.argmax(energy < 10**level) for level in (-0.5, -3.5))
    return 2 * float(end - start) / SAMPLE_RATE


def reverberate(wav: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve wav [S] with a response [R]; as long and as loud as before.

    Example
    -------
    >>> wet = reverberate(np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0]))
    >>> wet.round(4).tolist()
    [0.7071, 0.0, 0.7071]
    """
    wet = fftconvolve(wav, response)[: len(wav)]
    power = np.mean(np.square(wet)) + 1e-20
    return wet * np.sqrt(np.mean(np.square(wav, dtype=np.float64)) / power)
