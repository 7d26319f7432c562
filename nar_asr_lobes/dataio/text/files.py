"""The reader of all text files that have a meaning line by line."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator

from nar_asr_lobes.errors import UserError


def read_lines(
    path: str | os.PathLike,
    remedy: str = "check the path",
    progress: Callable[[int], object] | None = None,
) -> Iterator[str]:
    """Read one line of UTF-8 text after the other.

    Arguments
    ---------
    path : str or path
        May begin with a byte-order mark, as programs on Windows write it.
    remedy : str
        The user's way out where the file is not there.
    progress : callable, optional
        Is given the number of bytes of each line.

    Yields
    ------
    str
        Without the line's end, which is a line feed with or without carriage
        return. U+2028, U+0085 and the like stand inside a line.

    Raises
    ------
    UserError
        If it cannot be read or is not UTF-8; then with the line.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.txt"
    >>> with open(path, "wb") as file:
    ...     size = file.write("\\ufeffone\\u2028two\\r\\nthree".encode())
    >>> list(read_lines(path))
    ['one\\u2028two', 'three']
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); {remedy}"
        ) from error
    with file:
        for number, line in enumerate(file, 1):
            if progress is not None:
                progress(len(line))
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield _decode(line, path, number)


def _decode(line: bytes, path: str | os.PathLike, number: int) -> str:
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: is not UTF-8 text (byte {error.start + 1} of "
            "the line); convert the file to UTF-8"
        ) from error
