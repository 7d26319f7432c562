"""Weak scaling to 64 GPUs: a model of it, and its overlap on two processes.

python benchmarks/weak_scaling.py model
python benchmarks/weak_scaling.py overlap [--steps=10]

``model`` plans the run of recipes/Pretraining100k with three sizes of the model
on 1 to 64 GPUs; the assumptions are the fields of ``planning.cluster.Cluster``.

``overlap`` trains layers on two processes (gloo, CPU). The backward pass of a
layer sleeps, as a host that waits for its GPU. A hook sums each bucket of DDP
and gives it back after a stated time more on a link that carries one bucket
after another; these are sleeps too, so that a busy machine matters less. By how
much steps get longer says how much of the delay is hidden behind the
backward pass, and the model's arithmetic what it should be. Steps with and
without delay take turns; medians of rank 0's clock.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

YAML = (
    Path(__file__).parents[1] / "recipes/Pretraining100k/hparams/pretrain.yaml"
)
SIZES = ("base", "large", "xlarge")
LAYERS, WIDTH, LAYER_SECONDS = 12, 512, 0.1
RANKS, CAP_MB = 2, 1


def efficiency(size: str, share: float, **machine: int) -> float:
    """Give the weak scaling of a size of the model, by the plan."""
    # The processes of ``overlap`` need torch alone.
    from nar_asr_lobes.planning.cluster import Cluster
    from nar_asr_lobes.planning.cost import pretrain_model
    from nar_asr_lobes.planning.plan import Corpus, make_plan, stated_throughput
    from nar_asr_lobes.training.hparams import load_run

    cluster = Cluster(**machine)
    model = f"model: !include:../../../hparams/model/{size}.yaml"
    config, corpus = load_run(YAML, model), Corpus()
    # As many utterances for each GPU as with 64.
    batch = config.global_batch * cluster.gpus // 64
    config = replace(config, global_batch=batch)
    speed = stated_throughput(
        pretrain_model(config), cluster, share, corpus.mean_seconds
    )
    return make_plan(config, cluster, corpus, speed).step.efficiency


def model(_: argparse.Namespace) -> None:
    """Print a table of weak scaling."""
    print("| model | utilisation | gradients | 8 GPUs | 16 | 64 |", end="")
    print(" 64, four cards a node |\n|---|---|---|---|---|---|---|")
    for size in SIZES:
        for share in (0.1, 0.4):
            for width in (4, 2):
                found = [
                    efficiency(size, share, gpus=n, nics=m, compression=width)
                    for n, m in ((8, 8), (16, 8), (64, 8), (64, 4))
                ]
                cells = " | ".join(f"{100 * x:.1f} %" for x in found)
                kind = "bf16" if width == 2 else "fp32"
                print(f"| `{size}` | {100 * share:.0f} % | {kind} | {cells} |")


class _Computes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(LAYER_SECONDS)
        return gradient


class Layer(nn.Linear):
    """A linear layer whose backward pass takes its time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [B, D]."""
        return _Computes.apply(super().forward(x))


class Link:
    """Carries buckets one after another, each for a stated time more."""

    def __init__(self):
        self.seconds_per_byte = 0.0
        self.waiting: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._carry, daemon=True).start()

    def hook(self, _, bucket):  # DDP compares types
        """Sum a bucket over the ranks; complete its future later."""
        buffer = bucket.buffer().div_(RANKS)
        work = dist.all_reduce(buffer, async_op=True)
        done: torch.futures.Future = torch.futures.Future()
        self.waiting.put((work, buffer, done))
        return done

    def _carry(self) -> None:
        while True:
            work, buffer, done = self.waiting.get()
            work.wait()
            time.sleep(self.seconds_per_byte * buffer.nbytes)
            done.set_result(buffer)


def train_rank(rank: int, steps: int, port: int) -> None:
    """Train as one of the ranks; rank 0 prints the figures."""
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    torch.manual_seed(rank)
    layers = nn.Sequential(*(Layer(WIDTH, WIDTH) for _ in range(LAYERS)))
    ddp, link = DistributedDataParallel(layers, bucket_cap_mb=CAP_MB), Link()
    ddp.register_comm_hook(None, link.hook)
    x = torch.randn(1, WIDTH)
    size = sum(w.nbytes for w in layers.parameters())

    def step(delay: float) -> tuple[float, float]:
        link.seconds_per_byte = delay / size
        dist.barrier()
        start = time.perf_counter()
        loss = ddp(x).square().mean()
        middle = time.perf_counter()
        loss.backward()
        ddp.zero_grad()
        end = time.perf_counter()
        return end - start, end - middle

    for _ in range(3):
        step(0.0)
    for share in (0.5, 0.9, 1.5):  # of a backward pass
        _, backward = step(0.0)
        plain, delayed = [], []
        for _ in range(steps):
            plain.append(step(0.0))
            backward = statistics.median(x[1] for x in plain)
            # The ranks have to wait equally long.
            found = [backward]
            dist.broadcast_object_list(found)
            delayed.append(step(share * found[0]))
        if rank == 0:
            print(json.dumps(compare(plain, delayed, share, ddp)), flush=True)
    dist.destroy_process_group()


def compare(
    plain: list[tuple[float, float]],
    delayed: list[tuple[float, float]],
    share: float,
    ddp: DistributedDataParallel,
) -> dict:
    """Give the hidden part of the delay, as measured and as modelled."""
    backward = statistics.median(x[1] for x in plain)
    before = statistics.median(x[0] for x in plain)
    after = statistics.median(x[0] for x in delayed)
    delay, end, ready = share * backward, 0.0, 0.0
    sizes = [4 * w.numel() for w in ddp.module.parameters()][::-1]
    buckets = dist._compute_bucket_assignment_by_size(
        list(ddp.module.parameters())[::-1], [2**20, CAP_MB * 2**20]
    )[0]
    for bucket in buckets:
        part = sum(sizes[i] for i in bucket) / sum(sizes)
        ready += part * backward
        end = max(end, ready) + part * delay
    return {
        "buckets": len(buckets),
        "step_ms": round(1000 * before, 1),
        "backward_ms": round(1000 * backward, 1),
        "delay_ms": round(1000 * delay, 1),
        "step_with_delay_ms": round(1000 * after, 1),
        "hidden_percent": round(100 * (1 - (after - before) / delay), 1),
        "modelled_percent": round(100 * (1 - (end - backward) / delay), 1),
    }


def overlap(options: argparse.Namespace) -> None:
    """Start two processes."""
    arguments = options.steps, options.port
    multiprocessing.start_processes(
        train_rank, arguments, RANKS, start_method="fork"
    )


def main() -> None:
    """Read the command line."""
    parts = {"model": model, "overlap": overlap}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=parts)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--port", type=int, default=29541)
    options = parser.parse_args()
    parts[options.part](options)


if __name__ == "__main__":
    main()
