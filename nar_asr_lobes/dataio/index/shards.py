"""One utterance of a tar shard: a JSON member, then a FLAC member.

    000000007.json    {"id": "1-2-3", "duration": 3.2, "text": "a b"}
    000000007.flac    16 kHz, mono, 16 bits

Every reader of WebDataset shards opens them. The two members of an utterance
lie side by side, so that one read at a known place fetches both.
"""

from __future__ import annotations

import json
import tarfile
from io import BytesIO

import numpy as np
import soundfile

from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.errors import AudioError, audio_error

_BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * _BLOCK)
"""The end of a tar file."""
_COPY = "copy the shard again"
_FULL = 2**15  # of 16-bit samples
encode_json = json.JSONEncoder(ensure_ascii=False).encode


def pack(number: int, record: dict, wav: np.ndarray) -> bytes:
    """Make the members of an utterance.

    Arguments
    ---------
    number : int
        Names the members.
    record : dict
        For the JSON member.
    wav : numpy.ndarray
        float32 at 16 kHz [S]; it is stored with 16 bits.

    Returns
    -------
    bytes
        For the end of a tar file; a whole number of its blocks.

    Example
    -------
    >>> data = pack(7, {"id": "u1"}, np.zeros(1600, dtype=np.float32))
    >>> unpack(data, "a.tar", np.empty(1600, np.float32))
    {'id': 'u1'}
    """
    samples = np.round(wav * _FULL).clip(-_FULL, _FULL - 1).astype(np.int16)
    flac = BytesIO()
    soundfile.write(flac, samples, SAMPLE_RATE, format="FLAC")
    return _member(f"{number:09d}.json", encode_json(record).encode()) + (
        _member(f"{number:09d}.flac", flac.getvalue())
    )


def _member(name: str, data: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    padding = bytes(-len(data) % _BLOCK)
    return header.tobuf(tarfile.USTAR_FORMAT) + data + padding


def unpack(data: bytes, place: str, wav: np.ndarray) -> dict:
    """Take the members of an utterance apart.

    Arguments
    ---------
    data : bytes
        Read at the utterance's place in the shard.
    place : str
        Shard and byte, for messages.
    wav : numpy.ndarray
        float32 [S] for its S samples at 16 kHz; they are written there.

    Returns
    -------
    dict
        That of the JSON member.

    Raises
    ------
    AudioError
        Where they are no such members, or damaged, or of another length.

    Example
    -------
    >>> unpack(b"", "a.tar: byte 512", np.empty(0, np.float32))
    Traceback (most recent call last):
    nar_asr_lobes.errors.AudioError: a.tar: byte 512: holds no utterance; \
copy the shard again
    """
    text, end = _body(data, 0, ".json", place)
    flac, _ = _body(data, end, ".flac", place)
    try:
        record = json.loads(bytes(text))
        if not isinstance(record, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise _no_utterance(place) from None
    _decode(flac, place, wav)
    return record


def unpack_record(data: bytes, place: str) -> dict:
    """Take the JSON member alone."""
    return json.loads(bytes(_body(data, 0, ".json", place)[0]))


def _body(
    data: bytes, start: int, ending: str, place: str
) -> tuple[memoryview, int]:
    """Give the contents of the member at ``start``, and where it ends."""
    try:
        header = tarfile.TarInfo.frombuf(
            data[start : start + _BLOCK], "utf-8", "strict"
        )
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise _no_utterance(place) from None
    first, last = start + _BLOCK, start + _BLOCK + header.size
    is_plain = header.type == tarfile.REGTYPE and header.name.endswith(ending)
    if not is_plain or last > len(data):
        raise _no_utterance(place)
    return memoryview(data)[first:last], last + -last % _BLOCK


def _decode(flac: memoryview, place: str, wav: np.ndarray) -> None:
    try:
        with soundfile.SoundFile(BytesIO(flac)) as file:
            form = (file.format, file.samplerate, file.channels, file.frames)
            complete = len(file.read(out=wav)) == len(wav)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise _damaged(place) from error
    if form != ("FLAC", SAMPLE_RATE, 1, len(wav)) or not complete:
        raise _damaged(place)


def _no_utterance(place: str) -> AudioError:
    return audio_error(place, "holds no utterance", _COPY)


def _damaged(place: str) -> AudioError:
    return audio_error(place, "is damaged", _COPY)
