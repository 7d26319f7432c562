"""Costs of a step besides arithmetic: messages, waits, dispatched operations.

    python benchmarks/step_trace.py [--layers=24] [--micro_batches=3]

Two gloo processes pre-train (BEST-RQ, small layers of random weights); the
profiler records the fourth step of rank 0.

    collectives   by kind, beside the buckets of DDP's gradients
    reads         of a number on the device by the host in a step, before the
                  last all_reduce, whose result it reads in any case
    operations    dispatched by one more micro-batch, forward and backward;
                  views and nested calls by others are not counted as own
    compiled      the same of compiled layers

Prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing import spawn
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

from nar_asr_lobes.dataio.datasets import Batch, make_batch
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.objectives.best_rq import BestRqObjective
from nar_asr_lobes.storage import write_text
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.config import OptimConfig
from nar_asr_lobes.training.device import compile_layers
from nar_asr_lobes.training.optim.scheduler import WarmupCosine

RANKS, STEPS = 2, 4
READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.equal")


class Reads(TorchDispatchMode):
    """Count operations whose result the host has to wait for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += str(function).startswith(READS)
        return function(*args, **(kwargs or {}))


def make_brain(folder: str, layers: int, compiled: bool) -> NarBrain:
    """Make a trainer of narrow layers; their number decides."""
    torch.manual_seed(0)
    objective = BestRqObjective(0.5, 10, spec_augment=SpecAugment())
    sizes = replace(ModelConfig.tiny(), encoder_layers=layers)
    optim = OptimConfig(
        partial(torch.optim.AdamW, fused=True), partial(WarmupCosine, 1e-4)
    )
    options = {"device": "cpu", "distributed_backend": "gloo"}
    brain = NarBrain(
        objective.build_model(sizes),
        objective,
        optim,
        1000,
        CheckpointFolder(folder),
        run_opts=options,
        precision="bf16",
    )
    if compiled:
        compile_layers(brain.model)
    brain.on_fit_start()
    brain.modules.train()
    return brain


def draw_batch(rng: np.random.Generator) -> Batch:
    """Draw a micro-batch of four utterances of noise, all of one shape.

    Compiled for other lengths, attention on a CPU fails (torch 2.11).
    """
    sizes = [32000, *rng.integers(16000, 32000, 3).tolist()]
    rows = [Utterance(str(n), "x.wav", n / 16000) for n in sizes]
    wavs = [rng.standard_normal(n).astype(np.float32) for n in sizes]
    return make_batch(rows, wavs, [[]] * 4, range(4))


def draw_steps(brain: NarBrain, micro_batches: int) -> list:
    """Prepare the micro-batches of the steps and of one more."""
    rng = np.random.default_rng(0)
    return [
        [brain.prepare(draw_batch(rng)) for _ in range(micro_batches)]
        for _ in range(STEPS + 1)
    ]


def host_reads(brain: NarBrain) -> int:
    """Count the reads of a step."""
    one, two = draw_steps(brain, 2)[:2]
    with Reads() as reads:
        brain.make_step(one, two)
    return reads.count


def traced_step(brain: NarBrain, micro_batches: int) -> Counter:
    """Make steps; count the events of the last one by name."""
    steps = draw_steps(brain, micro_batches)
    for step in range(STEPS - 1):
        brain.make_step(steps[step], steps[step + 1])
    with profile() as trace:
        brain.make_step(steps[STEPS - 1], steps[STEPS])
    found = Counter()
    for event in trace.events():
        inside = event.cpu_parent and event.cpu_parent.name
        if not (inside or "").startswith("aten::"):
            found[event.name] += 1
    return found


def work(rank: int, folder: str, layers: int, batches: int) -> None:
    """Trace a step on each rank."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": RANKS}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, rank=rank, world_size=RANKS)
    brain = make_brain(folder, layers, compiled=False)
    events = traced_step(brain, batches)
    data = brain.modules["model"]._get_ddp_logging_data()
    sizes = data.get("rebuilt_bucket_sizes") or data["bucket_sizes"]
    found = {
        "collectives": {k: n for k, n in events.items() if "gloo:" in k},
        "buckets": len(str(sizes).split(",")),
        "reads": host_reads(brain),
    }
    if rank == 0:
        write_text(Path(folder, "found.json"), json.dumps(found))
    dist.destroy_process_group()


def operations(events: Counter) -> int:
    """Count the operations that were called from outside of others."""
    return sum(n for name, n in events.items() if name.startswith("aten::"))


def of_a_micro_batch(layers: int, compiled: bool) -> int:
    """Count what a step of three micro-batches has more than one of two."""
    with tempfile.TemporaryDirectory() as folder:
        brain = make_brain(folder, layers, compiled)
        two, three = (traced_step(brain, count) for count in (2, 3))
    return operations(three) - operations(two)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--micro_batches", type=int, default=3)
    found = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        arguments = (folder, found.layers, found.micro_batches)
        spawn(work, args=arguments, nprocs=RANKS)
        result = json.loads(
            Path(folder, "found.json").read_text(encoding="utf-8")
        )
    result["operations"] = of_a_micro_batch(found.layers, compiled=False)
    result["compiled"] = of_a_micro_batch(found.layers, compiled=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
