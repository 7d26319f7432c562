"""Paths as users write them, and files that appear whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from nar_asr_lobes.errors import UserError

FilePath = str
"""Type of a configuration's field that names a file or folder."""
_UNSET = re.compile(r"\$(?:[A-Za-z_]\w*|\{\w+\})")


def expand_path(path: str) -> str:
    """Put the folders in for ``~`` and ``$VARIABLE``, as a shell does.

    Raises
    ------
    UserError
        For a variable that is not set, and a user who does not exist.

    Example
    -------
    >>> expand_path("runs/exp #7")
    'runs/exp #7'
    """
    expanded = os.path.expandvars(os.path.expanduser(path))
    if unset := _UNSET.search(expanded):
        raise UserError(
            f"{path}: the variable {unset[0]} is not set; set it or write the "
            "path out"
        )
    if expanded.startswith("~"):
        raise UserError(
            f"{path}: there is no such user; write ./{path} for a folder of "
            "that name"
        )
    return expanded


@contextmanager
def written_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Give a temporary file that takes the place of ``path`` at the end.

    Arguments
    ---------
    path : str or path
        Where it shall be; an older file there that is mapped into memory
        stays as it was for those who mapped it.

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
    >>> with written_file(path) as file:
    ...     size = file.write(b"hello")
    >>> open(path).read(), os.listdir(os.path.dirname(path))
    ('hello', ['a.txt'])
    """
    target = os.path.abspath(path)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); check its "
            "permissions and the free space"
        ) from error
    finally:
        with suppress(OSError):  # as a rule it has moved away
            os.unlink(temporary)
