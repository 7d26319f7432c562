"""Lengths and faults that containers state, read without decoding.

Decoders pass over them in silence: libsndfile reads a halved WAV or a chained
Ogg file as if nothing were missing.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

from nar_asr_lobes.errors import cut_short, damaged

# First bytes: where the chunks begin, bytes of a name, type of a size, name
# of the samples' chunk, bytes of the chunk's header that its size includes.
_CHUNKS = {
    b"RIFF": (12, 4, "<I", b"data", 0),
    b"RIFX": (12, 4, ">I", b"data", 0),
    b"RF64": (12, 4, "<I", b"data", 0),
    b"FORM": (12, 4, ">I", b"SSND", 0),
    b"riff": (40, 16, "<Q", b"data\xf3\xac\xd3\x11", 24),
}
# Sizes from a writer that cannot seek back: all ones, and sox's own.
_UNKNOWN = (range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000))
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Part(io.RawIOBase):
    """Bytes of a file from one place to another, some of them replaced.

    Arguments
    ---------
    file : binary file
    start, end : int
        First byte and the one behind the last.
    patches : dict of int to bytes
        Replacements, by position in the part.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int,
        end: int,
        patches: dict[int, bytes] | None = None,
    ):
        self._file, self._start, self._size = file, start, end - start
        self._patches = patches or {}
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position in the part."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """Give the position in the part."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer, as far as there are bytes."""
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view)
        for place, content in self._patches.items():
            for at, byte in enumerate(content, place - self._at):
                if 0 <= at < count:
                    view[at] = byte
        self._at += count
        return count


def find_samples(file: BinaryIO) -> tuple[int, int | None] | None:
    """Find the samples of a WAV, RF64, W64, AIFF, AU or SPHERE file.

    Returns
    -------
    None for other files and where they are missing, else a tuple:

    start : int
        First byte of the samples.
    size : int or None
        Bytes of the samples, as the header says; None if it does not know.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] == b".snd" and len(head) == 12:
        start, size = struct.unpack(">II", head[4:])
        return start, _known(size)
    if head.startswith(b"NIST_1A\n"):
        return _find_sphere(file)
    if head[:4] not in _CHUNKS:
        return None
    at, width, kind, wanted, counted = _CHUNKS[head[:4]]
    long_size = None
    while True:
        file.seek(at)
        header = file.read(width + struct.calcsize(kind))
        if len(header) < width + struct.calcsize(kind):
            return None
        (size,) = struct.unpack(kind, header[width:])
        size = max(0, size - counted)
        at += len(header)
        if header.startswith(wanted):
            if long_size is not None and size == 0xFFFFFFFF:
                size = long_size
            return at, _known(size)
        if header[:4] == b"ds64":
            sizes = file.read(16)  # of the file, of the samples
            long_size = int.from_bytes(sizes[8:], "little")
        at += size + -size % (8 if counted else 2)


def _find_sphere(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(0)
    lines = [line.split() for line in file.read(1024).split(b"\n")]
    size = 1
    fields = {line[0]: line[2] for line in lines if len(line) == 3}
    for name in (b"sample_count", b"sample_n_bytes", b"channel_count"):
        if not fields.get(name, b"").isdigit():
            return None
        size *= int(fields[name])
    return int(lines[1][0]), size


def ogg_parts(path: str, file: BinaryIO) -> list[tuple[int, int, int]]:
    """Find the streams that follow each other in an Ogg file.

    Arguments
    ---------
    path : str
        The name for errors.
    file : binary file
        Its bytes.

    Returns
    -------
    list of (int, int, int)
        For each link of the chain its first byte, the one behind its last and
        the number of streams in it that play at the same time.

    Raises
    ------
    AudioError
        Where pages are missing, in the middle or at the end, or broken.
    """
    file.seek(0)
    parts: list[list[int]] = []
    numbers: dict[bytes, tuple[int, int]] = {}  # page and place of a stream
    flags = at = 0
    begins = False  # the last page was a first one
    while True:
        head = file.read(27)
        if flags & 4 and head[:4] != b"OggS":  # a tag or zeros behind the end
            return [(start, end, count) for start, end, count in parts]
        table = file.read(head[26]) if len(head) == 27 else b""
        body = file.read(sum(table))
        if len(head) < 27 or len(table) < head[26] or len(body) < sum(table):
            raise cut_short(path, "its last page is missing")
        page = head[:22] + bytes(4) + head[26:] + table + body
        if head[:4] != b"OggS" or _ogg_crc(page) != head[22:26]:
            raise damaged(path, f"at byte {at}")
        flags, granule, serial, number = struct.unpack("<Bq4sI", head[5:22])
        if flags & 2:
            if not begins:
                parts.append([at, at, 0])
            parts[-1][2] += 1
        elif not parts:
            raise damaged(path, "its first page is missing")
        else:
            before, place = numbers.get(serial, (number - 1, 0))
            # Recorders of a broadcast skip pages behind those of the header.
            if number != before + 1 and place > 0:
                raise damaged(path, f"pages are missing at byte {at}")
        numbers[serial] = number, granule
        begins = bool(flags & 2)
        at += len(page)
        parts[-1][1] = at


def mp3_frames(file: BinaryIO) -> int | None:
    """Give the number of frames that an MP3 file's Xing header states."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3":
        size = sum(
            (byte & 127) << shift
            for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
        start = 10 + size
    file.seek(start)
    frame = file.read(2000)
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        if at >= 0 and len(frame) >= at + 12 and frame[at + 7] & 1:
            return int.from_bytes(frame[at + 8 : at + 12], "big")
    return None


def _known(size: int) -> int | None:
    if size == 0 or size > 2**62 or any(size in sizes for sizes in _UNKNOWN):
        return None
    return size


def _ogg_crc(page: bytes) -> bytes:
    """Compute Ogg's check sum: zlib's with bits reversed and without ones."""
    ones = 0xFFFFFFFF
    crc = zlib.crc32(page.translate(_REVERSED), ones) ^ ones
    return crc.to_bytes(4, "big").translate(_REVERSED)
