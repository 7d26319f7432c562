"""The learning curve as a table, numbers and a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nar_asr_lobes.storage import write_text
from nar_asr_lobes.training.experiments.learning_curve import Curve, Forecast

_FURTHER = (1, 2, 4, 8)  # times the hours there are
NAMES = ("learning_curve.md", "learning_curve.json", "learning_curve.png")


def write_curve(
    output: Path,
    curve: Curve,
    found: Forecast,
    targets: Sequence[float],
    texts: str,
) -> str:
    """Write the table, the numbers and the plot of a learning curve.

    Arguments
    ---------
    output : Path
        Folder of the files ``NAMES``.
    curve, found : Curve and Forecast
        The trainings, and the extrapolation.
    targets : sequence of float
        Error rates to give the hours for.
    texts : str
        Which text the n-grams have learned.

    Returns
    -------
    str
        The table.
    """
    table = format_curve(curve, found, targets, texts)
    numbers = curve_numbers(curve, found, targets, texts)
    write_text(output / NAMES[0], table)
    write_text(output / NAMES[1], json.dumps(numbers, indent=1))
    plot_curve(curve, found, output / NAMES[2])
    return table


def curve_numbers(
    curve: Curve, found: Forecast, targets: Sequence[float], texts: str
) -> dict:
    """Give the learning curve as plain numbers; None for infinite hours."""
    further = _further(curve)
    rates = found.rates(further).T.tolist()
    law = found.law
    return {
        "split": curve.split,
        "mode": curve.mode,
        "rate": curve.rate,
        "language_model": texts,
        "resampled_speakers": curve.speakers,
        "points": [vars(point) for point in curve.points],
        "fit": {
            name: float(values[0])
            for name, values in zip("abc", vars(law).values(), strict=True)
        },
        "extrapolation": [
            {"hours": hours, "rate": row[0], "interval": row[1:]}
            for hours, row in zip(further, rates, strict=True)
        ],
        "targets": [
            {"rate": rate, "hours": _plain(row[0])}
            | {"interval": list(map(_plain, row[1:]))}
            for rate in targets
            for row in [found.hours(rate)]
        ],
    }


def _further(curve: Curve) -> list[float]:
    return [times * curve.hours[-1] for times in _FURTHER]


def _plain(hours: float) -> float | None:
    return hours if math.isfinite(hours) else None


def format_curve(
    curve: Curve, found: Forecast, targets: Sequence[float], texts: str
) -> str:
    """Lay the learning curve out as Markdown."""
    rate = curve.rate.upper()
    modes = list(curve.points[-1].rates)
    seeds = len(curve.points[-1].rates[curve.mode])
    lines = [
        f"{rate} of `{curve.split}` by hours of labels; {texts}.",
        "",
        "| share | hours | utterances | "
        + " | ".join(f"{mode}, %" for mode in modes)
        + " |",
        "|---" * (3 + len(modes)) + "|",
    ]
    for point in curve.points:
        cells = [_rates(point.rates.get(mode, [])) for mode in modes]
        lines.append(
            f"| {point.share:g} | {point.hours:.3g} | {point.utterances} | "
            + " | ".join(cells)
            + " |"
        )
    a, b, c = (float(x[0]) for x in vars(found.law).values())
    lines += [
        "",
        f"{curve.mode}: {rate} = {100 * a:.3g} hours^-{b:.3g} + {100 * c:.3g} "
        f"%. Intervals (95 %) are of {curve.speakers} resampled speakers "
        + (
            f"and {seeds} seeds."
            if seeds > 1
            else "alone; other seeds (--seeds 3) would make them wider."
        ),
        "",
        f"| hours | {rate} % | 95 % |",
        "|---|---|---|",
    ]
    further = _further(curve)
    for hours, row in zip(further, found.rates(further).T, strict=True):
        mean, low, high = (f"{100 * x:.1f}" for x in row)
        lines.append(f"| {hours:.3g} | {mean} | {low} to {high} |")
    if targets:
        lines += ["", f"| {rate} % | hours | 95 % |", "|---|---|---|"]
    for target in targets:
        mean, low, high = map(_hours, found.hours(target))
        lines.append(f"| {100 * target:g} | {mean} | {low} to {high} |")
    return "\n".join(lines) + "\n"


def _rates(rates: Sequence[float]) -> str:
    if not rates:
        return "-"
    mean = f"{100 * np.mean(rates):.2f}"
    if len(rates) == 1:
        return mean
    return f"{mean} ± {100 * np.std(rates, ddof=1):.2f}"


def _hours(hours: float) -> str:
    return f"{hours:.3g}" if hours < 1e6 else "never"


def plot_curve(curve: Curve, found: Forecast, path: Path) -> None:
    """Draw the points and the power law, dashed beyond the labels."""
    from matplotlib.figure import Figure  # slow to import; only here

    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    first, last = curve.hours[0], curve.hours[-1]
    hours = np.geomspace(first, _FURTHER[-1] * last, 200)
    mean, low, high = 100 * found.rates(hours)
    inside = hours <= last
    axis.fill_between(hours, low, high, alpha=0.2, label="95 %")
    axis.plot(hours[inside], mean[inside], color="C0", label="power law")
    axis.plot(hours[~inside], mean[~inside], "--", color="C0")
    for point in curve.points:
        rates = [100 * x for x in point.rates[curve.mode]]
        axis.plot([point.hours] * len(rates), rates, "o", color="C1")
    axis.set(xscale="log", xlabel="hours of labels", ylim=(0, None))
    axis.set(ylabel=f"{curve.rate.upper()} of {curve.split}, {curve.mode}, %")
    axis.legend()
    figure.savefig(path, dpi=100)
