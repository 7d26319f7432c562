"""The table and the plot of the experiment, from what its runs wrote."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

_VALID = re.compile(
    r"^step: (\d+),.* - valid ctc: ([-+.\de]+),.*\bwer: ([-+.\de]+)"
)
RESULTS = "results.json"
MODES = ("ctc_greedy", "beam5_lm")


@dataclass(frozen=True)
class Cell:
    """One fine-tuning: which labels, how many, from which weights, which draws.

    ``minutes`` is None for all labels. Where labels are few, chance decides
    when CTC leaves its first plateau, so several seeds tell more than one.

    Example
    -------
    >>> Cell("yoruba", 10, "scratch").name
    'yoruba-10min-scratch'
    """

    language: str
    minutes: int | None
    start: str
    seed: int = 1

    @property
    def amount(self) -> str:
        """How many labels, in words."""
        return "all" if self.minutes is None else f"{self.minutes}min"

    @property
    def name(self) -> str:
        """Name the folder of its run."""
        draws = f"-seed{self.seed}" if self.seed != 1 else ""
        return f"{self.language}-{self.amount}-{self.start}{draws}"


@dataclass(frozen=True)
class Outcome:
    """WER and CER by mode, on test and dev; dev step, CTC (nats a token), WER.

    Options are chosen by ``dev``, the WER there.
    """

    wer: dict[str, float]
    cer: dict[str, float]
    dev: dict[str, float]
    curve: list[tuple[int, float, float]]


def read_outcome(folder: Path) -> Outcome:
    """Read what a finished fine-tuning wrote."""
    splits = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    found = splits["test"]
    log = folder / "train_log.txt"  # TensorBoard has none
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    matches = filter(None, map(_VALID.match, text.split("\n")))
    return Outcome(
        {mode: numbers["wer"] for mode, numbers in found.items()},
        {mode: numbers["cer"] for mode, numbers in found.items()},
        {mode: numbers["wer"] for mode, numbers in splits["dev"].items()},
        [(int(m[1]), float(m[2]), float(m[3])) for m in matches],
    )


def write_report(output: Path, cells: Sequence[Cell]) -> list[Path]:
    """Write table.md, results.json and curves.png of the finished cells.

    Gives what was written: nothing while no cell is finished.
    """
    outcomes = {
        cell: read_outcome(output / cell.name)
        for cell in cells
        if (output / cell.name / RESULTS).is_file()
    }
    if not outcomes:
        return []
    numbers = {cell.name: asdict(outcome) for cell, outcome in outcomes.items()}
    names = ("table.md", "results.json", "curves.png")
    table, results, curves = paths = [output / name for name in names]
    table.write_text(make_table(outcomes), encoding="utf-8")
    results.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    plot_curves(outcomes, curves)
    return paths


def make_table(outcomes: dict[Cell, Outcome]) -> str:
    """Make a row for each language, amount and start, WER (CER) in %.

    Means over the seeds, of WER with the standard deviation where there are
    several. "Fewer errors" compares the means: greedy with greedy from scratch
    and beam with beam, then beam 5 with the language model with greedy of the
    same model.
    """
    rows: dict[Cell, list[Outcome]] = {}
    for cell, outcome in outcomes.items():
        rows.setdefault(replace(cell, seed=1), []).append(outcome)
    lines = [
        "| language | labels | start | seeds | greedy, WER (CER) "
        "| beam 5 + LM | fewer errors than from scratch | fewer with LM "
        "| beam 5 + LM, dev |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell, found in rows.items():
        scratch = rows.get(replace(cell, start="scratch"))
        greedy, beam = (_mean(found, mode) for mode in MODES)
        dev = statistics.mean(outcome.dev[MODES[1]] for outcome in found)
        fewer = ""
        if scratch is not None and cell.start != "scratch":
            fewer = " / ".join(
                _fewer(_mean(found, mode), _mean(scratch, mode))
                for mode in MODES
            )
        lines.append(
            f"| {cell.language} | {cell.amount} | {cell.start} | {len(found)} "
            f"| {' | '.join(_rates(found, mode) for mode in MODES)} "
            f"| {fewer} | {_fewer(beam, greedy)} | {100 * dev:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _mean(outcomes: Sequence[Outcome], mode: str) -> float:
    return statistics.mean(outcome.wer[mode] for outcome in outcomes)


def _rates(outcomes: Sequence[Outcome], mode: str) -> str:
    rates = [100 * outcome.wer[mode] for outcome in outcomes]
    spread = f" ± {statistics.stdev(rates):.1f}" if len(rates) > 1 else ""
    characters = statistics.mean(outcome.cer[mode] for outcome in outcomes)
    return f"{statistics.mean(rates):.1f}{spread} ({100 * characters:.1f})"


def _fewer(now: float, before: float) -> str:
    return f"{100 * (1 - now / before):.0f} %" if before else ""


def plot_curves(outcomes: dict[Cell, Outcome], path: Path) -> None:
    """Draw dev CTC by step, a panel for each language and amount.

    Where labels are few, words are wrong long after the loss begins to fall.
    """
    from matplotlib.figure import Figure  # slow to import; only here

    panels = list(dict.fromkeys((c.language, c.amount) for c in outcomes))
    columns = 3
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, panel in zip(axes, panels, strict=False):
        colours: dict[str, str] = {}
        for cell, outcome in outcomes.items():
            if (cell.language, cell.amount) == panel and outcome.curve:
                steps, losses, _ = zip(*outcome.curve, strict=True)
                known = cell.start in colours
                colour = colours.setdefault(cell.start, f"C{len(colours)}")
                label = None if known else cell.start
                axis.plot(steps, losses, color=colour, label=label)
        axis.set(title=" ".join(panel), ylim=(0, None))
        axis.set(xlabel="fine-tuning steps", ylabel="dev CTC, nats a token")
        axis.legend(fontsize="small")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=100)
