"""Reading audio: any common file -> float32 [S], mono, 16 kHz.

    file -> soundfile -> check -> mean over channels -> resample -> wav [S]

The header is checked before anything is allocated, because a damaged one can
claim terabytes; and files that end early are refused, because libsndfile
reads a halved WAV or Opus file without a word.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

import numpy as np
import soundfile
import torch
import torchaudio

from nar_asr_lobes.errors import UserError

SAMPLE_RATE = 16000  # Hz, of everything behind `read_audio`
MAX_SECONDS = 3600.0
MAX_AMPLITUDE = 8.0  # full scale is 1; beyond 8 the file is damaged

_RATES = (1000, 768000)  # Hz; outside, the header is damaged
_RATE_STEP = 25  # Hz; keeps the resampling filter small
_MAX_SAMPLES = 2**29  # over all channels: 2 GiB while the file is read
_OGG_PAGE = 65307  # bytes, the largest page the format allows
_STREAMED = 0x7FFF0000  # WAV writers that stream put a size above this
_UNKNOWN_LENGTH = 2**62  # libsndfile says 2**63 - 1 frames then


class AudioError(UserError):
    """An audio file that cannot be used.

    Arguments
    ---------
    message : str
        The whole sentence.
    problem : str
        What is wrong, the same words for every file with this fault.
    remedy : str
        What the user can do.

    Example
    -------
    >>> audio_error("a.wav", "holds no samples", "leave it out").problem
    'holds no samples'
    """

    # Optional, because data-loader workers rebuild an error from its message.
    def __init__(self, message: str, problem: str = "", remedy: str = ""):
        super().__init__(message)
        self.problem = problem
        self.remedy = remedy


def audio_error(
    path: str | os.PathLike, problem: str, remedy: str, detail: str = ""
) -> AudioError:
    """Make the error for one file.

    Arguments
    ---------
    path : str or path
        The file.
    problem : str
        What is wrong, in words that do not depend on the file.
    remedy : str
        What to do.
    detail : str
        What holds for this file only, such as its length.

    Returns
    -------
    AudioError

    Example
    -------
    >>> print(audio_error("a.wav", "is too long", "cut it", "2 h"))
    a.wav: is too long (2 h); cut it
    """
    inside = f" ({detail})" if detail else ""
    return AudioError(f"{path}: {problem}{inside}; {remedy}", problem, remedy)


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says.

    Arguments
    ---------
    frames : int
        Samples in each channel.
    sample_rate : int
        Hz.
    channels : int
    format : str
        Container, as libsndfile names it ("WAV", "FLAC", "OGG", "MP3", …).

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
    >>> check_file("no.wav")
    Traceback (most recent call last):
    nar_asr_lobes.dataio.audio.AudioError: no.wav: is missing; check the path
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
    """Read and check the header of an audio file, without its samples.

    Arguments
    ---------
    path : str or path
        The file.
    max_seconds : float
        Longest length accepted.

    Returns
    -------
    AudioInfo

    Raises
    ------
    AudioError
        Missing, empty, unreadable, cut short (WAV, Ogg) or too long.

    Example
    -------
    >>> import tempfile
    >>> file = tempfile.mkdtemp() + "/a.wav"
    >>> soundfile.write(file, np.zeros(800), 8000)
    >>> audio_info(file).seconds
    0.1
    """
    path = os.fspath(path)
    size = check_file(path)
    if os.fsencode(path).lower().endswith(b".raw"):  # soundfile trusts names
        raise audio_error(path, "has no header", "convert it to WAV")
    try:
        _refuse_cut_container(path, size)
        found = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise _unreadable(path, error) from error
    info = AudioInfo(
        found.frames, found.samplerate, found.channels, found.format
    )
    _check_header(path, info, max_seconds)
    return info


def read_audio(
    path: str | os.PathLike, max_seconds: float = MAX_SECONDS
) -> np.ndarray:
    """Read an audio file as mono speech at 16 kHz.

    Arguments
    ---------
    path : str or path
        WAV, FLAC, MP3, Ogg (Vorbis, Opus) or whatever else libsndfile reads,
        at any rate, with any number of channels, which are averaged.
    max_seconds : float
        Longest length accepted; the header is asked before any allocation.

    Returns
    -------
    numpy.ndarray
        float32 [S], S = ceil(seconds * 16000).

    Raises
    ------
    AudioError
        Missing, empty, unreadable, cut short, longer than `max_seconds`, or
        with samples that are not finite or beyond 8 times full scale.

    Example
    -------
    >>> import tempfile
    >>> file = tempfile.mkdtemp() + "/a.wav"
    >>> soundfile.write(file, np.zeros((800, 2)), 8000)
    >>> wav = read_audio(file)
    >>> wav.shape, wav.dtype
    ((1600,), dtype('float32'))
    """
    path = os.fspath(path)
    info = audio_info(path, max_seconds)
    try:
        wav = _read_mono(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise _unreadable(path, error) from error
    if len(wav) < info.frames:
        raise _cut_short(path, f"{len(wav)} of {info.frames} samples")
    return _resample(wav, info.sample_rate)


def _check_header(path: str, info: AudioInfo, max_seconds: float) -> None:
    if info.frames <= 0:
        raise audio_error(path, "holds no samples", "leave it out")
    low, high = _RATES
    if not low <= info.sample_rate <= high:
        raise audio_error(
            path,
            f"has a sample rate outside {low} to {high} Hz",
            "convert it to 16 kHz",
            f"{info.sample_rate} Hz",
        )
    if info.frames >= _UNKNOWN_LENGTH:
        raise audio_error(
            path, "does not say how long it is", "convert it again"
        )
    if info.seconds > max_seconds:
        raise audio_error(
            path,
            f"is longer than the limit of {max_seconds:g} s",
            "cut it into shorter pieces or raise the limit",
            f"{info.seconds:.1f} s",
        )
    if info.frames * info.channels > _MAX_SAMPLES:
        raise audio_error(
            path,
            f"has more than {_MAX_SAMPLES} samples over all channels",
            "mix it down to mono or cut it into shorter pieces",
            f"{info.channels} channels of {info.seconds:.1f} s",
        )


def _read_mono(path: str) -> np.ndarray:
    # In one piece: soundfile seeks between two reads, and the decoders of
    # lossy formats give other samples after a seek.
    wav, _ = soundfile.read(path, dtype="float32", always_2d=True)
    if len(wav):
        _check_samples(path, wav)
    return wav[:, 0] if wav.shape[1] == 1 else wav.mean(axis=1)


def _check_samples(path: str, wav: np.ndarray) -> None:
    # Before the channels are averaged: +30 and -30 would cancel.
    peak = max(wav.max(), -wav.min())
    if not np.isfinite(peak):
        raise audio_error(
            path,
            "has samples that are not finite numbers (NaN or infinite)",
            "export it again or leave it out",
        )
    if peak > MAX_AMPLITUDE:
        raise audio_error(
            path,
            f"has samples beyond {MAX_AMPLITUDE:g} times full scale",
            "scale it to the range -1 to 1 or leave it out",
            f"peak {peak:.3g}",
        )


def _resample(wav: np.ndarray, rate: int) -> np.ndarray:
    # An odd rate such as 11127 Hz would need a filter of gigabytes; taken for
    # the next multiple of 25 Hz, its speed changes by at most 1.3 % (0.2 % from
    # 6.3 kHz up). All usual rates are such multiples.
    rate = round(rate / _RATE_STEP) * _RATE_STEP
    if rate == SAMPLE_RATE:
        return wav
    out = torchaudio.functional.resample(
        torch.from_numpy(wav), rate, SAMPLE_RATE
    )
    return out.numpy()


def _unreadable(path: str, error: Exception) -> AudioError:
    if isinstance(error, soundfile.LibsndfileError):
        detail = error.error_string.rstrip(".")
    else:
        detail = error.strerror
    return audio_error(
        path, "cannot be read as audio", "replace it or leave it out", detail
    )


def _cut_short(path: str, detail: str) -> AudioError:
    return audio_error(path, "is cut short", "copy it again", detail)


def _refuse_cut_container(path: str, size: int) -> None:
    """Refuse WAV and Ogg files whose end is missing."""
    with open(path, "rb") as file:
        head = file.read(12)
        file.seek(max(0, size - _OGG_PAGE))
        tail = file.read()
    if head[:4] == b"RIFF" and len(head) == 12:
        stated = struct.unpack("<I", head[4:8])[0]
        # Some writers count the 8 bytes before the size as well.
        if size < stated < _STREAMED:
            raise _cut_short(path, f"{size} of {stated + 8} bytes")
    if head[:4] == b"OggS":
        if not _ends_ogg(tail):
            raise _cut_short(path, "its last page is missing")


def _ends_ogg(tail: bytes) -> bool:
    """Say whether the last page is whole and marked as the last one."""
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27 or not page[5] & 4:
        return False
    table = page[27 : 27 + page[26]]  # lengths of the page's segments
    return len(page) >= 27 + page[26] + sum(table)
