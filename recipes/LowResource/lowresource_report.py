"""The table and the plot of the experiment, from what its runs wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_VALID = re.compile(
    r"^step: (\d+),.* - valid ctc: ([-+.\de]+),.*\bwer: ([-+.\de]+)"
)
RESULTS = "results.json"
MODES = ("ctc_greedy", "beam5_lm")


@dataclass(frozen=True)
class Cell:
    """One fine-tuning: which labels, how many, from which weights.

    ``minutes`` is None for all labels.

    Example
    -------
    >>> Cell("yoruba", 10, "scratch").name
    'yoruba-10min-scratch'
    """

    language: str
    minutes: int | None
    start: str

    @property
    def amount(self) -> str:
        """How many labels, in words."""
        return "all" if self.minutes is None else f"{self.minutes}min"

    @property
    def name(self) -> str:
        """Name the folder of its run."""
        return f"{self.language}-{self.amount}-{self.start}"


@dataclass(frozen=True)
class Outcome:
    """Test WER and CER by mode; of dev step, CTC in nats a token, WER."""

    wer: dict[str, float]
    cer: dict[str, float]
    curve: list[tuple[int, float, float]]


def read_outcome(folder: Path) -> Outcome:
    """Read what a finished fine-tuning wrote."""
    found = json.loads((folder / RESULTS).read_text())["test"]
    log = folder / "train_log.txt"  # TensorBoard has none
    lines = log.read_text().splitlines() if log.is_file() else []
    matches = filter(None, map(_VALID.match, lines))
    return Outcome(
        {mode: numbers["wer"] for mode, numbers in found.items()},
        {mode: numbers["cer"] for mode, numbers in found.items()},
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
    table.write_text(make_table(outcomes))
    results.write_text(json.dumps(numbers, indent=1))
    plot_curves(outcomes, curves)
    return paths


def make_table(outcomes: dict[Cell, Outcome]) -> str:
    """Make a row for each language, amount and start, WER (CER) in %.

    "Fewer errors" compares greedy with greedy from scratch, and beam 5 with
    the language model with greedy of the same model.
    """
    lines = [
        "| language | labels | start | greedy, WER (CER) | beam 5 + LM "
        "| fewer errors than from scratch | fewer with LM |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell, outcome in outcomes.items():
        scratch = outcomes.get(Cell(cell.language, cell.minutes, "scratch"))
        greedy, beam = (outcome.wer[mode] for mode in MODES)
        fewer = ""
        if scratch is not None and cell.start != "scratch":
            both = [
                _fewer(outcome.wer[mode], scratch.wer[mode]) for mode in MODES
            ]
            fewer = " / ".join(both)
        lines.append(
            f"| {cell.language} | {cell.amount} | {cell.start} | "
            + "".join(
                f"{100 * outcome.wer[mode]:.1f} "
                f"({100 * outcome.cer[mode]:.1f}) | "
                for mode in MODES
            )
            + f"{fewer} | {_fewer(beam, greedy)} |"
        )
    return "\n".join(lines) + "\n"


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
        for cell, outcome in outcomes.items():
            if (cell.language, cell.amount) == panel and outcome.curve:
                steps, losses, _ = zip(*outcome.curve, strict=True)
                axis.plot(steps, losses, label=cell.start)
        axis.set(title=" ".join(panel), ylim=(0, None))
        axis.set(xlabel="fine-tuning steps", ylabel="dev CTC, nats a token")
        axis.legend(fontsize="small")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=100)
