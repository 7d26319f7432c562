"""Praat's TextGrid -> intervals with times and texts, and back.

A TextGrid is a sequence of free-standing numbers, quoted strings and flags;
all other words, such as "xmin =" of the long form, are comments to Praat. So
one reader does for the long and the short form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.errors import UserError

_TOKEN = re.compile(
    r'(?<!\S)("(?:[^"]|"")*"|[-+]?\d[\d.]*(?:[eE][-+]?\d+)?|<\w+>)(?!\S)'
)


@dataclass(frozen=True)
class Interval:
    """One interval of a tier.

    Arguments
    ---------
    tier : str
        Name of its tier.
    start, end : float
        Seconds.
    text : str
        As it stands there; empty for silence.
    line : int
        Where it begins in its file.

    Example
    -------
    >>> Interval("Speaker", 0.5, 2.0, "Hello?", 16).end
    2.0
    """

    tier: str
    start: float
    end: float
    text: str
    line: int


def read_textgrid(path: str | os.PathLike) -> list[Interval]:
    """Read the intervals of all tiers; tiers of points are passed over.

    Arguments
    ---------
    path : str or path
        In the long or the short text form; UTF-8, or UTF-16 with a byte-order
        mark, as Praat writes it.

    Returns
    -------
    list of Interval
        In the order of the file.

    Raises
    ------
    UserError
        For a file that cannot be read, is no TextGrid or ends early, with the
        line.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.TextGrid"
    >>> with open(path, "w") as file:
    ...     size = file.write(
    ...         '"ooTextFile" "TextGrid" 0 2 <exists> 1 '
    ...         '"IntervalTier" "A" 0 2 1 0.5 2 "say ""ah"" now"'
    ...     )
    >>> read_textgrid(path)[0].text
    'say "ah" now'
    """
    tokens = _Tokens(path, _read(path))
    if [tokens.string(), tokens.string()] != ["ooTextFile", "TextGrid"]:
        raise tokens.error("is not a TextGrid")
    tokens.number(), tokens.number(), next(tokens)
    found = []
    for _ in range(int(tokens.number())):
        found += _tier(tokens)
    return found


def _tier(tokens: _Tokens) -> Iterator[Interval]:
    kind, name = tokens.string(), tokens.string()
    tokens.number(), tokens.number()
    for _ in range(int(tokens.number())):
        start = tokens.number()
        line = tokens.line
        if kind == "IntervalTier":
            end = tokens.number()
            yield Interval(name, start, end, tokens.string(), line)
        else:
            tokens.string()


def _read(path: str | os.PathLike) -> str:
    try:
        content = Path(path).read_bytes()
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the data folder"
        ) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}:{line}: is neither UTF-8 nor UTF-16; save it as UTF-8"
        ) from error


class _Tokens:
    """The tokens of a file, with the line of the last one."""

    def __init__(self, path: str | os.PathLike, text: str):
        self.path, self.text = path, text
        self.matches = _TOKEN.finditer(text)
        self.line, self.place = 1, 0

    def __next__(self) -> str:
        match = next(self.matches, None)
        if match is None:
            self.line = self.text.count("\n") + 1
            raise self.error("ends early")
        self.line += self.text.count("\n", self.place, match.start())
        self.place = match.start()
        return match[0]

    def string(self) -> str:
        token = next(self)
        if token[0] != '"':
            raise self.error("has a number in place of a text")
        return token[1:-1].replace('""', '"')

    def number(self) -> float:
        token = next(self)
        try:
            return float(token)
        except ValueError as error:
            raise self.error("has no number where one belongs") from error

    def error(self, problem: str) -> UserError:
        return UserError(
            f"{self.path}:{self.line}: {problem}; save it again with Praat"
        )


def format_textgrid(
    rows: Iterable[tuple[float, float, str]], tier: str, seconds: float
) -> str:
    """Lay out texts as the one tier of a TextGrid, in the long text form.

    Arguments
    ---------
    rows : iterable of (float, float, str)
        Start and end in seconds, and text of each; in order. One that begins
        before the end of the one before is cut.
    tier : str
        The tier's name.
    seconds : float
        Length of the recording.

    Returns
    -------
    str
        The content of a file. Intervals without text fill the gaps.

    Example
    -------
    >>> rows = [(1, 2, "no pain")]
    >>> format_textgrid(rows, "A", 3).count('text = "no pain"')
    1
    """
    intervals, place = [], 0.0
    for start, end, text in rows:
        start, end = (min(max(t, place), seconds) for t in (start, end))
        if start > place:
            intervals.append((place, start, ""))
        if end > start:  # Praat has no empty ones
            intervals.append((start, end, text))
            place = end
    if place < seconds:
        intervals.append((place, seconds, ""))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {seconds:.4f}",
        "tiers? <exists>",
        "size = 1",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        f"        name = {_quoted(tier)}",
        "        xmin = 0",
        f"        xmax = {seconds:.4f}",
        f"        intervals: size = {len(intervals)}",
    ]
    for number, (start, end, text) in enumerate(intervals, 1):
        lines += [
            f"        intervals [{number}]:",
            f"            xmin = {start:.4f}",
            f"            xmax = {end:.4f}",
            f"            text = {_quoted(text)}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
