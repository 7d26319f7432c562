"""Transcripts as plain text, JSON, subtitles, TextGrid or ELAN annotations.

Every function here turns one transcript into the content of one file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nar_asr_lobes.dataio.formats.elan import format_elan
from nar_asr_lobes.dataio.formats.textgrid import format_textgrid
from nar_asr_lobes.dataio.text.normalization import text_width

if TYPE_CHECKING:
    from nar_asr_lobes.decoding.alignment import Word
    from nar_asr_lobes.inference.transcriber import Transcript

# Limits of comfortable reading, from broadcasters' guides.
_LINE_CHARACTERS = 42  # wide ones, such as Chinese, count twice
_CUE_LINES = 2
_MAX_CUE_SECONDS = 7.0
_MIN_CUE_SECONDS = 1.0  # unless the next cue starts earlier
_MAX_PAUSE_SECONDS = 1.5  # between the words of one cue


def _to_txt(transcript: Transcript) -> str:
    """Return the text and a line break."""
    return transcript.text + "\n"


def _to_json(transcript: Transcript) -> str:
    """Return one line of JSON: path, seconds, text, and the words."""
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


def _to_srt(transcript: Transcript) -> str:
    """Return subtitles in SubRip form."""
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


def _to_textgrid(transcript: Transcript) -> str:
    """Return a TextGrid with a tier of words."""
    return format_textgrid(_rows(transcript), "words", transcript.seconds)


def _to_elan(transcript: Transcript) -> str:
    """Return ELAN annotations with a tier of words."""
    return format_elan(_rows(transcript), "words")


def _rows(transcript: Transcript) -> list[tuple[float, float, str]]:
    return [(word.start, word.end, word.text) for word in transcript.words]


FORMATS = {
    "txt": _to_txt,
    "json": _to_json,
    "srt": _to_srt,
    "TextGrid": _to_textgrid,
    "eaf": _to_elan,
}


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
        word.end - cue[0].start <= _MAX_CUE_SECONDS
        and word.start - cue[-1].end <= _MAX_PAUSE_SECONDS
        and len(_lines([*cue, word])) <= _CUE_LINES
    )


def _lines(cue: Sequence[Word]) -> list[str]:
    lines = [cue[0].text]
    for word in cue[1:]:
        line = lines[-1] + " " * word.space_before + word.text
        if text_width(line) <= _LINE_CHARACTERS:
            lines[-1] = line
        else:
            lines.append(word.text)
    return lines


def _end(cue: list[Word], start: int, limit: int | None) -> int:
    """End of a cue in milliseconds: long enough to read, before the next."""
    end = max(
        _milliseconds(cue[-1].end), start + _milliseconds(_MIN_CUE_SECONDS)
    )
    end = min(end, start + _milliseconds(_MAX_CUE_SECONDS))
    return end if limit is None else min(end, limit)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _stamp(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02},{milliseconds:03}"
