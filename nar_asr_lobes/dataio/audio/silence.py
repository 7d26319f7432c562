"""Silence: cuts of long audio at quiet places, and margins of short clips.

    wav [S] -> loudness of each 10 ms -> mean over 200 ms -> quietest places

Every sample is in exactly one piece.

At 25 Hz a word of 0.3 s has 4 frames and CTC needs one for each character.
A clip below ``SHORTEST`` samples gets silence on both sides up to it, by its
length alone, so that training, evaluation and transcription do the same.
Where the transcript is known and needs still more frames, training adds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE

MAX_PIECE_SECONDS = 25.0

_STEP = SAMPLE_RATE // 100  # samples; cuts fall on multiples of it
# A mean over 200 ms tells a pause from the closure of a "t" inside a word.
_HALF_WINDOW = 10  # steps before a cut, and as many behind it


def cut_at_quiet(
    blocks: Iterable[np.ndarray], max_seconds: float = MAX_PIECE_SECONDS
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
    wav: np.ndarray, max_seconds: float = MAX_PIECE_SECONDS
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


# 16 frames at 25 Hz, which end at the last sample: 21 tokens a second. More
# silence than that makes the learning slower.
SHORTEST = 12280

# CTC frames a second that speech can need; far more is another file's text.
_MAX_FRAME_RATE = 50


def silence_before(samples: int, least: int = SHORTEST) -> int:
    """Count the samples of silence that `with_silence` puts before a clip."""
    return max(0, least - samples) // 2


def with_silence(wav: np.ndarray, least: int = SHORTEST) -> np.ndarray:
    """Put silence before and behind a clip that is too short.

    Arguments
    ---------
    wav : numpy.ndarray
        Samples [S] at 16 kHz.
    least : int
        Samples that the result has at least.

    Returns
    -------
    numpy.ndarray
        The same array where it is long enough. The silence is at the clip's
        mean: a step at its edges would be a click.

    Example
    -------
    >>> with_silence(np.array([1.0, 3.0]), least=5)
    array([2., 1., 3., 2., 2.])
    """
    before = silence_before(len(wav), least)
    behind = max(0, least - len(wav)) - before
    if not behind:
        return wav
    return np.pad(wav, (before, behind), constant_values=wav.mean())


def ctc_frames_needed(tokens: Sequence[int]) -> int:
    """Count the frames CTC needs at least for a target.

    Arguments
    ---------
    tokens : sequence of int
        The target's ids.

    Returns
    -------
    int
        One frame a token, and one blank between equal neighbours.

    Example
    -------
    >>> ctc_frames_needed([5, 5, 7])
    4
    """
    return len(tokens) + sum(a == b for a, b in pairwise(tokens))


def target_fits(needed: int, samples: int, frames: int) -> bool:
    """Tell whether CTC can align a target, silence added where need be.

    Arguments
    ---------
    needed : int
        Frames that the target needs; see `ctc_frames_needed`.
    samples : int
        Samples of the clip at 16 kHz, without silence.
    frames : int
        Frames of the clip with its silence.

    Returns
    -------
    bool
        False for a target that not even the fastest speech could have.

    Example
    -------
    >>> [target_fits(n, samples=16000, frames=21) for n in (21, 50, 51)]
    [True, True, False]
    """
    return needed <= max(frames, _MAX_FRAME_RATE * samples / SAMPLE_RATE)


def least_samples(
    tokens: Sequence[Sequence[int]],
    samples_for: Callable[[int], int] | None = None,
) -> list[int]:
    """Count the samples that each clip needs at least, silence included.

    Arguments
    ---------
    tokens : sequence of sequence of int
        Each clip's target; empty for unlabelled audio.
    samples_for : callable, optional
        Frames -> samples that give them; without it the targets do not count.

    Returns
    -------
    list of int

    Example
    -------
    >>> least_samples([[1, 2], [3] * 20], lambda frames: 2040 + 640 * frames)
    [12280, 27000]
    """
    if samples_for is None:
        return [SHORTEST] * len(tokens)
    needed = [ctc_frames_needed(row) for row in tokens]
    least = {n: max(SHORTEST, samples_for(n)) for n in set(needed)}
    return [least[n] for n in needed]
