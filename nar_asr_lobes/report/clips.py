"""Audio of the worst utterances, with spectrograms, for the page."""

from __future__ import annotations

import base64
import io

import numpy as np
import soundfile

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.errors import AudioError
from nar_asr_lobes.report.contents import Clip, EvaluationSet, Row

MAX_SECONDS = 1800.0  # of the audio in a report: about 15 MB
_WINDOW, _HOP = 512, 320  # samples: 50 frames a second
_POOLED = 4  # neighbours of the spectrum that make a band
_RANGE_DB = 70.0  # below the loudest


def add_clips(sets: list[EvaluationSet], count: int) -> None:
    """Put the audio of the worst utterances into their rows.

    Arguments
    ---------
    sets : list of EvaluationSet
        Get the clips, and a note on the audio that is left out.
    count : int
        Utterances of each set, at most: those with the highest error rates in
        its best system.
    """
    seconds = 0.0
    for found in sets:
        skipped: dict[str, int] = {}
        for row in _worst(found, count):
            try:
                row.clip = make_clip(row, MAX_SECONDS - seconds)
                seconds += row.clip.seconds
            except AudioError as error:
                skipped[error.problem] = skipped.get(error.problem, 0) + 1
        found.notes += [
            f"Audio of {number} utterances is left out: {problem}."
            for problem, number in skipped.items()
        ]


def _worst(found: EvaluationSet, count: int) -> list[Row]:
    """The highest error rates first, then the most errors."""
    counts = found.systems[found.best].counts
    keys = [
        (-sum(errors) / max(words, 1), -sum(errors), index)
        for index, (words, *errors) in enumerate(counts)
    ]
    return [found.rows[index] for *_, index in sorted(keys)[:count]]


def make_clip(row: Row, most_seconds: float = MAX_SECONDS) -> Clip:
    """Read and compress the audio of an utterance; compute its spectrogram.

    Raises AudioError where its audio is not known, unusable or too long.
    """
    utterance = row.utterance
    if utterance is None:
        raise AudioError(row.id, "the references name no audio file")
    wav = read_audio(utterance.audio, **utterance.stretch)
    seconds = len(wav) / SAMPLE_RATE
    if seconds > most_seconds:
        raise AudioError(
            row.id, f"it is more than {MAX_SECONDS / 60:.0f} minutes in all"
        )
    file = io.BytesIO()
    soundfile.write(file, wav, SAMPLE_RATE, format="MP3")
    audio = _base64(file.getvalue())
    levels = spectrogram(wav)
    return Clip(
        f"data:audio/mpeg;base64,{audio}",
        _base64(levels.tobytes()),
        levels.shape[1],
        seconds,
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def spectrogram(wav: np.ndarray) -> np.ndarray:
    """Compute levels of frames and bands.

    Arguments
    ---------
    wav : numpy.ndarray
        Samples [S] at 16 kHz.

    Returns
    -------
    numpy.ndarray
        uint8 [T, B], from 0 (70 dB below the loudest or less) to 255; a frame
        every 20 ms, 64 bands from 0 to 8 kHz.

    Example
    -------
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    >>> levels = spectrogram(tone)
    >>> levels.shape, int(levels[25].argmax())
    ((50, 64), 8)
    """
    frames = -(-len(wav) // _HOP)
    padded = np.zeros((frames - 1) * _HOP + _WINDOW, dtype=np.float32)
    middle = (_WINDOW - _HOP) // 2  # a frame stands over the middle of its hop
    kept = wav[: len(padded) - middle]
    padded[middle : middle + len(kept)] = kept
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW))) ** 2
    bands = power[:, :-1].reshape(frames, -1, _POOLED).mean(axis=2)
    loudest = max(bands.max(), 1e-12)
    decibels = 10 * np.log10(np.maximum(bands / loudest, 1e-12))
    return np.rint(255 * np.clip(1 + decibels / _RANGE_DB, 0, 1)).astype(
        np.uint8
    )
