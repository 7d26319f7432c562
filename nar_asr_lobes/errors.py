"""The exceptions for mistakes and bad audio, and printing that cannot fail."""

from __future__ import annotations

import codecs
import os
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


_CONVERT = (
    "convert it (ffmpeg -i IN -ac 1 -ar 16000 OUT.wav), replace it or leave"
    " it out"
)

_LOSS_SECONDS, _LOSS_SHARE = 0.1, 0.01  # whichever is more is tolerated


class AudioError(UserError):
    """An audio file that cannot be used.

    Arguments
    ---------
    message : str
        The whole sentence.
    problem : str
        The fault, in the same words for every file with it.
    remedy : str
        The user's way out.

    Example
    -------
    >>> audio_error("a.wav", "holds no samples", "leave it out").problem
    'holds no samples'
    """

    # Optional, because data-loader workers rebuild an error from its message.
    def __init__(self, message: str, problem: str = "", remedy: str = ""):
        super().__init__(message)
        self.problem = problem
        self.remedy = remedy


def audio_error(
    path: str | os.PathLike, problem: str, remedy: str, detail: str = ""
) -> AudioError:
    """Make the error for one file.

    Arguments
    ---------
    path : str or path
        The file.
    problem : str
        The fault, in words that do not depend on the file.
    remedy : str
        The user's way out.
    detail : str
        Details of this file, such as its length.

    Returns
    -------
    AudioError

    Example
    -------
    >>> print(audio_error("a.wav", "is too long", "cut it", "2 h"))
    a.wav: is too long (2 h); cut it
    """
    inside = f" ({detail})" if detail else ""
    return AudioError(f"{path}: {problem}{inside}; {remedy}", problem, remedy)


def unreadable(path: str, detail: str) -> AudioError:
    """Make the error for a file that no decoder opens."""
    return audio_error(path, "cannot be read as audio", _CONVERT, detail)


def cut_short(path: str, detail: str) -> AudioError:
    """Make the error for a file whose end is missing."""
    return audio_error(path, "is cut short", "copy it again", detail)


def damaged(path: str, detail: str) -> AudioError:
    """Make the error for a file that is broken between its ends."""
    return audio_error(
        path, "has damaged parts", "copy it again or leave it out", detail
    )


def is_tolerable(lacking: float, total: float) -> bool:
    """Say whether a file may be used that lacks so many of its seconds."""
    return lacking <= max(_LOSS_SECONDS, _LOSS_SHARE * total)
