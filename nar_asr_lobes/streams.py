"""Printing whatever the encoding of the console is."""

from __future__ import annotations

import codecs
import sys


def escape_unprintable() -> None:
    r"""Print characters that a stream cannot encode as escapes, never fail.

    They are those of JSON, so that JSON stays what it is.

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
