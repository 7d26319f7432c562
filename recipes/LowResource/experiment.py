"""What pre-training is worth: ten minutes, an hour, all labels.

Pre-trains on the pool with both objectives, then fine-tunes from random
weights and from each of them, on every amount of labels of every language, all
for the same number of steps; writes ``table.md``, ``curves.png`` and
``results.json``. A stopped experiment goes on where it was when the same
command is given again.

python experiment.py --data_folder=/path/to/data --jobs=8
python experiment.py --data_folder=/path/to/data --device=cpu \\
    --model='!include:../../../hparams/model/small.yaml'

Options that this script does not know go to every training.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lowresource_prepare import prepare
from lowresource_report import Cell, write_report

from nar_asr_lobes.errors import UserError

HERE = Path(__file__).resolve().parent
FRAGMENTS = "../../../hparams/pretrain"
STARTS = ("scratch", "best_rq", "wav2vec2")
# Swahili has less than an hour of labels.
AMOUNTS = {
    "speechocean762": (10, 60, None),
    "yoruba": (10, 60, None),
    "swahili": (10, None),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """One call of train.py: its folder, its YAML and its options."""

    folder: Path
    yaml: str
    options: tuple[str, ...]
    proof: str  # the file that a finished run has

    @property
    def done(self) -> bool:
        """Whether it came to its end."""
        return (self.folder / self.proof).is_file()

    def run(self) -> bool:
        """Train, unless it is done; say whether it is."""
        if not self.done:
            self.folder.mkdir(parents=True, exist_ok=True)
            command = [
                sys.executable,
                str(HERE / "train.py"),
                str(HERE / "hparams" / self.yaml),
                f"--output_folder={self.folder}",
                "--noprogressbar",
                *self.options,
            ]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            with (self.folder / "output.txt").open("a") as output:
                subprocess.run(
                    command,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
        logger.info("%s: %s", self.folder, "done" if self.done else "FAILED")
        return self.done


def main(arguments: Sequence[str]) -> int:
    """Run what is left of the experiment; give the exit status."""
    options, common = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output = Path(options.output_folder).absolute()
    common.append(f"--data_folder={Path(options.data_folder).absolute()}")
    pretrainings = plan_pretrainings(output, common, options.pretrain_steps)
    cells = plan_cells(options.languages)
    trainings = [plan_finetuning(options, cell, common) for cell in cells]
    with ThreadPoolExecutor(options.jobs) as pool:
        ready = list(pool.map(Training.run, pretrainings))
        if not all(ready):
            logger.error("a pre-training failed; its output.txt says why")
            return 1
        done = list(pool.map(Training.run, trainings))
    write_report(output, [c for c, d in zip(cells, done, strict=True) if d])
    logger.info("%s: table.md, curves.png, results.json", output)
    if not all(done):
        logger.error("%d trainings failed; see above", done.count(False))
    return 0 if all(done) else 1


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into our options and those of every training."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_folder", required=True)
    parser.add_argument("--output_folder", default="results/experiment")
    parser.add_argument("--jobs", type=int, default=1, help="at a time")
    parser.add_argument(
        "--languages", nargs="+", choices=AMOUNTS, default=list(AMOUNTS)
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="that read for a fine-tuning"
    )
    parser.add_argument("--pretrain_steps", type=int, default=None)
    parser.add_argument("--finetune_steps", type=int, default=None)
    return parser.parse_known_args(arguments)


def plan_pretrainings(
    output: Path, common: Sequence[str], steps: int | None
) -> list[Training]:
    """Plan a pre-training with each objective."""
    return [
        Training(
            output / name,
            "pretrain.yaml",
            (
                *common,
                *_steps(steps),
                f"--objective=!include:{FRAGMENTS}/{name}.yaml",
            ),
            "seconds.json",
        )
        for name in STARTS[1:]
    ]


def plan_cells(languages: Sequence[str]) -> list[Cell]:
    """List every language, amount and start."""
    return [
        Cell(language, minutes, start)
        for language in languages
        for minutes in AMOUNTS[language]
        for start in STARTS
    ]


def plan_finetuning(
    options: argparse.Namespace, cell: Cell, common: Sequence[str]
) -> Training:
    """Plan the fine-tuning of a cell; write the text that it has no audio of.

    The n-gram of every cell of a language has the same text: the transcripts
    of all labels.
    """
    output = Path(options.output_folder).absolute()
    minutes = "null" if cell.minutes is None else cell.minutes
    heard = prepare(options.data_folder, cell.language, cell.minutes)["train"]
    known = {row.id for row in heard}
    everything = prepare(options.data_folder, cell.language)["train"]
    texts = output / "texts" / f"{cell.language}-{cell.amount}.txt"
    texts.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{row.text}\n" for row in everything if row.id not in known]
    texts.write_text("".join(lines), encoding="utf-8")
    chosen = [
        f"--data={{options: {{language: {cell.language}, minutes: {minutes}}}"
        f", workers: {options.workers}}}",
        f"--lm={{texts: [{texts}]}}",
    ]
    if cell.start != "scratch":
        chosen.append(f"--init_from={output / cell.start}")
    return Training(
        output / cell.name,
        "finetune.yaml",
        (*common, *_steps(options.finetune_steps), *chosen),
        "results.json",
    )


def _steps(steps: int | None) -> list[str]:
    return [] if steps is None else [f"--steps={steps}"]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
