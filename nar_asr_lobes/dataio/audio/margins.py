"""Silence around clips that are too short for the encoder's frames.

At 25 Hz a word of 0.3 s has 4 frames and CTC needs one for each character.
A clip below ``SHORTEST`` samples gets silence on both sides up to it, by its
length alone, so that training, evaluation and transcription do the same.
Where the transcript is known and needs still more frames, training adds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE

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
