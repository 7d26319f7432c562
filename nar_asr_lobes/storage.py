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
    """Give a temporary file that takes the place of ``path`` at the end.

    Arguments
    ---------
    path : str or path
        Where it shall be; its folder is made when missing. An older file
        there that is mapped into memory stays as it was for those who mapped
        it.

    Yields
    ------
    binary file
        To write to, from its beginning. After an error it is removed, and the
        older file stays.

    Raises
    ------
    UserError
        If it cannot be written.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.txt"
    >>> with atomic_write(path) as file:
    ...     size = file.write(b"hello")
    >>> open(path).read(), os.listdir(os.path.dirname(path))
    ('hello', ['a.txt'])
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

    Arguments
    ---------
    folder : str or path
        Where it shall be; an older one is replaced.

    Yields
    ------
    Path
        The folder to write files into, which are flushed to disk before it
        gets its name. After an error it is removed, and the older one stays.

    Raises
    ------
    UserError
        If it cannot be written.

    Example
    -------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "bundle"
    >>> with atomic_folder(target) as temporary:
    ...     write_text(temporary / "README.md", "hello")
    >>> os.listdir(target)
    ['README.md']
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
    """Hash a file.

    Example
    -------
    >>> import tempfile
    >>> file = tempfile.mkdtemp() + "/a"
    >>> write_text(file, "abc")
    >>> sha256(file)[:8]
    'ba7816bf'
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file that appears whole or not at all, in UTF-8.

    Arguments
    ---------
    path : str or path
        As for ``atomic_write``.
    text : str
        Line ends stay as they are; the bytes of a file name that is not UTF-8
        are written as escapes.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.txt"
    >>> write_text(path, "hello")
    >>> open(path).read()
    'hello'
    """
    with atomic_write(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def cannot_write(
    path: str | os.PathLike, error: Exception, part: str = ""
) -> UserError:
    """Say in a sentence why something cannot be written.

    Arguments
    ---------
    path : str or path
        The file or folder; the free space is that of its disk.
    error : Exception
        Of the attempt, as a rule an OSError.
    part : str
        The part of it, followed by a space, where it is not all of it.

    Returns
    -------
    UserError

    Example
    -------
    >>> str(cannot_write("a", OSError(5, "Input/output error")))[:42]
    'a: cannot be written (Input/output error; '
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
    """Write a number of bytes as a person would.

    Example
    -------
    >>> describe_size(3_200_000), describe_size(1.25e9)
    ('3 MB', '1.2 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size // 1e6:.0f} MB"


def lock_folder(folder: str | os.PathLike) -> BinaryIO:
    """Keep other runs out of an output folder, which is made when missing.

    Arguments
    ---------
    folder : str or path
        Gets a file ``_LOCK``, which stays; it is the system that holds the
        lock. A file system without locks is told in the log.

    Returns
    -------
    binary file
        Closing it ends the lock, and so does the end of the process, however
        it ends.

    Raises
    ------
    UserError
        If another process holds the lock, or the folder cannot be written.

    Example
    -------
    >>> import tempfile
    >>> lock_folder(tempfile.mkdtemp()).close()
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
    with suppress(OSError):  # a full disk will be told by what matters
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
    return file
