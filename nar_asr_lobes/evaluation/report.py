"""One table over the modes of recognition, as text and for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nar_asr_lobes.evaluation.metrics import ErrorCounts, HotCounts

_HEADER = ("mode", "WER %", "S", "D", "I", "words", "CER %", "RTF")
_CHARACTERS_HEADER = ("mode", "CER %", "errors", "characters", "WER %", "RTF")
_ORACLE = "oracle"
_HOT_HEADER = ("hot said", "found", "inserted")


@dataclass(frozen=True)
class ModeResult:
    """The result of one mode of recognition on one test set.

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
    left_out : int
        Utterances of the test set that could not be scored.
    oracle : ErrorCounts or None
        Of the best hypotheses in the N-best lists, where the mode gives some.

    Example
    -------
    >>> from nar_asr_lobes.evaluation.metrics import score
    >>> counts = score(["u1"], ["no chest pain"], ["no pain"])
    >>> ModeResult("nar", counts, seconds=0.5, audio_seconds=10.0).rtf
    0.05
    """

    mode: str
    counts: ErrorCounts
    seconds: float
    audio_seconds: float
    hot: HotCounts | None = None
    left_out: int = 0
    oracle: ErrorCounts | None = None

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

    @property
    def utterances_in_all(self) -> int:
        """Those scored and those left out."""
        return self.counts.utterances + self.left_out


def format_table(results: Sequence[ModeResult]) -> str:
    """Lay the results out as lines of text, one mode a line.

    Arguments
    ---------
    results : sequence of ModeResult
        Of one test set, at least one, in the order they shall stand in.

    Returns
    -------
    str
        The table, and how many utterances were scored, without a line break
        at its end. Without spaces in the references, characters come first.
        The oracle rate is the first one, of the best hypotheses in the N-best.

    Example
    -------
    >>> from nar_asr_lobes.evaluation.metrics import score
    >>> counts = score(["u1"], ["no chest pain"], ["no pain"])
    >>> print(format_table([ModeResult("nar", counts, 0.5, 10.0)]))
    mode  WER %  S  D  I  words  CER %    RTF
    nar   33.33  0  1  0      3  46.15  0.050
    1 of 1 utterances scored
    """
    first = results[0]
    header = _HEADER if first.counts.has_words else _CHARACTERS_HEADER
    rows = [_cells(result) for result in results]
    if any(result.oracle is not None for result in results):
        header += (f"{_ORACLE} {header[1]}",)
        rows = [
            (*row, _oracle_cell(result))
            for row, result in zip(rows, results, strict=True)
        ]
    if any(result.hot is not None for result in results):
        header += _HOT_HEADER
        rows = [
            (*row, *_hot_cells(result))
            for row, result in zip(rows, results, strict=True)
        ]
    table = format_columns([header, *rows])
    count = f"{first.counts.utterances} of {first.utterances_in_all}"
    why = "; left_out.txt names the others" if first.left_out else ""
    return f"{table}\n{count} utterances scored{why}"


def to_dict(
    results: Sequence[ModeResult],
) -> dict[str, dict[str, float | int | str | None]]:
    """Give the results as plain numbers, ready for JSON.

    Arguments
    ---------
    results : sequence of ModeResult
        Each mode once.

    Returns
    -------
    dict
        For each mode "headline" ("cer" without spaces in the references, else
        "wer"), "wer", "cer" (fractions), "rtf", "utterances" (those scored),
        "utterances_in_all", "wrong_utterances", "words", "substitutions",
        "deletions", "insertions" and "hits"; where there was a list of hot
        words also "hot_said", "hot_found", "hot_inserted" and "hot_recall" (a
        fraction, None if none was said); where there are N-best lists
        "oracle_wer" and "oracle_cer". Raises ValueError when a mode stands
        twice.

    Example
    -------
    >>> from nar_asr_lobes.evaluation.metrics import score
    >>> counts = score(["u1"], ["no chest pain"], ["no chest"])
    >>> numbers = to_dict([ModeResult("nar", counts, 0.5, 10.0)])["nar"]
    >>> round(numbers["wer"], 3), numbers["deletions"], numbers["rtf"]
    (0.333, 1, 0.05)
    """
    table = {result.mode: _numbers(result) for result in results}
    if len(table) != len(results):
        raise ValueError("a mode stands twice among the results")
    return table


def _numbers(result: ModeResult) -> dict[str, float | int | str | None]:
    counts, hot = result.counts, result.hot
    listed = {}
    if hot is not None:
        listed = {f"hot_{name}": value for name, value in asdict(hot).items()}
        listed["hot_recall"] = hot.recall
    if result.oracle is not None:
        listed["oracle_wer"] = result.oracle.wer
        listed["oracle_cer"] = result.oracle.cer
    return {
        "headline": "wer" if counts.has_words else "cer",
        "wer": counts.wer,
        "cer": counts.cer,
        "rtf": result.rtf,
        "utterances": counts.utterances,
        "utterances_in_all": result.utterances_in_all,
        "wrong_utterances": counts.wrong_utterances,
        "words": counts.reference_words,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "hits": counts.hits,
        **listed,
    }


def _cells(result: ModeResult) -> tuple[str, ...]:
    counts = result.counts
    wer, cer = f"{100 * counts.wer:.2f}", f"{100 * counts.cer:.2f}"
    errors = counts.substitutions, counts.deletions, counts.insertions
    rates = (wer, *errors, counts.reference_words, cer)
    if not counts.has_words:
        total = counts.reference_characters
        rates = (cer, counts.character_errors, total, wer)
    return (
        result.mode,
        *map(str, rates),
        f"{result.rtf:.3f}",
    )


def _oracle_cell(result: ModeResult) -> str:
    counts = result.oracle
    if counts is None:
        return "-"
    rate = counts.wer if result.counts.has_words else counts.cer
    return f"{100 * rate:.2f}"


def _hot_cells(result: ModeResult) -> tuple[str, ...]:
    hot = result.hot
    if hot is None:
        return ("-",) * len(_HOT_HEADER)
    return str(hot.said), str(hot.found), str(hot.inserted)


def format_columns(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows of cells out in columns, the first to the left.

    Example
    -------
    >>> print(format_columns([("mode", "WER %"), ("nar", "3.10")]))
    mode  WER %
    nar    3.10
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """The first column stands left, the numbers right."""
    cells = [row[0].ljust(widths[0])]
    cells += [
        cell.rjust(width)
        for cell, width in zip(row[1:], widths[1:], strict=True)
    ]
    return "  ".join(cells).rstrip()
