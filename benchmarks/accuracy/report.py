"""The head-to-head as a table and as learning curves.

python benchmarks/accuracy/report.py --ours=FOLDER --core_minutes=40 \\
    --peers joint=FOLDER ctc=FOLDER --split=dev --output=DIR

FOLDER of ours is the output of a fine-tuning (with --save_posteriors=True for
the test split), those of peers are of the scripts here. Every model's
posteriors are searched with the same beam of 5 and its n-gram of the texts of
train, weights tuned on dev. Writes SPLIT.md, SPLIT.json and curves.png.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer, load_tokenizer
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.saved_posteriors import (
    SUFFIX,
    SavedPosteriors,
    read_posteriors,
)
from nar_asr_lobes.decoding.tuning import tune_beam
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.bootstrap import compare_rates
from nar_asr_lobes.evaluation.metrics import score
from nar_asr_lobes.lm.models import LmFiles
from nar_asr_lobes.storage import write_text

GREEDY, BEAM, JOINT = "greedy", "beam5_lm", "beam10_lm"


@dataclass
class System:
    """A trained system: its hypotheses by mode, and what they cost."""

    name: str
    folder: Path
    references: dict[str, str] = field(default_factory=dict)
    modes: dict[str, dict[str, str]] = field(default_factory=dict)
    core_minutes: float | None = None

    def errors(self, mode: str, ids: list[str]) -> np.ndarray:
        """Count word errors and words, character errors and characters.

        Returns int64 [N, 4], a row for each utterance.
        """
        rows = []
        for name in ids:
            found = self.modes[mode][name]
            counts = score([name], [self.references[name]], [found])
            rows.append(
                (
                    counts.word_errors,
                    counts.reference_words,
                    counts.character_errors,
                    counts.reference_characters,
                )
            )
        return np.array(rows)


def load_system(name: str, folder: Path, split: str) -> System:
    """Collect the hypotheses of a folder, of ours or of a peer."""
    system = System(name, folder)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    saved = read_posteriors(folder / f"{split}{SUFFIX}", tokenizer)
    system.references = dict(zip(saved.ids, saved.references, strict=True))
    paths = [
        greedy_paths(row[None], torch.tensor([len(row)]))[0]
        for row in saved.log_probs
    ]
    texts = [tokenizer.decode(path.tokens) for path in paths]
    system.modes[GREEDY] = dict(zip(saved.ids, texts, strict=True))
    hypotheses = folder / f"{split}.hypotheses.jsonl"
    if hypotheses.exists():
        system.modes[JOINT] = _read_hypotheses(hypotheses)
    else:
        texts = search_with_lm(folder, tokenizer, saved)
        system.modes[BEAM] = dict(zip(saved.ids, texts, strict=True))
    for path in sorted((folder / "alignments" / split).glob("*.txt")):
        if path.stem.startswith("nar"):
            system.modes[path.stem] = read_alignments(path)
    results = folder / "results.json"
    record = json.loads(results.read_text(encoding="utf-8"))
    system.core_minutes = record.get("core_minutes")
    return system


def search_with_lm(
    folder: Path, tokenizer: Tokenizer, saved: SavedPosteriors
) -> list[str]:
    """Search with a beam of 5 and the folder's n-gram, tuned on dev."""
    lm = LmFiles(str(folder / "lm.ngram")).load(tokenizer).ngram
    dev = read_posteriors(folder / f"dev{SUFFIX}", tokenizer)
    tuned = tune_beam(
        dev.log_probs, dev.references, tokenizer, lm, BeamOptions()
    )
    found = prefix_beam_search(saved.log_probs, tuned.best, lm)
    return [tokenizer.decode(nbest[0].tokens) for nbest in found]


def _read_hypotheses(path: Path) -> dict[str, str]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["text"] for row in rows}


def read_alignments(path: Path) -> dict[str, str]:
    """Read the hypotheses of an alignment file; "*" stands for no word."""
    found, name = {}, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"(.+): \d+ words, \d+ S, \d+ D, \d+ I$", line):
            name = match[1]
            found[name] = ""
        elif line.startswith("HYP: "):
            words = [word for word in line[5:].split() if word != "*"]
            found[name] = " ".join(words)
    return found


def compare(ours: System, peers: list[System]) -> list[dict]:
    """Make the rows of the table; peers' with the difference to ours."""
    ids = sorted(ours.references)
    for peer in peers:
        if sorted(peer.references) != ids:
            raise UserError(
                f"{peer.folder}: has other utterances than {ours.folder}; "
                "give results of the same data set and split"
            )
    rows, speeds = [], read_speeds([ours, *peers])
    for system in (ours, *peers):
        for mode in system.modes:
            found = system.errors(mode, ids)
            row = {
                "system": system.name,
                "mode": mode,
                "core_minutes": system.core_minutes,
                "wer": 100 * found[:, 0].sum() / found[:, 1].sum(),
                "cer": 100 * found[:, 2].sum() / found[:, 3].sum(),
                "audio_s_per_core_s": speeds.get((system.name, mode)),
            }
            if system is not ours:
                same = GREEDY if mode == GREEDY else BEAM
                mine = ours.errors(same, ids)
                fewer = compare_rates(
                    found[:, 0], mine[:, 0], found[:, 1], mine[:, 1]
                ).fewer
                row["ours_fewer_word_errors"] = [
                    100 * x for x in (fewer.value, fewer.low, fewer.high)
                ]
            rows.append(row)
    return rows


def read_speeds(systems: list[System]) -> dict[tuple[str, str], float]:
    """Read what joint_decode.py measured: system, mode -> audio s a core-s."""
    found = {}
    for system in systems:
        path = system.folder / "speed.json"
        if path.exists():
            speeds = json.loads(path.read_text(encoding="utf-8"))
            found[system.name, JOINT] = speeds[f"joint_{JOINT}"]
            if f"ours_{BEAM}" in speeds:
                found[systems[0].name, BEAM] = speeds[f"ours_{BEAM}"]
    return found


def format_rows(rows: list[dict]) -> str:
    """Lay the rows out as a Markdown table."""
    lines = [
        "| system | mode | core-minutes | WER % | CER % "
        "| audio s per core-s | ours makes fewer word errors |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gain = row.get("ours_fewer_word_errors")
        cells = (
            row["system"],
            row["mode"],
            _number(row["core_minutes"], 1),
            _number(row["wer"], 2),
            _number(row["cer"], 2),
            _number(row["audio_s_per_core_s"], 1),
            "{:.1f} % ({:.1f} to {:.1f})".format(*gain) if gain else "",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def read_curve(system: System) -> list[tuple[float, float, float]]:
    """Read core-minutes, WER and CER on dev, of a peer or of ours.

    A fine-tuning logs steps, which take their share of its minutes.
    """
    path = system.folder / "curve.jsonl"
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        points = map(json.loads, lines)
        return [(p["core_minutes"], p["wer"], p["cer"]) for p in points]
    log = (system.folder / "train_log.txt").read_text(encoding="utf-8")
    found = re.findall(
        r"step: (\d+),.* valid wer: (\S+), valid cer: ([^\s,]+)", log
    )
    rows = [(int(a), 100 * float(b), 100 * float(c)) for a, b, c in found]
    if not rows or system.core_minutes is None:
        return []
    minute = system.core_minutes / rows[-1][0]
    return [(minute * step, wer, cer) for step, wer, cer in rows]


def draw_curves(systems: list[System], path: Path) -> None:
    """Draw greedy WER and CER on dev over core-minutes."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for system in systems:
        points = np.array(read_curve(system)).reshape(-1, 3)
        for axis, values in zip(axes, points.T[1:], strict=True):
            axis.plot(points[:, 0], values, marker=".", label=system.name)
    for axis, name in zip(axes, ("WER", "CER"), strict=True):
        axis.set(xlabel="core-minutes", ylabel=f"greedy {name} on dev, %")
        axis.set_ylim(0, 105)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=120)


def _named(value: str) -> tuple[str, Path]:
    name, _, folder = value.partition("=")
    return name, Path(folder)


def main() -> None:
    """Print the table; write it, its numbers and the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ours", required=True, type=Path)
    parser.add_argument("--core_minutes", type=float, help="of ours")
    parser.add_argument("--peers", nargs="+", type=_named, default=[])
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--output", required=True, type=Path)
    options = parser.parse_args()
    ours = load_system("ours", options.ours, options.split)
    ours.core_minutes = options.core_minutes
    peers = [load_system(*peer, options.split) for peer in options.peers]
    rows = compare(ours, peers)
    options.output.mkdir(parents=True, exist_ok=True)
    print(format_rows(rows))
    write_text(options.output / f"{options.split}.md", format_rows(rows) + "\n")
    write_text(
        options.output / f"{options.split}.json", json.dumps(rows, indent=1)
    )
    draw_curves([ours, *peers], options.output / "curves.png")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
