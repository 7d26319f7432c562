"""One table over the modes of recognition, as text and for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nar_asr_lobes.evaluation.hot_recall import HotCounts
from nar_asr_lobes.evaluation.wer import ErrorCounts

_HEADER = ("mode", "WER %", "S", "D", "I", "words", "CER %", "RTF")
_HOT_HEADER = ("hot said", "found", "inserted")


@dataclass(frozen=True)
class ModeResult:
    """What one mode of recognition reached on one test set.

    Arguments
    ---------
    mode : str
        Name of the mode, for example "beam5_lm".
    counts : ErrorCounts
        Its errors.
    seconds : float
        Time that recognition took.
    audio_seconds : float
        Length of the audio recognised, above 0.
    hot : HotCounts or None
        Of the listed hot words, where there was a list.

    Example
    -------
    >>> from nar_asr_lobes.evaluation.wer import score
    >>> counts = score(["u1"], ["no chest pain"], ["no pain"])
    >>> ModeResult("nar", counts, seconds=0.5, audio_seconds=10.0).rtf
    0.05
    """

    mode: str
    counts: ErrorCounts
    seconds: float
    audio_seconds: float
    hot: HotCounts | None = None

    def __post_init__(self) -> None:
        if not (self.audio_seconds > 0 and math.isfinite(self.seconds)):
            raise ValueError(
                f"mode {self.mode}: {self.seconds} s for "
                f"{self.audio_seconds} s of audio; both must be measured"
            )

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work for one second of audio."""
        return self.seconds / self.audio_seconds


def format_table(results: Sequence[ModeResult]) -> str:
    """Lay the results out as lines of text, one mode a line.

    Arguments
    ---------
    results : sequence of ModeResult
        In the order in which they shall stand.

    Returns
    -------
    str
        The table, without a line break at its end.

    Example
    -------
    >>> from nar_asr_lobes.evaluation.wer import score
    >>> counts = score(["u1"], ["no chest pain"], ["no pain"])
    >>> print(format_table([ModeResult("nar", counts, 0.5, 10.0)]))
    mode  WER %  S  D  I  words  CER %    RTF
    nar   33.33  0  1  0      3  46.15  0.050
    """
    listed = any(result.hot is not None for result in results)
    header = _HEADER + _HOT_HEADER if listed else _HEADER
    rows = [header, *map(_cells, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def to_dict(
    results: Sequence[ModeResult],
) -> dict[str, dict[str, float | int | None]]:
    """Give the results as plain numbers, ready for JSON.

    Arguments
    ---------
    results : sequence of ModeResult
        Each mode once.

    Returns
    -------
    dict
        For each mode "wer", "cer" (fractions), "rtf", "utterances",
        "wrong_utterances", "words", "substitutions", "deletions",
        "insertions" and "hits"; where there was a list of hot words also
        "hot_said", "hot_found", "hot_inserted" and "hot_recall" (a fraction,
        None if none was said). Raises ValueError when a mode stands twice.

    Example
    -------
    >>> from nar_asr_lobes.evaluation.wer import score
    >>> counts = score(["u1"], ["no chest pain"], ["no chest"])
    >>> numbers = to_dict([ModeResult("nar", counts, 0.5, 10.0)])["nar"]
    >>> round(numbers["wer"], 3), numbers["deletions"], numbers["rtf"]
    (0.333, 1, 0.05)
    """
    table = {result.mode: _numbers(result) for result in results}
    if len(table) != len(results):
        raise ValueError("a mode stands twice among the results")
    return table


def _numbers(result: ModeResult) -> dict[str, float | int | None]:
    counts, hot = result.counts, result.hot
    listed = {}
    if hot is not None:
        listed = {f"hot_{name}": value for name, value in asdict(hot).items()}
        listed["hot_recall"] = hot.recall
    return {
        "wer": counts.wer,
        "cer": counts.cer,
        "rtf": result.rtf,
        "utterances": counts.utterances,
        "wrong_utterances": counts.wrong_utterances,
        "words": counts.reference_words,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "hits": counts.hits,
        **listed,
    }


def _cells(result: ModeResult) -> tuple[str, ...]:
    counts, hot = result.counts, result.hot
    listed = () if hot is None else (hot.said, hot.found, hot.inserted)
    return (
        result.mode,
        f"{100 * counts.wer:.2f}",
        str(counts.substitutions),
        str(counts.deletions),
        str(counts.insertions),
        str(counts.reference_words),
        f"{100 * counts.cer:.2f}",
        f"{result.rtf:.3f}",
        *map(str, listed),
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """The first column stands left, the numbers right."""
    cells = [row[0].ljust(widths[0])]
    cells += [
        cell.rjust(width)
        for cell, width in zip(row[1:], widths[1:], strict=True)
    ]
    return "  ".join(cells).rstrip()
