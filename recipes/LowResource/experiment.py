"""Measure the gain of pre-training: ten minutes, an hour, all labels.

Pre-trains on the pool with both objectives, then fine-tunes from random
weights and from each of them, on every amount of labels of every language, all
for the same number of steps; writes ``table.md``, ``curves.png`` and
``results.json``. A stopped experiment goes on where it was when the same
command is given again.

python experiment.py --data_folder=/path/to/data --jobs=8
python experiment.py --data_folder=/path/to/data --device=cpu \\
    --model='!include:../../../hparams/model/mini.yaml'

Other options, such as ``--device`` and ``--precision``, go to every training;
with ``pretrain_`` or ``finetune_`` before their name, as in
``--finetune_steps=800``, to those alone.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lowresource_prepare import prepare
from lowresource_report import RESULTS, Cell, write_report

from nar_asr_lobes.errors import UserError, describe_os_error
from nar_asr_lobes.schema import require_count
from nar_asr_lobes.storage import atomic_write
from nar_asr_lobes.training.hparams import load_run, parse_arguments

HERE = Path(__file__).resolve().parent
FRAGMENTS = "../../../hparams/objective"
STARTS = ("scratch", "best_rq", "wav2vec2")
# The frontend's frames are what wav2vec 2.0 guesses; they must not drift.
_OF_OBJECTIVE = {"best_rq": (), "wav2vec2": ("--freeze=frontend",)}
# Swahili has less than an hour of labels.
AMOUNTS = {
    "speechocean762": (10, 60, None),
    "yoruba": (10, 60, None),
    "swahili": (10, None),
}

NAMES = ("10min", "60min", "all")
MOST_SEEDS = 9
_OURS = {
    "pretrain": ("objective",),
    "finetune": ("data", "lm", "init_from", "modes", "seed"),
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

    def begin(self) -> None:
        """Note the options; refuse to mix those of two experiments."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note, options = self.folder / "options.json", list(self.options)
        begun = (self.folder / "checkpoints").exists() or self.done
        old = (
            json.loads(note.read_text(encoding="utf-8"))
            if note.is_file()
            else options
        )
        if begun and old != options:
            lost = [option for option in old if option not in options]
            new = [option for option in options if option not in old]
            raise UserError(
                f"{self.folder}: was begun with {' '.join(lost) or 'fewer'}, "
                f"now it is {' '.join(new) or 'left out'}; give the old "
                "options or another output_folder"
            )
        with atomic_write(note) as file:
            file.write(json.dumps(options).encode())

    def run(self) -> bool:
        """Train, unless it is done; say whether it is."""
        if not self.done:
            # A training whose parent was killed lives on, and keeps the lock.
            with (self.folder / "lock").open("w", encoding="utf-8") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    logger.error("%s: trains already; wait", self.folder)
                    return False
                self._train(lock.fileno())
        if self.done:
            logger.info("%s: done", self.folder)
        else:
            logger.error("%s: failed; output.txt says why", self.folder)
        return self.done

    def check(self) -> None:
        """Read the YAML with the options; UserError for a mistake there."""
        yaml = str(HERE / "hparams" / self.yaml)
        path, _, overrides = parse_arguments([yaml, *self.options])
        load_run(path, overrides)

    def _train(self, lock: int) -> None:
        command = [
            sys.executable,
            str(HERE / "train.py"),
            str(HERE / "hparams" / self.yaml),
            f"--output_folder={self.folder}",
            "--noprogressbar",
            *self.options,
        ]
        with (self.folder / "output.txt").open("a", encoding="utf-8") as output:
            training = subprocess.Popen(
                command,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
            )
            try:
                training.wait()
            finally:
                training.wait()  # it got Ctrl-C too, and saves its step


def main(arguments: Sequence[str]) -> int:
    """Run what is left of the experiment; give the exit status."""
    options, chosen = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output = Path(options.output_folder).absolute()
    for stage in chosen.values():
        stage.append(f"--data_folder={Path(options.data_folder).absolute()}")
    pretrainings = plan_pretrainings(output, chosen["pretrain"])
    cells = plan_cells(options.languages, options.amounts, options.seeds)
    if not cells:
        raise UserError(
            f"{' '.join(options.languages)} {' '.join(options.amounts)}: is no "
            "cell of the table (Swahili has less than an hour); name others"
        )
    trainings = [
        plan_finetuning(options, cell, chosen["finetune"]) for cell in cells
    ]
    if find_spec("matplotlib") is None:
        raise UserError(
            "matplotlib, which draws the curves, is not installed; run `pip "
            "install matplotlib`"
        )
    for training in pretrainings + trainings:
        training.check()
    for training in pretrainings + trainings:
        training.begin()
    with ThreadPoolExecutor(options.jobs) as pool:
        ready = list(pool.map(Training.run, pretrainings))
        if not all(ready):
            logger.error("not all pre-trainings are done; see above")
            return 1
        done = list(pool.map(Training.run, trainings))
    everything = plan_cells(AMOUNTS, NAMES, MOST_SEEDS)
    for path in write_report(output, everything):
        logger.info("wrote %s", path)
    if not all(done):
        logger.error("%d trainings failed; see above", done.count(False))
    return 0 if all(done) else 1


def parse(
    arguments: Sequence[str],
) -> tuple[argparse.Namespace, dict[str, list[str]]]:
    """Split the command line into our options and those of each stage."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data_folder", required=True)
    parser.add_argument("--output_folder", default="results/experiment")
    parser.add_argument("--jobs", type=int, default=1, help="at a time")
    parser.add_argument(
        "--languages", nargs="+", choices=AMOUNTS, default=list(AMOUNTS)
    )
    parser.add_argument(
        "--amounts", nargs="+", choices=NAMES, default=list(NAMES)
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="fine-tunings of each cell"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="that read for a fine-tuning"
    )
    declared = parser.parse_args(["--data_folder="])  # all names
    # argparse would take an option with a space in it for a language.
    ours, others = [], []
    for word in arguments:
        name = word.removeprefix("--").partition("=")[0]
        known = not word.startswith("--") or name in (*vars(declared), "help")
        (ours if known else others).append(word)
    options, apart = parser.parse_known_args(ours)
    if apart:
        raise UserError(f"{apart[0]}: is no option; write --NAME={apart[0]}")
    require_count("jobs", options.jobs)
    require_count("seeds", options.seeds, 1, MOST_SEEDS)
    return options, split_by_stage(others)


def split_by_stage(options: Sequence[str]) -> dict[str, list[str]]:
    """Give each stage its options of train.py.

    Arguments
    ---------
    options : sequence of str
        Each goes to both stages, but for the one whose name it begins with.

    Returns
    -------
    dict of str to list of str

    Raises
    ------
    UserError
        When the experiment itself sets it.

    Example
    -------
    >>> split_by_stage(["--pretrain_steps=9", "--device=cpu"])
    {'pretrain': ['--steps=9', '--device=cpu'], 'finetune': ['--device=cpu']}
    """
    chosen: dict[str, list[str]] = {stage: [] for stage in _OURS}
    for option in options:
        stage, _, rest = option.removeprefix("--").partition("_")
        stages = list(_OURS)
        if stage in _OURS:
            stages, option = [stage], f"--{rest}"
        name = option.removeprefix("--").partition("=")[0]
        for stage in stages:
            if name in _OURS[stage]:
                raise UserError(
                    f"--{name}: is set by the experiment for {stage}, run by "
                    "run; leave it out"
                )
            chosen[stage].append(option)
    return chosen


def plan_pretrainings(output: Path, options: Sequence[str]) -> list[Training]:
    """Plan a pre-training with each objective; options win over ours.

    Example
    -------
    >>> _, wav2vec2 = plan_pretrainings(Path("out"), ["--steps=9"])
    >>> wav2vec2.options[:2]
    ('--freeze=frontend', '--steps=9')
    """
    return [
        Training(
            output / name,
            "pretrain.yaml",
            (*ours, *options, f"--objective=!include:{FRAGMENTS}/{name}.yaml"),
            "seconds.json",
        )
        for name, ours in _OF_OBJECTIVE.items()
    ]


def plan_cells(
    languages: Sequence[str], amounts: Sequence[str], seeds: int = 1
) -> list[Cell]:
    """List these languages and amounts with every start, seed by seed."""
    cells = [
        Cell(language, minutes, start, seed)
        for seed in range(1, seeds + 1)
        for language in languages
        for minutes in AMOUNTS[language]
        for start in STARTS
    ]
    return [cell for cell in cells if cell.amount in amounts]


def plan_finetuning(
    options: argparse.Namespace, cell: Cell, others: Sequence[str]
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
    if cell.seed != 1:
        chosen.append(f"--seed={cell.seed}")
    if cell.start != "scratch":
        chosen.append(f"--init_from={output / cell.start}")
    return Training(
        output / cell.name,
        "finetune.yaml",
        (*others, *chosen),
        RESULTS,
    )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (UserError, OSError) as error:
        known = isinstance(error, UserError)
        told = error if known else describe_os_error(error)
        print(f"error: {told}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
