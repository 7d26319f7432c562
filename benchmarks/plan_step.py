"""The step that `nar-asr plan` predicts, and the one that a run makes.

python benchmarks/plan_step.py [--folder=DIR] [--steps=7]

Steps on noise give the throughput of this machine's processor at one kind of
micro-batch, as `nar-asr plan --measure` does. Then train.py's run is made on an
index of 200 utterances of 2 to 8 s, with other micro-batches: more, longer, of
mixed lengths. Both in processor time of one thread; a step of the run is the
median of all but the first two, with reading and draws. Every part prints a
line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from nar_asr_lobes.dataio.index.build import build_index
from nar_asr_lobes.dataio.index.parts import PartRules
from nar_asr_lobes.dataio.manifest import Utterance, write_manifest
from nar_asr_lobes.planning.cluster import Cluster
from nar_asr_lobes.planning.measure import measure_throughput
from nar_asr_lobes.planning.plan import Corpus, Throughput, make_plan
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.hparams import load_run, parse_arguments
from nar_asr_lobes.training.run import main as train

YAML = Path(__file__).parents[1] / "recipes/Synthetic/hparams/pretrain.yaml"
MEASURED_SECONDS = 20.0  # of the micro-batch that is measured
RUNS = (  # utterances of a step, most padded seconds of a micro-batch
    {"global_batch": 16, "max_batch_seconds": 240},
    {"global_batch": 24, "max_batch_seconds": 60},
)


def make_index(folder: Path) -> float:
    """Index utterances of noise; give their mean length."""
    rng, rows = np.random.default_rng(0), []
    for number, seconds in enumerate(rng.uniform(2, 8, 200).round(2)):
        path = folder / "audio" / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.normal(0, 0.05, round(16000 * seconds))
        soundfile.write(path, noise.astype(np.float32), 16000)
        rows.append(Utterance(str(number), str(path), float(seconds)))
    build_index(rows, folder / "index", PartRules(str(folder), read=False))
    dev = folder / "index" / "manifests" / "dev.jsonl"
    write_manifest(dev, rows[:4], "/")
    return statistics.mean(row.duration for row in rows)


def options_of(folder: Path, run: dict, steps: int) -> list[str]:
    """Give the command line of a run, with its YAML."""
    data = {
        "index": {"noise": str(folder / "index")},
        "max_batch_seconds": run["max_batch_seconds"],
        "workers": 0,
    }
    name = f"{run['global_batch']}-{run['max_batch_seconds']}-{steps}"
    return [
        str(YAML),
        "--device=cpu",
        f"--global_batch={run['global_batch']}",
        f"--steps={steps}",
        f"--data={json.dumps(data)}",
        f"--output_folder={folder / name}-{time.time():.0f}",
    ]


def run_steps(arguments: list[str]) -> list[float]:
    """Train as train.py does; give the processor time of each step."""
    ends, make_step = [], NarBrain.make_step

    def timed(brain: NarBrain, prepared: list) -> dict:
        averages = make_step(brain, prepared)
        ends.append(time.process_time())
        return averages

    NarBrain.make_step = timed
    try:
        if train(arguments, dict):
            raise SystemExit("the run failed")
    finally:
        NarBrain.make_step = make_step
    return [float(x) for x in np.diff(ends)[1:]]


def compare(folder: Path, steps: int) -> None:
    """Measure, run and measure again; print what they say."""
    mean = make_index(folder)
    for run in RUNS:
        arguments = options_of(folder, run, steps)
        path, run_opts, overrides = parse_arguments(arguments)
        config = load_run(path, overrides)

        def measure(config=config, run_opts=run_opts) -> Throughput:
            return measure_throughput(
                config, mean, MEASURED_SECONDS, run_opts, rounds=3
            )

        speeds = [measure()]
        times = run_steps(arguments)
        speeds.append(measure())
        speed = Throughput(
            statistics.mean(x.audio for x in speeds),
            statistics.mean(x.fixed for x in speeds),
        )
        corpus = Corpus(mean_seconds=mean)
        plan = make_plan(config, Cluster(gpus=1), corpus, speed)
        made = statistics.median(times)
        print(
            json.dumps(
                {
                    **run,
                    "audio_per_second": [round(x.audio, 1) for x in speeds],
                    "fixed": [round(x.fixed, 3) for x in speeds],
                    "micro_batches": plan.micro_batches,
                    "planned_seconds": round(plan.step.total, 3),
                    "made_seconds": round(made, 3),
                    "off_percent": round(100 * (plan.step.total / made - 1), 1),
                    "spread": [round(min(times), 3), round(max(times), 3)],
                }
            ),
            file=sys.stderr,
            flush=True,
        )


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--steps", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["PATH"] = ""  # SpeechBrain would list the installed packages
    with tempfile.TemporaryDirectory() as folder:
        compare(options.folder or Path(folder), options.steps)


if __name__ == "__main__":
    main()
