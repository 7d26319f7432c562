"""Transcripts as plain text, JSON or SubRip subtitles.

Every function here turns one transcript into the content of one file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nar_asr_lobes.dataio.text.normalization import text_width

if TYPE_CHECKING:
    from nar_asr_lobes.decoding.alignment import Word
    from nar_asr_lobes.inference.transcriber import Transcript

# Limits of comfortable reading, from broadcasters' guides.
LINE_CHARACTERS = 42  # wide ones, such as Chinese, count twice
CUE_LINES = 2
MAX_CUE_SECONDS = 7.0
MIN_CUE_SECONDS = 1.0  # unless the next cue starts earlier
MAX_PAUSE_SECONDS = 1.5  # between the words of one cue


def to_txt(transcript: Transcript) -> str:
    """Return the text and a line break."""
    return transcript.text + "\n"


def to_json(transcript: Transcript) -> str:
    """Return one line of JSON: path, seconds, text, and the words.

    Arguments
    ---------
    transcript : Transcript
        The result for one input.

    Returns
    -------
    str
        Times in seconds, rounded to milliseconds, each word's confidence (see
        ``Word``), and a line break. Where the text has no spaces, a character
        or a token of a few stands for a word.

    Example
    -------
    >>> from nar_asr_lobes.inference.transcriber import Transcript
    >>> print(to_json(Transcript("a.wav", 1.5, "")), end="")
    {"path": "a.wav", "seconds": 1.5, "text": "", "words": []}
    """
    record = {
        "path": transcript.path,
        "seconds": round(transcript.seconds, 3),
        "text": transcript.text,
        "words": [
            {
                "text": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 3),
            }
            for word in transcript.words
        ],
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


def to_srt(transcript: Transcript) -> str:
    """Return subtitles in SubRip form.

    Arguments
    ---------
    transcript : Transcript
        The result for one input, with word times.

    Returns
    -------
    str
        Numbered cues of at most two lines of 42 characters (21 wide ones) and
        7 s, which never overlap.

    Example
    -------
    >>> from nar_asr_lobes.decoding.alignment import Word
    >>> from nar_asr_lobes.inference.transcriber import Transcript
    >>> words = (Word("no", 0.5, 0.75, 0.9), Word("pain", 1.0, 1.25, 0.8))
    >>> print(to_srt(Transcript("a.wav", 2.0, "no pain", words)))
    1
    00:00:00,500 --> 00:00:01,500
    no pain
    <BLANKLINE>
    """
    cues = _group(transcript.words)
    starts = [_milliseconds(cue[0].start) for cue in cues]
    limits = [*starts, None][1:]  # where the next cue starts
    blocks = []
    for number, cue in enumerate(cues, 1):
        start, limit = starts[number - 1], limits[number - 1]
        end = _end(cue, start, limit)
        lines = [
            str(number),
            f"{_stamp(start)} --> {_stamp(end)}",
            *_lines(cue),
        ]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


FORMATS = {"txt": to_txt, "json": to_json, "srt": to_srt}


def _group(words: Sequence[Word]) -> list[list[Word]]:
    """Fill cues with words; ``word_times`` gives none too long for one."""
    cues: list[list[Word]] = []
    for word in words:
        if cues and _fits(cues[-1], word):
            cues[-1].append(word)
        else:
            cues.append([word])
    return cues


def _fits(cue: list[Word], word: Word) -> bool:
    return (
        word.end - cue[0].start <= MAX_CUE_SECONDS
        and word.start - cue[-1].end <= MAX_PAUSE_SECONDS
        and len(_lines([*cue, word])) <= CUE_LINES
    )


def _lines(cue: Sequence[Word]) -> list[str]:
    lines = [cue[0].text]
    for word in cue[1:]:
        line = lines[-1] + " " * word.space_before + word.text
        if text_width(line) <= LINE_CHARACTERS:
            lines[-1] = line
        else:
            lines.append(word.text)
    return lines


def _end(cue: list[Word], start: int, limit: int | None) -> int:
    """End of a cue in milliseconds: long enough to read, before the next."""
    end = max(
        _milliseconds(cue[-1].end), start + _milliseconds(MIN_CUE_SECONDS)
    )
    end = min(end, start + _milliseconds(MAX_CUE_SECONDS))
    return end if limit is None else min(end, limit)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _stamp(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02},{milliseconds:03}"
