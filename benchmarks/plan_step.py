"""The step that `nar-asr plan` predicts, and the one that a run makes.

python benchmarks/plan_step.py [--steps=16]

train.py's run is made on an index of utterances of 2 to 8 s. Between its steps
are those on noise of `nar-asr plan --measure`, so that both see the same
machine; the plan is made of their throughput, and is told the seconds with
padding, which few utterances have much of. One thread, with draws, without the
reading, which a worker does; means. A line of JSON for each run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from nar_asr_lobes.dataio.index.build import build_index
from nar_asr_lobes.dataio.index.parts import PartRules
from nar_asr_lobes.dataio.manifest import Utterance, write_manifest
from nar_asr_lobes.planning.cluster import Cluster
from nar_asr_lobes.planning.measure import NoiseSteps
from nar_asr_lobes.planning.plan import Corpus, make_plan
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.hparams import load_run, parse_arguments
from nar_asr_lobes.training.run import main as train

YAML = Path(__file__).parents[1] / "recipes/Synthetic/hparams/pretrain.yaml"
MEAN_SECONDS = 5.0  # of an utterance
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
        "workers": 1,
    }
    return [
        str(YAML),
        "--device=cpu",
        f"--global_batch={run['global_batch']}",
        f"--steps={steps}",
        f"--data={json.dumps(data)}",
    ]


def run_steps(
    arguments: list[str], between: NoiseSteps
) -> list[tuple[float, float]]:
    """Train as train.py does; give seconds and audio of each step."""
    steps, make_step = [], NarBrain.make_step
    end = 0.0

    def timed(brain: NarBrain, prepared: list, *following: list) -> dict:
        nonlocal end
        averages = make_step(brain, prepared, *following)
        if brain is between.brain:
            return averages
        samples = sum(item.batch.wavs.numel() for item in prepared)
        steps.append((time.perf_counter() - end, samples / 16000))
        between.time()
        end = time.perf_counter()
        return averages

    NarBrain.make_step = timed
    try:
        if train(arguments, dict):
            raise SystemExit("the run failed")
    finally:
        NarBrain.make_step = make_step
    return steps[1:]


def compare(folder: Path, run: dict, steps: int) -> dict:
    """Make a run and measure between its steps."""
    output = folder / str(run["global_batch"])
    arguments = [*arguments_of(folder, run, steps), f"--output_folder={output}"]
    path, run_opts, overrides = parse_arguments(arguments)
    config, cluster = load_run(path, overrides), Cluster(gpus=1)
    noise = replace(config, output_folder=f"{output}-noise")
    Path(noise.output_folder).mkdir()
    between = NoiseSteps(noise, cluster, MEAN_SECONDS, run_opts)
    made, padded = np.transpose(run_steps(arguments, between))
    corpus = Corpus(mean_seconds=padded.mean() / config.global_batch)
    speed = between.throughput()
    plan = make_plan(config, cluster, corpus, speed)
    seconds = made.mean()
    return {
        **run,
        "micro_batches": plan.micro_batches,
        "padded_seconds_of_a_step": round(padded.mean(), 1),
        "measured": round(speed.audio, 1),
        "planned": round(plan.step.total, 3),
        "made": round(seconds, 3),
        "off_percent": round(100 * (plan.step.total / seconds - 1), 1),
    }


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["PATH"] = ""  # SpeechBrain would list the installed packages
    with tempfile.TemporaryDirectory() as name:
        make_index(Path(name))
        for run in RUNS:
            found = compare(Path(name), run, options.steps)
            print(json.dumps(found), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
