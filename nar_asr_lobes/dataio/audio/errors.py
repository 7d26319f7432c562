"""The error of an audio file, and how much of one may be missing."""

from __future__ import annotations

import os

from nar_asr_lobes.errors import UserError

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
