"""The exception for a user's mistake, and printing that cannot fail."""

from __future__ import annotations

import codecs
import sys


class UserError(Exception):
    """A user's mistake in a file, manifest, option or checkpoint.

    The message is one sentence: the fault, its place (file, line, id), the
    limit, and the remedy. Entry points print it and exit with status 2, so a
    user never sees a stack trace for a mistake of their own.

    Example
    -------
    >>> raise UserError("a.wav: holds no samples; remove it from the manifest")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: a.wav: holds no samples; remove it from \
the manifest
    """


def describe_os_error(error: OSError) -> str:
    """Describe an OS error of a file or folder in a sentence.

    Example
    -------
    >>> describe_os_error(FileNotFoundError(2, "No such file", "a.tsv"))
    'a.tsv: No such file; check the path and its permissions'
    """
    place = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or error
    return f"{place}{reason}; check the path and its permissions"


def escape_unprintable() -> None:
    r"""Print characters that a stream cannot encode as escapes, never fail.

    They are those of JSON, so that JSON stays valid.

    Example
    -------
    >>> escape_unprintable()
    >>> "né 😀".encode("ascii", "json_escape")
    b'n\\u00e9 \\ud83d\\ude00'
    """
    codecs.register_error("json_escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # none may be there, or a made one
            stream.reconfigure(errors="json_escape")


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    units = text.encode("utf-16-be", "surrogatepass").hex(" ", 2).split()
    return "".join(rf"\u{unit}" for unit in units), error.end
