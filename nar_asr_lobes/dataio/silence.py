"""Long audio in pieces short enough for the model, cut where it is quiet.

    wav [S] -> loudness of each 10 ms -> mean over 200 ms -> quietest places

Every sample is in exactly one piece.
"""

from __future__ import annotations

import numpy as np

from nar_asr_lobes.dataio.audio import SAMPLE_RATE

MAX_CHUNK_SECONDS = 25.0

_STEP = SAMPLE_RATE // 100  # samples; cuts fall on multiples of it
# A mean over 200 ms tells a pause from the closure of a "t" inside a word.
_HALF_WINDOW = 10  # steps before a cut, and as many behind it


def split_at_quiet(
    wav: np.ndarray, max_seconds: float = MAX_CHUNK_SECONDS
) -> list[tuple[int, int]]:
    """Cut audio at its quietest places.

    Arguments
    ---------
    wav : numpy.ndarray
        16 kHz samples [S], mono.
    max_seconds : float
        Longest piece, at least 2 s. Pieces are at least a tenth as long.

    Returns
    -------
    list of (int, int)
        First sample of each piece and the first one behind it, in order and
        without gaps; one piece where the audio is short enough.

    Raises
    ------
    ValueError
        For a limit below 2 s.

    Example
    -------
    >>> wav = np.sin(np.arange(5 * SAMPLE_RATE))
    >>> wav[40000:48000] = 0  # a pause from 2.5 s to 3 s
    >>> split_at_quiet(wav, max_seconds=4)
    [(0, 46400), (46400, 80000)]
    """
    if not max_seconds >= 2:
        raise ValueError(f"max_seconds is {max_seconds}; give at least 2")
    longest = int(max_seconds * SAMPLE_RATE)
    cuts = [0]
    if len(wav) > longest:
        loudness = _loudness(wav)
    while len(wav) - cuts[-1] > longest:
        low = cuts[-1] + longest // 2
        # What is left over shall be more than a snippet of a word.
        high = min(cuts[-1] + longest, len(wav) - longest // 10)
        low, high = -(-low // _STEP), high // _STEP
        # The latest of equals, so that silence gives few pieces.
        quietest = high - int(loudness[low : high + 1][::-1].argmin())
        cuts.append(quietest * _STEP)
    cuts.append(len(wav))
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def _loudness(wav: np.ndarray) -> np.ndarray:
    """Mean deviation around each multiple of the step [S // step + 1]."""
    whole = len(wav) // _STEP
    steps = wav[: whole * _STEP].reshape(whole, _STEP).std(axis=1)
    padded = np.pad(steps.astype(np.float64), _HALF_WINDOW, mode="edge")
    total = np.concatenate(([0.0], padded.cumsum()))
    return total[2 * _HALF_WINDOW :] - total[: -2 * _HALF_WINDOW]
