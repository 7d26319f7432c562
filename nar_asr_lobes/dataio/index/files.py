"""The files of an index: in a folder, or at a URL that fsspec reads.

    s3://bucket/index, hf://…, https://…    each needs its fsspec package

Small files of a URL are copied to the disk of the machine, shards are not.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from nar_asr_lobes.errors import UserError, audio_error
from nar_asr_lobes.storage import atomic_write

_MANY_FILES = 65536  # open at once, where the system allows it
_FREE_FILES = 128  # of these are left to the rest of the process


class IndexFiles(Protocol):
    """Where the files of an index are."""

    def local(self, name: str) -> Path:
        """Give a path to a small file on this machine's disks."""

    def size(self, name: str) -> int | None:
        """Give the bytes of a file; None where it is missing."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Read a part of a file; an ``AudioError`` where that fails."""


def open_files(place: str | os.PathLike) -> IndexFiles:
    """Open a folder or a URL.

    Example
    -------
    >>> open_files("/no").size("a.tar") is None
    True
    """
    if "://" in os.fspath(place):
        return _RemoteFiles(os.fspath(place))
    return _LocalFiles(place)


class _LocalFiles:
    """Reads from files that stay open, as far as the system allows."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self._open: OrderedDict[str, int] = OrderedDict()

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "_open": OrderedDict()}

    def local(self, name: str) -> Path:
        return self.folder / name

    def size(self, name: str) -> int | None:
        with suppress(OSError):
            return os.path.getsize(self.folder / name)
        return None

    def read(self, name: str, offset: int, size: int) -> bytes:
        path = self.folder / name
        try:
            if name not in self._open:
                if len(self._open) >= _most_files():
                    os.close(self._open.popitem(last=False)[1])
                self._open[name] = os.open(path, os.O_RDONLY)
            self._open.move_to_end(name)
            # It moves no position, which processes would share.
            return os.pread(self._open[name], size, offset)
        except OSError as error:
            raise _unreadable(path, error.strerror) from error

    def __del__(self) -> None:
        for descriptor in self._open.values():
            with suppress(OSError):
                os.close(descriptor)


def _most_files() -> int:
    """Raise the limit of open files; give the number to keep open."""
    try:
        import resource
    except ImportError:  # not on every system
        return 400
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, wanted - _FREE_FILES)


class _RemoteFiles:
    """Reads byte ranges through fsspec."""

    def __init__(self, url: str):
        import fsspec  # a second of imports, for these alone

        self.url = url.rstrip("/")
        try:
            self.system, self.root = fsspec.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UserError(f"{url}: cannot be read ({error})") from error
        key = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self.copies = Path(tempfile.gettempdir()) / f"nar-asr-index-{key}"

    def local(self, name: str) -> Path:
        """Copy it, unless the copy is as long."""
        path, size = self.copies / name, self.size(name)
        if size is not None and not (
            path.is_file() and path.stat().st_size == size
        ):
            with atomic_write(path) as file:
                self.system.get_file(f"{self.root}/{name}", file)
        return path

    def size(self, name: str) -> int | None:
        with suppress(OSError):
            return self.system.size(f"{self.root}/{name}")
        return None

    def read(self, name: str, offset: int, size: int) -> bytes:
        path = f"{self.root}/{name}"
        try:
            return self.system.cat_file(path, offset, offset + size)
        except OSError as error:
            raise _unreadable(f"{self.url}/{name}", str(error)) from error


def _unreadable(path: str | os.PathLike, reason: str | None) -> UserError:
    return audio_error(path, "cannot be read", "copy it again", reason or "")
