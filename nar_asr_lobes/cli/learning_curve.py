"""``nar-asr learning-curve YAML``: how many hours of labels are needed."""

from __future__ import annotations

import argparse
import logging
import sys
from importlib.util import find_spec
from pathlib import Path

from nar_asr_lobes.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "yaml",
        metavar="YAML",
        help="of a fine-tuning, RECIPE/hparams/finetune.yaml; its paths start "
        "here, as for train.py",
    )
    parser.add_argument(
        "--output_folder",
        required=True,
        metavar="DIR",
        help="gets the table, the plot and a folder for each training; the "
        "same command goes on where it was stopped",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of train.py for all trainings, such as steps=2000 or "
        "device=cpu; may be given again",
    )
    parser.add_argument(
        "--shares",
        nargs="+",
        type=float,
        default=[0.125, 0.25, 0.5, 1.0],
        metavar="SHARE",
        help="of the labels; each is part of the larger ones (0.125 0.25 0.5 "
        "1)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="trainings of each share; the interval has their spread (1)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="at a time (1)"
    )
    parser.add_argument(
        "--split", help="test split of the curve (the first one)"
    )
    parser.add_argument(
        "--mode", help="decoding mode of the curve (the last one evaluated)"
    )
    parser.add_argument(
        "--targets",
        nargs="+",
        type=float,
        default=[],
        metavar="PERCENT",
        help="error rates whose hours are wanted",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the trainings that are left, write and print the curve."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.schema import require_count
    from nar_asr_lobes.training.experiments.curve_report import (
        NAMES,
        write_curve,
    )
    from nar_asr_lobes.training.experiments.learning_curve import (
        describe_texts,
        forecast,
        plan_trainings,
        read_curve,
    )
    from nar_asr_lobes.training.experiments.trainings import run_all

    require_count("seeds", arguments.seeds)
    require_count("jobs", arguments.jobs)
    if find_spec("matplotlib") is None:
        raise UserError(
            "matplotlib, which draws the curve, is not installed; run `pip "
            "install matplotlib`"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output = Path(arguments.output_folder).absolute()
    config, trainings = plan_trainings(
        Path(arguments.yaml).absolute(),
        output,
        arguments.shares,
        arguments.seeds,
        [f"--{option}" for option in arguments.set],
    )
    for training in trainings:
        training.begin()
    done = run_all(list(trainings), arguments.jobs)
    curve = read_curve(config, trainings, arguments.split, arguments.mode)
    targets = [target / 100 for target in arguments.targets]
    texts = describe_texts(config.lm)
    print(write_curve(output, curve, forecast(curve), targets, texts))
    print(f"wrote {', '.join(NAMES)} to {arguments.output_folder}")
    if not all(done):
        print(
            f"{done.count(False)} trainings failed; output.txt in their "
            "folders says why",
            file=sys.stderr,
        )
    return 0 if all(done) else 1
