"""Figures of texts that were compared, laid out as tables."""

from __future__ import annotations

from collections import Counter

from nar_asr_lobes.evaluation.bootstrap import Comparison, Interval
from nar_asr_lobes.evaluation.report import format_columns

_WORDS = ("utterances", "words", "substitutions", "deletions", "insertions")
_WORDS_HEADER = (
    *("", "WER %", "95 %", "CER %", "95 %", "mean WER %"),
    *("utterances", "words", "S", "D", "I"),
)
_TERMS = ("terms", "substitutions", "deletions", "insertions")
_TERMS_HEADER = (
    *("", "M-WER %", "95 %", "recall %", "entity recall %"),
    *("terms", "S", "D", "inserted"),
)
_NEGATIONS = ("negations", "substitutions", "deletions", "insertions")
_NEGATIONS_HEADER = (
    *("", "negation errors %", "95 %", "negations", "S", "D", "I"),
)
_RATE_NAMES = {
    "wer": "WER",
    "cer": "CER",
    "m_wer": "M-WER",
    "negations": "negation errors",
}
_KINDS = ("substitutions", "deletions", "insertions")


def format_figures(rows: dict[str, dict]) -> str:
    """Lay out error rates, and those of terms and negations if counted.

    Arguments
    ---------
    rows : dict
        Figures of ``summarize`` by the name of their row, at least one.

    Returns
    -------
    str
        One table to three.

    Example
    -------
    >>> from nar_asr_lobes.evaluation.scoring import score_texts, summarize
    >>> scores = score_texts(["a b", "c d"], ["a b", "c d"])
    >>> format_figures({"all": summarize(scores)}).splitlines()[1].split()[:5]
    ['all', '0.00', '0.00', 'to', '0.00']
    """
    lines: list[tuple[str, ...]] = [_WORDS_HEADER]
    for name, row in rows.items():
        rates = [
            cell
            for rate in ("wer", "cer")
            for cell in (_percent(row[rate]), _ends(row[f"{rate}_interval"]))
        ]
        counts = [str(row[key]) for key in _WORDS]
        lines.append((name, *rates, _percent(row["mean_wer"]), *counts))
    tables = [format_columns(lines)]
    terms: list[tuple[str, ...]] = [_TERMS_HEADER]
    for name, row in rows.items():
        for category, found in row.get("terms", {}).items():
            rates = (
                _percent(found["m_wer"]),
                _ends(found["m_wer_interval"]),
                _percent(found["recall"]),
                _percent(found["entity_recall"]),
            )
            counts = [str(found[key]) for key in _TERMS]
            lines_name = f"{name}, terms: {category}"
            terms.append((lines_name, *rates, *counts))
    negations = [
        _negations_line(name, row["negations"])
        for name, row in rows.items()
        if "negations" in row
    ]
    if len(terms) > 1:
        tables.append(format_columns(terms))
    if negations:
        tables.append(format_columns([_NEGATIONS_HEADER, *negations]))
    return "\n\n".join(tables)


def _negations_line(name: str, found: dict) -> tuple[str, ...]:
    rates = _percent(found["rate"]), _ends(found["rate_interval"])
    return (name, *rates, *(str(found[key]) for key in _NEGATIONS))


def frequent_errors(errors: Counter, count: int) -> dict[str, list]:
    """Pick the most frequent errors of each kind.

    Arguments
    ---------
    errors : Counter
        As ``score_texts`` counts them.
    count : int
        How many of each kind.

    Returns
    -------
    dict
        By kind a list of [word of the reference, word of the hypothesis,
        times]; "" where one has none.

    Example
    -------
    >>> frequent_errors(Counter({("pan", "pain"): 2, ("", "oh"): 1}), 5)[
    ...     "insertions"]
    [['', 'oh', 1]]
    """
    found: dict[str, list] = {kind: [] for kind in _KINDS}
    # Equally frequent ones by their letters, so that results are repeatable.
    for pair, times in sorted(errors.items(), key=lambda e: (-e[1], e[0])):
        kind = _KINDS[1 if not pair[1] else 2 if not pair[0] else 0]
        if len(found[kind]) < count:
            found[kind].append([*pair, times])
    return found


def format_errors(errors: dict[str, list]) -> str:
    """Lay the most frequent errors out, a kind a block.

    Example
    -------
    >>> print(format_errors({"substitutions": [["pan", "pain", 2]]}))
    substitutions  times
    pan -> pain        2
    """
    blocks = []
    for kind, rows in errors.items():
        cells = [
            (" -> ".join(filter(None, (said, heard))), str(times))
            for said, heard, times in rows
        ]
        if cells:
            blocks.append(format_columns([(kind, "times"), *cells]))
    return "\n\n".join(blocks)


def format_comparison(
    a: dict, b: dict, comparisons: dict[str, Comparison]
) -> str:
    """Lay the figures of two systems out beside each other.

    Arguments
    ---------
    a, b : dict
        Figures of ``summarize``.
    comparisons : dict
        Of ``compare_scores``.

    Returns
    -------
    str
        A line for each rate.

    Example
    -------
    >>> from nar_asr_lobes.evaluation.scoring import (
    ...     compare_scores, score_texts, summarize)
    >>> a = score_texts(["a b", "c d"], ["a", "c"])
    >>> b = score_texts(["a b", "c d"], ["a b", "c d"])
    >>> table = format_comparison(
    ...     summarize(a), summarize(b), compare_scores(a, b))
    >>> table.splitlines()[1].split()[:4]
    ['WER', '50.00', '0.00', '-50.00']
    """
    header = ("", "A %", "B %", "B - A (95 %)", "fewer errors in B, % (95 %)")
    lines: list[tuple[str, ...]] = [(*header, "P(B better)")]
    for rate, found in comparisons.items():
        kind, _, category = rate.partition(" ")
        rates = [_rate(row, kind, category) for row in (a, b)]
        lines.append(
            (
                f"{_RATE_NAMES[kind]} {category}".strip(),
                *map(_percent, rates),
                _spread(found.difference, 2),
                _spread(found.fewer, 1),
                f"{found.probability:.3f}",
            )
        )
    return format_columns(lines)


def _rate(row: dict, kind: str, category: str) -> float | None:
    if category:
        return row["terms"][category][kind]
    return row["negations"]["rate"] if kind == "negations" else row[kind]


def _spread(found: Interval, digits: int) -> str:
    if found.low is None:
        return f"{100 * found.value:.{digits}f}"
    value, low, high = (
        f"{100 * x:.{digits}f}" for x in (found.value, found.low, found.high)
    )
    return f"{value} ({low} to {high})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _ends(interval: list[float] | None) -> str:
    return "-" if interval is None else " to ".join(map(_percent, interval))
