"""Two ranks, one with steep losses and NaN, for test_skipping_ranks.py."""

import math

import torch
import torch.distributed as dist

from nar_asr_lobes.training import skipping
from tests.training.ranks import RANKS, join, start
from tests.training.runs import make_loader, weights

STEPS, WINDOW = 12, 4
SPIKE, NANS = 5, (7, 8, 9)  # steps; saved at 4 and 8


def work(rank, folder, clips):
    """Train as one of two processes; rank 1 alone has the faults."""
    join(rank, RANKS, folder)
    skipping._WINDOW = WINDOW
    brain = start(
        "pretrain",
        f"{folder}/checkpoints",
        STEPS,
        spike_ratio=20.0,
        max_skipped=2,
        checkpoint_interval=4,
    )
    compute, make_step, trail = brain.compute_objectives, brain.make_step, []

    def spoiled(predictions, batch, stage):
        step = brain.progress.step + 1
        scale = 1e4 if step == SPIKE else math.nan if step in NANS else 1.0
        return compute(predictions, batch, stage) * (scale if rank else 1.0)

    def watched(*batches):
        trail.append((brain.progress.step, weights(brain)))
        return make_step(*batches)

    brain.compute_objectives, brain.make_step = spoiled, watched
    brain.fit(make_loader("pretrain", clips, STEPS, rank=rank, ranks=RANKS))
    trail.append((brain.progress.step, weights(brain)))
    found = {"trail": trail, "progress": vars(brain.progress)}
    torch.save(found, f"{folder}/rank_{rank}.pt")
    dist.destroy_process_group()
