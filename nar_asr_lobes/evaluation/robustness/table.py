"""The robustness results as one table and one plot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nar_asr_lobes.storage import atomic_write

_HEADER = (
    *("condition", "WER %", "95 %", "to clean", "CER %", "95 %"),
    *("S", "D", "I", "words an hour"),
)
_NOISE = re.compile(r"(\w+)-([\d.]+)dB")


def format_markdown(results: Mapping) -> str:
    """Lay the results out as a Markdown table, a condition a line.

    Arguments
    ---------
    results : mapping
        Of ``measure_robustness``.

    Returns
    -------
    str
        Without a line break at its end. Below the conditions stand silence and
        noise alone, with the words made up in an hour of it.

    Example
    -------
    >>> words = {"words": 1, "words_per_hour": 6.0}
    >>> found = {"conditions": {}, "without_speech": {"silence": words}}
    >>> print(format_markdown(found).splitlines()[-1])
    | silence |  |  |  |  |  |  |  | 1 | 6 |
    """
    lines = [_HEADER, ("---", *["---:"] * (len(_HEADER) - 1))]
    for name, row in results["conditions"].items():
        ratio = row["wer_to_clean"]
        lines.append(
            (
                name,
                _percent(row["wer"]),
                _ends(row["wer_interval"]),
                "" if ratio is None else f"{ratio:.2f}",
                _percent(row["cer"]),
                _ends(row["cer_interval"]),
                *(
                    str(row[key])
                    for key in ("substitutions", "deletions", "insertions")
                ),
                "",
            )
        )
    for name, row in results["without_speech"].items():
        inserted = str(row["words"]), f"{row['words_per_hour']:g}"
        lines.append((name, *[""] * (len(_HEADER) - 3), *inserted))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f}"


def _ends(interval: list[float] | None) -> str:
    return "" if interval is None else " to ".join(map(_percent, interval))


def plot_robustness(results: Mapping, path: Path) -> None:
    """Draw the error rates with their intervals, as SVG.

    Noise is a line over the signal-to-noise ratio, the other conditions are
    bars; a dashed line marks the clean test set.

    Arguments
    ---------
    results : mapping
        Of ``measure_robustness``.
    path : Path
        The file to write.
    """
    from matplotlib.figure import Figure  # slow to import; only here

    rate, rows = results["headline"], results["conditions"]
    matches = {name: _NOISE.fullmatch(name) for name in rows}
    others = [name for name, match in matches.items() if not match]
    noises: dict[str, list[str]] = {}
    for match in filter(None, matches.values()):
        noises.setdefault(match[1], []).append(match[0])
    figure = Figure(
        (9, 1.5 + 0.25 * max(len(others), 10)), layout="constrained"
    )
    left, right = figure.subplots(1, 2)
    for noise, names in noises.items():
        levels = [float(matches[name][2]) for name in names]
        style = {"label": noise, "marker": "o", "capsize": 3}
        rates, bars = _rates(rows, names, rate)
        left.errorbar(levels, rates, yerr=bars, **style)
    rates, bars = _rates(rows, others, rate)
    right.barh(others, rates, xerr=bars, capsize=3)
    title = f"{rate.upper()} %"
    left.set(xlabel="signal-to-noise ratio, dB", ylabel=title, ylim=(0, None))
    right.set(xlabel=title)
    left.invert_xaxis()
    right.invert_yaxis()
    clean = {"linestyle": "--", "color": "grey", "label": "clean"}
    left.axhline(100 * rows["clean"][rate], **clean)
    right.axvline(100 * rows["clean"][rate], **clean)
    left.legend()
    with atomic_write(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})


def _rates(
    rows: Mapping[str, Mapping], names: Sequence[str], rate: str
) -> tuple[list[float], list[list[float]]]:
    """Give rates in percent, and lengths of their error bars to both sides."""
    rates, below, above = [], [], []
    for row in (rows[name] for name in names):
        value = row[rate]
        low, high = row[f"{rate}_interval"] or (value, value)
        rates.append(100 * value)
        below.append(100 * (value - low))
        above.append(100 * (high - value))
    return rates, [below, above]
