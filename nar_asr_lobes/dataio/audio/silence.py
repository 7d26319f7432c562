"""Long audio in pieces short enough for the model, cut where it is quiet.

    wav [S] -> loudness of each 10 ms -> mean over 200 ms -> quietest places

Every sample is in exactly one piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE

_MAX_CHUNK_SECONDS = 25.0

_STEP = SAMPLE_RATE // 100  # samples; cuts fall on multiples of it
# A mean over 200 ms tells a pause from the closure of a "t" inside a word.
_HALF_WINDOW = 10  # steps before a cut, and as many behind it


def cut_at_quiet(
    blocks: Iterable[np.ndarray], max_seconds: float = _MAX_CHUNK_SECONDS
) -> Iterator[tuple[int, np.ndarray]]:
    """Cut audio that comes in blocks at its quietest places.

    Arguments
    ---------
    blocks : iterable of numpy.ndarray
        16 kHz samples [n], mono, one behind the other.
    max_seconds : float
        Longest piece, at least 2 s. Pieces are at least a tenth as long.

    Yields
    ------
    (int, numpy.ndarray)
        First sample of a piece and its samples, in order and without gaps; one
        piece where the audio is short enough. The cuts do not depend on the
        blocks.

    Raises
    ------
    ValueError
        For a limit below 2 s.

    Example
    -------
    >>> wav = np.sin(np.arange(5 * SAMPLE_RATE))
    >>> wav[40000:48000] = 0  # a pause from 2.5 s to 3 s
    >>> pieces = cut_at_quiet([wav[:30000], wav[30000:]], max_seconds=4)
    >>> [(start, len(piece)) for start, piece in pieces]
    [(0, 46400), (46400, 33600)]
    """
    if not max_seconds >= 2:
        raise ValueError(f"max_seconds is {max_seconds}; give at least 2")
    longest = int(max_seconds * SAMPLE_RATE)
    start = 0
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block]) if len(held) else block
        # With so much behind the longest piece its end does not matter.
        while len(held) >= longest + longest // 10:
            cut = _quietest(held, longest)
            yield start, held[:cut]
            start, held = start + cut, held[cut:]
    while len(held) > longest:
        cut = _quietest(held, longest)
        yield start, held[:cut]
        start, held = start + cut, held[cut:]
    yield start, held


def _split_at_quiet(
    wav: np.ndarray, max_seconds: float = _MAX_CHUNK_SECONDS
) -> list[tuple[int, int]]:
    """Cut audio at its quietest places."""
    return [
        (start, start + len(piece))
        for start, piece in cut_at_quiet([wav], max_seconds)
    ]


def _quietest(wav: np.ndarray, longest: int) -> int:
    """Find where to end the first piece of audio longer than one."""
    # The remainder shall be more than a snippet of a word.
    high = min(longest, len(wav) - longest // 10) // _STEP
    low = -(-(longest // 2) // _STEP)
    steps = wav[(low - _HALF_WINDOW) * _STEP : (high + _HALF_WINDOW) * _STEP]
    deviations = steps.reshape(-1, _STEP).std(axis=1).astype(np.float64)
    # Added in one order, so that equal places are equal in every block.
    loudness = sum(
        deviations[i : i + high - low + 1] for i in range(2 * _HALF_WINDOW)
    )
    # The latest of equals, so that silence gives few pieces.
    return (high - int(loudness[::-1].argmin())) * _STEP
