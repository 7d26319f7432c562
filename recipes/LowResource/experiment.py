"""Measure pre-training, transfer and self-training where labels are few.

Fine-tunes on ten minutes, an hour and all labels of every language, from every
start that is named with ``--starts``; runs all that these need; writes
``table.md``, ``curves.png`` and ``results.json``. A stopped experiment goes on
where it was when the same command is given again.

python experiment.py --data_folder=/path/to/data --jobs=8
python experiment.py --data_folder=/path/to/data --device=cpu \\
    --model='!include:../../../hparams/model/mini.yaml'
python experiment.py --data_folder=/path/to/data --languages yoruba \\
    --starts scratch selftrain transfer transfer-selftrain

Other options, such as ``--device`` and ``--precision``, go to every training;
with the name of a stage before theirs, as in ``--finetune_steps=800``, to that
stage alone: ``pretrain``, ``transfer``, ``finetune``, ``label``, ``selftrain``
(on a model's labels) and ``gold`` (on the true ones, after that).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lowresource_plan import (
    AMOUNTS,
    LABELS,
    STAGES,
    START_NAMES,
    Plan,
    plan_cells,
)
from lowresource_prepare import prepare
from lowresource_report import write_report

from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.errors import UserError, describe_os_error
from nar_asr_lobes.evaluation.metrics import score
from nar_asr_lobes.schema import require_count
from nar_asr_lobes.training.experiments.trainings import in_order, run_all

STARTS = ("scratch", "best_rq", "wav2vec2")
NAMES = ("10min", "60min", "all")
MOST_SEEDS = 9
# Options that labelling, which trains nothing, takes over from all.
_FOR_LABELS = ("device", "debug_utterances")

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run what is left of the experiment; give the exit status."""
    options, chosen = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output = Path(options.output_folder).absolute()
    data = Path(options.data_folder).absolute()
    for stage in chosen.values():
        stage.append(f"--data_folder={data}")
    cells = plan_cells(
        options.languages, options.amounts, options.starts, options.seeds
    )
    if not cells:
        raise UserError(
            f"{' '.join(options.languages)} {' '.join(options.amounts)}: is no "
            "cell of the table (Swahili has less than an hour, and with all "
            "labels no audio is left for self-training); name others"
        )
    plan = Plan(output, data, options.workers, chosen)
    trainings = in_order(map(plan.cell, cells))
    if find_spec("matplotlib") is None:
        raise UserError(
            "matplotlib, which draws the curves, is not installed; run `pip "
            "install matplotlib`"
        )
    for training in trainings:
        training.check()
    for training in trainings:
        training.begin()
    done = run_all(trainings, options.jobs)
    everything = plan_cells(AMOUNTS, NAMES, START_NAMES, MOST_SEEDS)
    for path in write_report(output, everything):
        logger.info("wrote %s", path)
    log_label_errors(output, data)
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
        "--starts",
        nargs="+",
        choices=START_NAMES,
        metavar="START",
        default=list(STARTS),
        help="of " + ", ".join(START_NAMES),
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
        Each goes to every training, or to the stage whose name it begins
        with; ``label``, which trains nothing, has few from all.

    Returns
    -------
    dict of str to list of str

    Raises
    ------
    UserError
        When the experiment itself sets it.

    Example
    -------
    >>> found = split_by_stage(["--pretrain_steps=9", "--device=cpu"])
    >>> found["pretrain"], found["label"]
    (['--steps=9', '--device=cpu'], ['--device=cpu'])
    """
    chosen: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for option in options:
        stage, _, rest = option.removeprefix("--").partition("_")
        of_one = stage in STAGES
        if of_one:
            option = f"--{rest}"
        name = option.removeprefix("--").partition("=")[0]
        for each in [stage] if of_one else STAGES:
            if not of_one and each == "label" and name not in _FOR_LABELS:
                continue
            if name in STAGES[each]:
                raise UserError(
                    f"--{name}: is set by the experiment for {each}, run by "
                    "run; leave it out"
                )
            chosen[each].append(option)
    return chosen


def log_label_errors(output: Path, data: Path) -> None:
    """Log the error rate of the labels that models gave to whole files."""
    for path in sorted(output.glob(f"*-labels*/{LABELS}")):
        language = path.parent.name.partition("-")[0]
        texts = {
            row.id: normalize_text(row.text or "", "english")
            for row in prepare(data, language)["train"]
        }
        rows = [row for row in read_manifest(path) if texts.get(row.id)]
        truth = [texts[row.id] for row in rows]
        given = [row.text or "" for row in rows]
        counts = score([row.id for row in rows], truth, given)
        logger.info("%s: labels of %.1f %% WER", path, 100 * counts.wer)


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
