"""Files and folders that are whole or not there, hashes, locks."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nar_asr_lobes.errors import UserError

logger = logging.getLogger(__name__)
_LOCK = "run.lock"


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Give a binary temporary file that takes the place of ``path`` at the end.

    After an error it is removed, and the older file stays; so does an older
    file that is mapped into memory, for those who mapped it.
    """
    target = os.path.abspath(path)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # as a rule it has moved away
            os.unlink(temporary)


@contextmanager
def atomic_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary folder that takes the place of ``folder`` at the end.

    Its files are flushed to disk before it gets its name. After an error it is
    removed, and the older one stays.
    """
    folder = Path(os.path.abspath(folder))
    temporary = folder.with_name(f".{folder.name}.tmp")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)  # of a crashed run
        temporary.mkdir()
        yield temporary
        for path in (*temporary.iterdir(), temporary):
            _flush(path)
        _move(temporary, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(temporary: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)  # a folder cannot replace a full one
    try:
        os.rename(temporary, folder)
    except OSError:
        if old.exists():
            os.rename(old, folder)
        raise
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def sha256(path: str | os.PathLike) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file atomically, in UTF-8; line ends stay as they are.

    The bytes of a file name that is not UTF-8 are written as escapes.
    """
    with atomic_write(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def cannot_write(
    path: str | os.PathLike, error: Exception, part: str = ""
) -> UserError:
    """Explain in a sentence why something cannot be written.

    The free space is that of the path's disk; ``part``, followed by a space,
    names the part that failed where it is not all of it.
    """
    causes = (error, error.__context__)  # torch hides the system's behind its
    reasons = (getattr(cause, "strerror", None) for cause in causes)
    reason = next(filter(None, reasons), "a write failed")
    free = free_space(path)
    if free is not None:
        reason += f"; {describe_size(free)} free on that disk"
    return UserError(
        f"{path}: {part}cannot be written ({reason}); check its permissions "
        "and the free space"
    )


def free_space(path: str | os.PathLike) -> int | None:
    """Tell the free bytes of the disk of a path that need not be there."""
    place = Path(path).absolute()
    for folder in (place, *place.parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return None


def describe_size(size: float) -> str:
    """Write a number of bytes as a person would, such as 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size // 1e6:.0f} MB"


def lock_folder(folder: str | os.PathLike) -> BinaryIO:
    """Keep other runs out of an output folder, which is made when missing.

    Closing the file that is returned ends the lock, and so does the end of the
    process. The file stays; a file system without locks is logged.
    """
    path = Path(folder) / _LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b", buffering=0)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        import fcntl  # not on every system

        # Unlike that of flock, this lock is not inherited by the processes
        # that load data, which may outlive a killed run by seconds.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError) as error:
        if getattr(error, "errno", None) in (errno.EACCES, errno.EAGAIN):
            file.seek(0)
            holder = file.read().decode(errors="replace")
            file.close()
            raise UserError(
                f"{folder}: another run writes there ({holder}); wait for its "
                "end or give another --output_folder"
            ) from error
        logger.warning(
            "%s: no lock is possible there (%s); start no second run in it",
            folder,
            error,
        )
    with suppress(OSError):  # the write itself reports a full disk
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
    return file
