"""The step that `nar-asr plan` predicts, and the one that a run makes.

python benchmarks/plan_step.py [--steps=6] [--turns=4]

Steps on noise give the throughput of this machine's processor at micro-batches
of four utterances of 5 s, as `nar-asr plan --measure` does. Then train.py's run
is made on an index of utterances of 2 to 8 s, with other micro-batches: longer,
more, of mixed lengths. Processor time of one thread, with reading and draws.
Both take turns, with the same steps each time; the fastest of each counts,
since other programs only slow them. A line of JSON for each run.
"""

from __future__ import annotations

import argparse
import json
import os
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
from nar_asr_lobes.planning.plan import Corpus, make_plan
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.hparams import load_run, parse_arguments
from nar_asr_lobes.training.run import main as train

YAML = Path(__file__).parents[1] / "recipes/Synthetic/hparams/pretrain.yaml"
MEAN_SECONDS, MEASURED_SECONDS = 5.0, 20.0  # of an utterance, a micro-batch
RUNS = (  # utterances of a step, most padded seconds of a micro-batch
    {"global_batch": 16, "max_batch_seconds": 240},
    {"global_batch": 24, "max_batch_seconds": 60},
)


def make_index(folder: Path) -> None:
    """Index utterances of noise."""
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


def arguments_of(folder: Path, run: dict, steps: int) -> list[str]:
    """Give the command line of a run, with its YAML."""
    data = {
        "index": {"noise": str(folder / "index")},
        "max_batch_seconds": run["max_batch_seconds"],
        "workers": 0,
    }
    return [
        str(YAML),
        "--device=cpu",
        f"--global_batch={run['global_batch']}",
        f"--steps={steps}",
        f"--data={json.dumps(data)}",
    ]


def run_steps(arguments: list[str]) -> list[tuple[float, float]]:
    """Train as train.py does; give processor time and audio of each step."""
    ends, make_step = [], NarBrain.make_step

    def timed(brain: NarBrain, *arguments: list) -> dict:
        averages = make_step(brain, *arguments)
        ends.append((time.process_time(), brain.progress.audio_seconds))
        return averages

    NarBrain.make_step = timed
    try:
        if train(arguments, dict):
            raise SystemExit("the run failed")
    finally:
        NarBrain.make_step = make_step
    return [tuple(step) for step in np.diff(ends, axis=0)]  # but the first


def compare(folder: Path, run: dict, options: argparse.Namespace) -> dict:
    """Measure and run in turns; give the fastest of both."""
    speeds, runs = [], []
    for turn in range(options.turns):
        output = f"--output_folder={folder / str(turn)}-{run['global_batch']}"
        arguments = [*arguments_of(folder, run, options.steps), output]
        path, run_opts, overrides = parse_arguments(arguments)
        config = load_run(path, overrides)
        speeds.append(
            measure_throughput(
                config, MEAN_SECONDS, MEASURED_SECONDS, run_opts, rounds=2
            )
        )
        runs.append(run_steps(arguments))
    steps = len(runs[0])
    made = sum(min(r[i][0] for r in runs) for i in range(steps)) / steps
    audio = sum(x[1] for x in runs[0]) / steps
    corpus = Corpus(mean_seconds=audio / config.global_batch)
    speed = max(speeds, key=lambda x: x.audio)
    plan = make_plan(config, Cluster(gpus=1), corpus, speed)
    return {
        **run,
        "measured": [round(x.audio, 1) for x in speeds],
        "fixed_seconds": round(speed.fixed, 3),
        "audio_of_a_step": round(audio, 1),
        "micro_batches": plan.micro_batches,
        "planned_seconds": round(plan.step.total, 3),
        "made_seconds": round(made, 3),
        "off_percent": round(100 * (plan.step.total / made - 1), 1),
    }


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--turns", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["PATH"] = ""  # SpeechBrain would list the installed packages
    with tempfile.TemporaryDirectory() as name:
        make_index(Path(name))
        for run in RUNS:
            found = compare(Path(name), run, options)
            print(json.dumps(found), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
