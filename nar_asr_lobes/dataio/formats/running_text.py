"""The running transcript of a recording -> sentences, in order."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nar_asr_lobes.dataio.formats.elan import read_elan
from nar_asr_lobes.dataio.formats.subtitles import read_srt
from nar_asr_lobes.dataio.formats.textgrid import Interval, read_textgrid
from nar_asr_lobes.dataio.manifest import read_lines
from nar_asr_lobes.errors import UserError

_READERS = {".textgrid": read_textgrid, ".eaf": read_elan, ".srt": read_srt}
# Lines of text above it are cut: about 15 s of speech.
_LONGEST = 200  # characters
_SENTENCE_END = re.compile(r"(?<=[.!?…;])\s+|(?<=[。！？।॥؟۔።])\s*")


def read_running_text(
    path: str | os.PathLike, tiers: Sequence[str] = ()
) -> list[str]:
    """Read the sentences of a transcript; their times are not used.

    Arguments
    ---------
    path : str or path
        A TextGrid, .eaf or .srt file, or a text file in UTF-8: there a line
        is a sentence, and one of more than 200 characters is cut behind
        sentences, or between words where these are as long.
    tiers : sequence of str
        The tiers to take of a TextGrid or .eaf file; may be left out where
        only one has text.

    Returns
    -------
    list of str
        None of them is empty.

    Raises
    ------
    UserError
        For a file that cannot be read or holds no text, and where it is not
        clear which tiers to take.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.txt"
    >>> with open(path, "w") as file:
    ...     size = file.write("No pain.\\n\\nGood sleep.\\n")
    >>> read_running_text(path)
    ['No pain.', 'Good sleep.']
    """
    reader = _READERS.get(Path(path).suffix.lower())
    if reader is None:
        found = [
            sentence
            for line in read_lines(path)
            for sentence in _cut(" ".join(line.split()))
        ]
    else:
        found = _of_tiers(path, reader(path), tiers)
    if not found:
        raise UserError(f"{path}: holds no text; give the transcript")
    return found


def _of_tiers(
    path: str | os.PathLike, rows: Sequence[Interval], tiers: Sequence[str]
) -> list[str]:
    rows = [row for row in rows if row.text.strip()]
    names = list(dict.fromkeys(row.tier for row in rows))
    missing = [name for name in tiers if name not in names]
    if missing or (not tiers and len(names) > 1):
        problem = f"no tier {missing[0]!r}" if missing else "several tiers"
        raise UserError(
            f"{path}: has {problem} with text; choose with --tier from "
            + ", ".join(map(repr, names))
        )
    rows = [row for row in rows if not tiers or row.tier in tiers]
    if not any(math.isnan(row.start) for row in rows):
        rows.sort(key=lambda row: row.start)
    return [" ".join(row.text.split()) for row in rows]


def _cut(line: str) -> Iterator[str]:
    """Cut a line that is too long; yield nothing for an empty one."""
    parts = _SENTENCE_END.split(line) if len(line) > _LONGEST else [line]
    for part in parts:
        while len(part) > _LONGEST:
            place = part.rfind(" ", 1, _LONGEST + 1)
            place = _LONGEST if place < 0 else place
            yield part[:place].strip()
            part = part[place:].strip()
        if part:
            yield part
