"""SubRip subtitles (.srt) -> texts with times, and back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from nar_asr_lobes.dataio.formats.textgrid import Interval
from nar_asr_lobes.dataio.manifest import read_lines
from nar_asr_lobes.errors import UserError

_TIME = r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_TAGS = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\[^{}]*\}")


def read_srt(path: str | os.PathLike) -> list[Interval]:
    """Read subtitles, without tags such as ``<i>``.

    Arguments
    ---------
    path : str or path
        In UTF-8.

    Returns
    -------
    list of Interval
        In the order of the file; lines of one are joined by a space.

    Raises
    ------
    UserError
        For a file that cannot be read or has no times.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.srt"
    >>> with open(path, "w") as file:
    ...     size = file.write("1\\n00:00:01,500 --> 00:00:02,000\\n<i>No\\n")
    >>> found = read_srt(path)[0]
    >>> found.start, found.end, found.text
    (1.5, 2.0, 'No')
    """
    found: list[Interval] = []
    lines = list(read_lines(path))
    for number, line in enumerate(lines, 1):
        match = _TIMES.match(line)
        if match:
            times = match.groups()
            start, end = _seconds(*times[:4]), _seconds(*times[4:])
            text = _cue_text(lines[number:])
            found.append(Interval("subtitles", start, end, text, number))
    if not found:
        raise UserError(
            f"{path}: has no line such as 00:00:01,500 --> 00:00:02,000; give "
            "subtitles in SubRip form"
        )
    return found


def _cue_text(lines: Iterable[str]) -> str:
    """Join the lines up to a blank one."""
    texts = []
    for line in lines:
        if not line.strip():
            break
        texts.append(_TAGS.sub("", line).strip())
    return " ".join(filter(None, texts))


def _seconds(hours: str, minutes: str, seconds: str, part: str) -> float:
    return 3600 * int(hours) + 60 * int(minutes) + float(f"{seconds}.{part}")


def format_srt(rows: Iterable[tuple[float, float, str]]) -> str:
    """Lay out texts with their start and end in seconds as subtitles.

    Arguments
    ---------
    rows : iterable of (float, float, str)
        Start, end and text of each.

    Returns
    -------
    str
        The content of a file.

    Example
    -------
    >>> print(format_srt([(1.5, 2, "No pain")]), end="")
    1
    00:00:01,500 --> 00:00:02,000
    No pain
    """
    return "\n".join(
        f"{number}\n{_srt_time(start)} --> {_srt_time(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(rows, 1)
    )


def _srt_time(time: float) -> str:
    seconds, milliseconds = divmod(round(time * 1000), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02},{milliseconds:03}"
