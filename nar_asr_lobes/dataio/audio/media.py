"""Decoding: an audio file of any format -> pieces of its samples [n, channels].

libsndfile reads WAV, FLAC, Ogg and their like. MP3 it reads to a guessed
length only, and the containers of videos and telephones not at all: FFmpeg's
libraries, which the package av carries, read those.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from nar_asr_lobes.dataio.audio.containers import (
    Part,
    find_samples,
    mp3_frames,
    ogg_parts,
)
from nar_asr_lobes.errors import (
    AudioError,
    audio_error,
    cut_short,
    damaged,
    is_tolerable,
    unreadable,
)

if TYPE_CHECKING:
    import av

_UNKNOWN_LENGTH = 2**62  # libsndfile says 2**63 - 1 frames then
_EXACT_SEEK = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # stateless codecs
_STATED = (
    "mov",
    "matroska",
    "asf",
    "avi",
    "flv",
    "caf",
)  # their lengths are no guess


@dataclass
class Media:
    """An opened audio file.

    Arguments
    ---------
    format : str
        Its container.
    rate, channels : int
        Hz and number, at its beginning.
    frames : int or None
        Samples in each channel; None where only reading to the end tells.
    pieces : iterator of (int, numpy.ndarray)
        Rate and float32 samples [n, channels], in order.
    seek : callable or None
        Goes to a frame, where that is exact.
    """

    format: str
    rate: int
    channels: int
    frames: int | None
    pieces: Iterator[tuple[int, np.ndarray]]
    seek: Callable[[int], int] | None = None


@contextmanager
def open_media(path: str, warnings: list[AudioError]) -> Iterator[Media]:
    """Open a file with the decoder that reads all of it.

    Arguments
    ---------
    path : str
        A file that exists.
    warnings : list of AudioError
        Faults that do not keep it from being used are added, at the latest
        when all pieces were read.

    Raises
    ------
    AudioError
        No decoder reads it, it is cut short or damaged; also while reading.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
            media = _open_soundfile(path, file, warnings, stack)
            yield media or _open_av(path, file, warnings, stack)
        except soundfile.LibsndfileError as error:
            raise unreadable(path, error.error_string.rstrip(".")) from error
        except OSError as error:
            raise unreadable(path, error.strerror or "") from error


class _Sequential(soundfile.SoundFile):
    """A file that is never sought in between two reads.

    The decoders of lossy formats give other samples after a seek.
    """

    def seekable(self) -> bool:
        return False


def _open_soundfile(
    path: str, file, warnings: list[AudioError], stack: ExitStack
) -> Media | None:
    """Open a file that libsndfile reads to its end; None for others."""
    head = file.read(4)
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1] >= 0xE0):
        return None  # MP3, AAC
    parts = ogg_parts(path, file) if head == b"OggS" else []
    if any(streams > 1 for _, _, streams in parts):
        return None
    # As bytes, because a name need not be UTF-8.
    source = path if sys.platform == "win32" else os.fsencode(path)
    try:
        if len(parts) > 1:
            return _open_chain(path, file, parts, stack)
        sound = stack.enter_context(_Sequential(source))
    except soundfile.LibsndfileError:
        return None
    if sound.format == "MP3" or sound.subtype.startswith("MPEG"):
        return None
    samples = find_samples(file)
    if samples and sound.frames == 0:
        sound = _open_streamed(file, samples[0], stack) or sound
    elif samples and samples[1] and sound.frames > 0:
        _check_promise(path, file, samples, sound, warnings)
    known = sound.frames < _UNKNOWN_LENGTH
    return Media(
        sound.format,
        sound.samplerate,
        sound.channels,
        sound.frames if known else None,
        _sound_pieces(path, sound),
        sound.seek if sound.subtype.startswith(_EXACT_SEEK) else None,
    )


def _open_chain(
    path: str, file, parts: list[tuple[int, int, int]], stack: ExitStack
) -> Media:
    """Open Ogg streams that follow each other in one file."""
    sounds = [
        stack.enter_context(_Sequential(Part(file, start, end)))
        for start, end, _ in parts
    ]
    first = sounds[0]
    pieces = (piece for s in sounds for piece in _sound_pieces(path, s))
    return Media(first.format, first.samplerate, first.channels, None, pieces)


def _open_streamed(
    file, start: int, stack: ExitStack
) -> soundfile.SoundFile | None:
    """Open a WAV file whose size was never filled in."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(8)
    complete = int.from_bytes(head[4:], "little") == size - 8
    if size <= start or head[:4] not in (b"RIFF", b"RF64") or complete:
        return None
    ones = b"\xff" * 4
    patches = {0: b"RIFF" + ones, start - 4: ones}
    return stack.enter_context(_Sequential(Part(file, 0, size, patches)))


def _check_promise(
    path: str,
    file,
    samples: tuple[int, int],
    sound: soundfile.SoundFile,
    warnings: list[AudioError],
) -> None:
    """Compare the size in a header with the file's."""
    start, size = samples
    there = file.seek(0, os.SEEK_END) - start
    if there < size:
        seconds = sound.frames / sound.samplerate
        total = seconds * size / max(there, 1)
        _check_missing(path, total - seconds, total, warnings)


def _check_missing(
    path: str, lacking: float, total: float, warnings: list[AudioError]
) -> None:
    detail = f"{lacking:.2f} of {total:.2f} s are missing"
    if not is_tolerable(lacking, total):
        raise cut_short(path, detail)
    warnings.append(
        audio_error(
            path,
            "ends a little before its header says",
            "used as far as it goes",
            detail,
        )
    )


def _sound_pieces(
    path: str, sound: soundfile.SoundFile
) -> Iterator[tuple[int, np.ndarray]]:
    size = piece_frames(sound.samplerate, sound.channels)
    start = sound.tell()
    left = sound.frames - start
    while left > 0:
        # No larger than the samples left: a caller may keep it.
        out = np.empty((min(size, left), sound.channels), np.float32)
        found = sound.read(out=out)
        if not len(found):
            break
        left -= len(found)
        yield sound.samplerate, found
    if 0 < left and sound.frames < _UNKNOWN_LENGTH:
        there = sound.frames - left
        raise cut_short(path, f"{there} of {sound.frames} samples")


def piece_frames(rate: int, channels: int) -> int:
    """Give the size of pieces in frames: 4 s, and at most 16 MiB."""
    return max(1, min(4 * rate, 2**22 // channels))


def _open_av(
    path: str, file, warnings: list[AudioError], stack: ExitStack
) -> Media:
    """Open a file with FFmpeg's libraries."""
    import av  # needed by few runs, and not by every worker

    try:
        container = stack.enter_context(
            # Never a playlist that names files elsewhere.
            av.open(f"file:{path}", options={"protocol_whitelist": "file"})
        )
    except av.error.FFmpegError as error:
        raise unreadable(path, error.strerror) from error
    stream = container.streams.best("audio")
    if stream is None:
        raise unreadable(path, "no audio in it")
    context = stream.codec_context
    if context is None:
        raise unreadable(path, "unknown codec")
    context.thread_count = 1  # data-loader workers share the processors
    kind = container.format.name.split(",")[0]
    stated = _stated_seconds(kind, stream, file)
    return Media(
        kind.upper(),
        context.sample_rate,
        context.channels,
        None,
        _av_pieces(path, container, stream, stated, warnings),
    )


def _stated_seconds(kind: str, stream: av.AudioStream, file) -> float | None:
    """Read the length that a header promises; None where it is a guess."""
    if kind == "mp3":
        frames = mp3_frames(file)
        rate = stream.codec_context.sample_rate
        return frames and frames * (1152 if rate >= 32000 else 576) / rate
    if not kind.startswith(_STATED):
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")
    if len(parts) == 3:
        hours, minutes, seconds = map(float, parts)
        return hours * 3600 + minutes * 60 + seconds
    return None


def _av_pieces(
    path: str,
    container: av.container.InputContainer,
    stream: av.AudioStream,
    stated: float | None,
    warnings: list[AudioError],
) -> Iterator[tuple[int, np.ndarray]]:
    from av.error import FFmpegError

    seconds = packed = 0.0
    size = bad = 0
    tick = float(stream.time_base)
    try:
        for packet in container.demux(stream):
            size += packet.size
            packed += (packet.duration or 0) * tick
            try:
                frames = packet.decode()
            except FFmpegError:
                bad += packet.size
                continue
            for frame in frames:
                seconds += frame.samples / frame.sample_rate
                yield frame.sample_rate, frame_samples(frame)
    except FFmpegError as error:
        raise damaged(path, f"after {seconds:.2f} s") from error
    if bad:
        total = seconds * size / max(size - bad, 1)
        _check_damage(path, total - seconds, total, warnings)
    # Of packets, because the silence that a codec adds is not decoded.
    if stated and not is_tolerable(stated - packed, stated):
        raise cut_short(path, f"{packed:.2f} of {stated:.2f} s")


def _check_damage(
    path: str, lost: float, total: float, warnings: list[AudioError]
) -> None:
    detail = f"about {lost:.2f} of {total:.2f} s"
    if not is_tolerable(lost, total):
        raise damaged(path, detail)
    warnings.append(
        audio_error(
            path, "has a part that is no audio", "used without it", detail
        )
    )


def frame_samples(frame: av.AudioFrame) -> np.ndarray:
    """Give a frame's samples as float32 [n, channels], full scale 1."""
    values = frame.to_ndarray()
    if frame.format.is_planar:
        values = values.T
    else:
        values = values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind == "i":
        scale = np.float32(2.0 ** (8 * values.dtype.itemsize - 1))
        return values.astype(np.float32) / scale
    return values.astype(np.float32, copy=False)
