"""Reading audio: any common file -> float32 [S], mono, 16 kHz.

    file -> decoder -> check -> one channel -> resample -> blocks -> wav [S]

Nothing is allocated by the length in a header, because a damaged one can claim
terabytes; and files that end early are refused, because decoders read a halved
file without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from nar_asr_lobes.dataio.audio.media import Media, open_media, piece_frames
from nar_asr_lobes.dataio.audio.waveform import (
    SAMPLE_RATE,
    join_to,
    mix,
    rate_ratio,
    resample_blocks,
)
from nar_asr_lobes.errors import AudioError, audio_error

MAX_SECONDS = 3600.0
_MAX_AMPLITUDE = 8.0  # full scale is 1; beyond 8 the file is damaged

_RATES = (1000, 768000)  # Hz; outside, the header is damaged
_EDGE = SAMPLE_RATE // 100  # samples at a cut that the resampling changes
_SILENT = 2.0**-16  # half a step of 16-bit samples
_FULL = 0.999  # of full scale; two such samples in a row are clipped
_OPPOSITE = "has channels of opposite phase"


@dataclass(frozen=True)
class AudioInfo:
    """Length and form of an audio file.

    Arguments
    ---------
    frames : int
        Samples in each channel.
    sample_rate : int
        Hz.
    channels : int
    format : str
        Container: "WAV", "FLAC", "OGG", "MP3", …

    Example
    -------
    >>> AudioInfo(8000, 16000, 1, "WAV").seconds
    0.5
    """

    frames: int
    sample_rate: int
    channels: int
    format: str

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def check_file(path: str | os.PathLike) -> int:
    """Check that a file is there and not empty, without opening it.

    Arguments
    ---------
    path : str or path
        The file.

    Returns
    -------
    int
        Its size in bytes.

    Raises
    ------
    AudioError
        Missing, not a file, or empty.

    Example
    -------
    >>> try:
    ...     check_file("no.wav")
    ... except AudioError as error:
    ...     print(error)
    no.wav: is missing; check the path
    """
    if os.path.isdir(path):
        raise audio_error(path, "is a folder", "name the files in it")
    if not os.path.isfile(path):
        raise audio_error(path, "is missing", "check the path")
    size = os.path.getsize(path)
    if size == 0:
        raise audio_error(path, "is empty (0 bytes)", "leave it out")
    return size


def audio_info(
    path: str | os.PathLike, max_seconds: float = MAX_SECONDS
) -> AudioInfo:
    """Measure an audio file.

    Arguments
    ---------
    path : str or path
        The file. WAV, FLAC and Ogg files state their length; of others, such
        as MP3, it is known when they are decoded.
    max_seconds : float
        Longest length accepted.

    Returns
    -------
    AudioInfo

    Raises
    ------
    AudioError
        Missing, empty, unreadable, cut short or too long.

    Example
    -------
    >>> import soundfile, tempfile
    >>> file = tempfile.mkdtemp() + "/a.wav"
    >>> soundfile.write(file, np.zeros(800), 8000)
    >>> audio_info(file).seconds
    0.1
    """
    path = _checked(path)
    with open_media(path, []) as media:
        _check_header(path, media, 0.0, max_seconds)
        frames = media.frames
        if frames is None:
            seconds = 0.0
            for rate, piece in media.pieces:
                seconds += len(piece) / rate
                _check_limit(path, seconds, max_seconds)
            frames = round(seconds * media.rate)
        if frames == 0:
            raise _no_samples(path)
        return AudioInfo(frames, media.rate, media.channels, media.format)


class AudioStream:
    """An audio file as blocks of mono speech at 16 kHz, to be read once.

    Arguments
    ---------
    path : str or path
        Any format, rate and number of channels. The channels are averaged,
        or, where they cancel each other, the loudest is taken.
    max_seconds : float
        Longest length accepted of the part that is read.
    start : float
        Seconds of the file to pass over.
    seconds : float or None
        How much to read; None for all. A stretch beyond the end is shorter.

    Attributes
    ----------
    warnings : list of AudioError
        After reading: faults of the file that did not keep it from being used.
    is_constant : bool
        After reading: whether all samples are equal, as in digital silence.
    sample_rate : int
        After reading: that of the file, in Hz.
    clipped : int
        After reading: samples in a row at full scale, of any channel.

    Raises
    ------
    AudioError
        When read: missing, empty, unreadable, cut short, damaged, longer than
        `max_seconds`, or with samples that are not finite or beyond 8 times
        full scale.

    Example
    -------
    >>> import soundfile, tempfile
    >>> file = tempfile.mkdtemp() + "/a.wav"
    >>> soundfile.write(file, np.zeros((48000, 2)), 8000)
    >>> stream = AudioStream(file, start=0.5, seconds=5)
    >>> sum(len(block) for block in stream), stream.is_constant
    (80000, True)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        max_seconds: float = MAX_SECONDS,
        start: float = 0.0,
        seconds: float | None = None,
    ):
        self.path = os.fspath(path)
        self.max_seconds = max_seconds
        self.start = round(start * SAMPLE_RATE)
        self.end = None
        if seconds is not None:
            self.end = self.start + round(seconds * SAMPLE_RATE)
        self.warnings: list[AudioError] = []
        self.sample_rate = 0
        self.clipped = 0
        self._low, self._high = np.inf, -np.inf

    @property
    def is_constant(self) -> bool:
        """Whether all samples are equal."""
        return bool(self._high - self._low < _SILENT)

    def __iter__(self) -> Iterator[np.ndarray]:
        path = self.path
        count = 0
        with self._open() as media:
            if self.end is None:
                skipped = self.start / SAMPLE_RATE
                _check_header(path, media, skipped, self.max_seconds)
            else:
                _check_header(path, media, 0.0, np.inf)
            position = self._seek(media)
            for block in self._mono(media):
                first, position = position, position + len(block)
                block = block[
                    max(0, self.start - first) : self.end and self.end - first
                ]
                count += len(block)
                _check_limit(path, count / SAMPLE_RATE, self.max_seconds)
                if len(block):
                    yield block
                if self.end is not None and position >= self.end:
                    break
        if not count:
            raise _no_samples(path)

    def _open(self) -> AbstractContextManager[Media]:
        return open_media(_checked(self.path), self.warnings)

    def _seek(self, media: Media) -> int:
        """Go near the start; return the first sample at 16 kHz behind it."""
        if media.seek is None or self.start <= _EDGE:
            return 0
        before, after = rate_ratio(media.rate)
        frames = _segment_frames(media.rate, media.channels)
        samples = frames // before * after
        segments = (self.start - _EDGE) // samples
        if segments * frames >= media.frames:
            raise _no_samples(self.path)
        media.seek(segments * frames)
        return segments * samples

    def _mono(self, media: Media) -> Iterator[np.ndarray]:
        # A file of several recordings can change its rate and its channels.
        for (rate, channels), group in groupby(
            media.pieces, lambda piece: (piece[0], piece[1].shape[1])
        ):
            _check_rate(self.path, rate)
            self.sample_rate = rate
            pieces = (wav for _, wav in group)
            segments = join_to(pieces, _segment_frames(rate, channels))
            yield from resample_blocks(map(self._mix, segments), rate)

    def _mix(self, wav: np.ndarray) -> np.ndarray:
        if _check_samples(self.path, wav) >= _FULL:
            full = np.abs(wav) >= _FULL
            self.clipped += int(np.count_nonzero(full[1:] & full[:-1]))
        mono, cancelled = mix(wav)
        self._low = min(self._low, mono.min())
        self._high = max(self._high, mono.max())
        if cancelled and not any(w.problem == _OPPOSITE for w in self.warnings):
            self.warnings.append(
                audio_error(
                    self.path,
                    _OPPOSITE,
                    "the loudest channel is used instead of their mean",
                )
            )
        return mono


def audio_blocks(
    path: str | os.PathLike, max_seconds: float = MAX_SECONDS
) -> Iterator[np.ndarray]:
    """Read an audio file in blocks, however long it is.

    Arguments
    ---------
    path : str or path
        As `read_audio` takes it.
    max_seconds : float
        Longest length accepted.

    Yields
    ------
    numpy.ndarray
        float32, mono, 16 kHz, a few seconds; joined, they equal
        the result of `read_audio`.

    Raises
    ------
    AudioError
        As `read_audio` does, at the latest at the end of the file.

    Example
    -------
    >>> import soundfile, tempfile
    >>> file = tempfile.mkdtemp() + "/a.wav"
    >>> soundfile.write(file, np.zeros(80000), 8000)
    >>> sum(len(block) for block in audio_blocks(file))
    160000
    """
    yield from AudioStream(path, max_seconds)


def read_audio(
    path: str | os.PathLike,
    max_seconds: float = MAX_SECONDS,
    start: float = 0.0,
    seconds: float | None = None,
) -> np.ndarray:
    """Read an audio file as mono speech at 16 kHz.

    Arguments
    ---------
    path : str or path
        WAV, FLAC, MP3, Ogg (Vorbis, Opus), or whatever else libsndfile or
        FFmpeg's libraries read, video included, at any rate, with any number
        of channels. They are averaged, or, where they cancel each other, the
        loudest is taken.
    max_seconds : float
        Longest length accepted of the part that is read.
    start : float
        Seconds of the file to pass over.
    seconds : float or None
        How much to read; None for all. A stretch beyond the end is shorter.

    Returns
    -------
    numpy.ndarray
        float32 [S], S = ceil(seconds * 16000).

    Raises
    ------
    AudioError
        Missing, empty, unreadable, cut short, damaged, longer than
        `max_seconds`, or with samples that are not finite or beyond 8 times
        full scale.

    Example
    -------
    >>> import soundfile, tempfile
    >>> file = tempfile.mkdtemp() + "/a.wav"
    >>> soundfile.write(file, np.zeros((800, 2)), 8000)
    >>> wav = read_audio(file)
    >>> wav.shape, wav.dtype
    ((1600,), dtype('float32'))
    """
    blocks = list(AudioStream(path, max_seconds, start, seconds))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _checked(path: str | os.PathLike) -> str:
    check_file(path)
    path = os.fspath(path)
    if os.fsencode(path).lower().endswith(b".raw"):  # soundfile trusts names
        raise audio_error(path, "has no header", "convert it to WAV")
    return path


def _check_header(
    path: str, media: Media, skipped: float, max_seconds: float
) -> None:
    _check_rate(path, media.rate)
    if media.frames is not None:
        seconds = media.frames / media.rate - skipped
        _check_limit(path, seconds, max_seconds)


def _check_rate(path: str, rate: int) -> None:
    low, high = _RATES
    if not low <= rate <= high:
        raise audio_error(
            path,
            f"has a sample rate outside {low} to {high} Hz",
            "convert it to 16 kHz",
            f"{rate} Hz",
        )


def _check_limit(path: str, seconds: float, max_seconds: float) -> None:
    # At 16 kHz a file can be part of a sample longer than before.
    if seconds > max_seconds + 1 / SAMPLE_RATE:
        raise audio_error(
            path,
            f"is longer than the limit of {max_seconds:g} s",
            "cut it into shorter pieces or raise the limit",
            f"{seconds:.1f} s",
        )


def _check_samples(path: str, wav: np.ndarray) -> float:
    """Return the peak."""
    # Before the channels are averaged: +30 and -30 would cancel.
    peak = max(wav.max(), -wav.min())
    if not np.isfinite(peak):
        raise audio_error(
            path,
            "has samples that are not finite numbers (NaN or infinite)",
            "export it again or leave it out",
        )
    if peak > _MAX_AMPLITUDE:
        raise audio_error(
            path,
            f"has samples beyond {_MAX_AMPLITUDE:g} times full scale",
            "scale it to the range -1 to 1 or leave it out",
            f"peak {peak:.3g}",
        )
    return peak


def _segment_frames(rate: int, channels: int) -> int:
    """Round the size of pieces to whole periods of the resampling."""
    before, _ = rate_ratio(rate)
    return max(1, piece_frames(rate, channels) // before) * before


def _no_samples(path: str) -> AudioError:
    return audio_error(path, "holds no samples", "leave it out")
