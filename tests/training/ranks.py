"""The work of each of two processes, for test_brain_ranks.py.

``launch`` starts them with gloo on a file store; each writes what it found to
``rank_N.pt``.
"""

import multiprocessing
import os
import signal
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes
from torch.profiler import profile

from nar_asr_lobes.distributed import gather_objects, sum_over_ranks
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.objectives.best_rq import BestRqObjective
from nar_asr_lobes.training.processes.signals import Interrupted
from tests.training.runs import (
    ALL_KINDS,
    KINDS,
    Recorder,
    SpySgd,
    make_batch,
    make_brain,
    make_loader,
    weights,
)

RANKS, STEPS = 2, 4
PATIENCE = timedelta(seconds=90)  # for a rank that never comes


def launch(folder, task, *arguments, ranks=RANKS):
    """Run ``task(rank, folder, *arguments)`` on ranks; give their results."""
    # Each would take seconds to import torch.
    multiprocessing.set_forkserver_preload(["nar_asr_lobes.training.brain"])
    arguments = (str(folder), *arguments)
    start_processes(task, arguments, ranks, start_method="forkserver")
    return [torch.load(folder / f"rank_{rank}.pt") for rank in range(ranks)]


def join(rank, ranks, folder):
    """Make this process one of some that share a file store."""
    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = f"file://{folder}/store"
    dist.init_process_group(
        "gloo", store, timeout=PATIENCE, rank=rank, world_size=ranks
    )


def work(rank, folder, clips):
    """Do everything that needs two processes, in one start of them."""
    join(rank, RANKS, folder)
    found = {"collectives": collectives(rank)}
    found["projection"] = fitted([[[0, 1], [2]], [[3, 4]]][rank], clips)
    for kind in KINDS:
        place = f"{folder}/{kind}"
        found[kind, "alike"] = {
            "equal": equal_run(kind, f"{place}_equal", clips, rank, RANKS),
            "gradients": first_gradients(kind, place, clips, rank, RANKS),
        }
    place = f"{folder}/compressed"
    found["compressed"] = equal_run(
        "pretrain", place, clips, rank, RANKS, compress_gradients=True
    )
    found["messages"] = messages(f"{folder}/messages", clips, rank)
    for kind in ALL_KINDS:
        place = f"{folder}/{kind}"
        found[kind] = {
            "nan": nan_run(kind, f"{place}_nan", clips, rank),
            "streams": streams(kind, f"{place}_streams"),
            "resumed": resumed_run(kind, place, clips, rank),
        }
    torch.save(found, f"{folder}/rank_{rank}.pt")
    dist.destroy_process_group()


def collectives(rank):
    """Sums and lists that tell whether every rank took part."""
    values = {"b": rank + 1.0, "a": 0.5}
    if rank == 1:  # each may have met the names in another order
        values = dict(reversed(values.items()))
    sums = sum_over_ranks(values, "cpu")
    return sums, gather_objects(f"of {rank}")


def fitted(parts, clips):
    """The projection that is fitted to this rank's micro-batches."""
    torch.manual_seed(0)
    objective = BestRqObjective(0.5, 4, 1, 32, projection="whitened")
    model = objective.build_model(ModelConfig.tiny())
    batches = [make_batch("pretrain", clips, part) for part in parts]
    objective.init_from_batch(
        model, [objective.make_inputs(b, model) for b in batches]
    )
    return model.quantizer.projection


def start(kind, folder, steps, **changes):
    """A brain whose weights are the same on every rank."""
    torch.manual_seed(0)
    return make_brain(kind, folder, steps, **changes)


def fit(brain, kind, clips, rank, ranks, valid=False):
    """Train with augmentation; give the losses of the steps."""
    losses, make_step = [], brain.make_step

    def watched(prepared, *following):
        averages = make_step(prepared, *following)
        losses.append(averages["loss"])
        return averages

    brain.make_step = watched
    loader = make_loader(kind, clips, brain.scheduler.steps, True, rank, ranks)
    parts = [[0, 1, 2], [3, 4]][rank::ranks]
    brain.fit(
        loader,
        [make_batch(kind, clips, part) for part in parts] if valid else None,
    )
    return losses


def messages(folder, clips, rank):
    """The messages of a step, by kind, and the buckets of the gradients."""
    brain = start("pretrain", folder, STEPS)
    brain.on_fit_start()
    batches = [make_batch("pretrain", clips, [rank, i]) for i in (1, 2, 3, 4)]
    one, two, three, four = [[brain.prepare(batch)] for batch in batches]
    brain.make_step(one, two)
    brain.make_step(two, three)  # DDP orders its buckets anew
    with profile() as trace:
        brain.make_step(three, four)
    names = [e.name for e in trace.events() if e.name.startswith("gloo:")]
    sizes = brain.modules["model"]._get_ddp_logging_data()["bucket_sizes"]
    return names, len(str(sizes).split(","))


def equal_run(kind, folder, clips, rank, ranks, **changes):
    """Without dropout: must not depend on the number of ranks.

    Adam divides by the size of the gradient, so where that is nearly zero it
    makes the last bits of a sum into a share of the learning rate; at 1e-4
    they stay below 1e-6.
    """
    recorder = Recorder()
    brain = start(
        kind,
        folder,
        STEPS,
        spec=True,
        peak_lr=1e-4,
        train_logger=recorder,
        **changes,
    )
    before = weights(brain)
    losses = fit(brain, kind, clips, rank, ranks, valid=True)
    plan = make_loader(kind, clips, STEPS, True, rank, ranks).sampler
    return {
        "losses": losses,
        "before": before,
        "weights": weights(brain),
        "valid": recorder.lines[-1][2],
        "audio_seconds": brain.progress.audio_seconds,
        "micro_batches": [len(p.micro_batches) for p in plan],
    }


def first_gradients(kind, folder, clips, rank, ranks):
    """The gradient of one step as the optimiser sees it."""
    brain = start(
        kind,
        folder + "_g",
        1,
        optimizer=partial(SpySgd, lr=0.1),
        max_grad_norm=1e9,
    )
    brain.on_fit_start()
    brain.modules.train()
    loader = make_loader(kind, clips, 1, rank=rank, ranks=ranks)
    averages = brain.fit_batch(next(iter(loader)))
    return averages, brain.optimizer.gradients


def nan_run(kind, folder, clips, rank):
    """A NaN in one utterance of rank 1 in the second of three steps."""
    brain = start(kind, folder, 3)
    brain.on_fit_start()
    brain.modules.train()
    trail, skipped = [], []
    for step in range(3):
        batch = make_batch(kind, clips, [2 * rank, 2 * rank + 1], seed=step)
        if step == 1 and rank == 1:
            batch.wavs[0, 500] = torch.nan
        skipped.append(brain.fit_batch([batch])["skipped"])
        trail.append(weights(brain))
    return trail, skipped, brain.progress.skipped


def streams(kind, folder):
    """A number of this rank's own random stream."""
    start(kind, folder, 1, seed=7)
    return torch.rand(1).item()


def resumed_run(kind, folder, clips, rank):
    """With dropout: whole, and stopped on one rank and continued."""
    found = []
    for name in ("whole", "halves"):
        place = f"{folder}_{name}"
        brain = start(kind, place, STEPS, dropout=0.2)
        if name == "halves":
            if rank == 1:
                signal_in(brain, 2)
            try:
                fit(brain, kind, clips, rank, RANKS)
            except Interrupted as stop:
                found.append((str(stop), stop.status))
            torch.manual_seed(50)
            brain = start(kind, place, STEPS, dropout=0.2)
        losses = fit(brain, kind, clips, rank, RANKS)
        found.append((losses, weights(brain)))
    return found


def signal_in(brain, step):
    """Let this process get a SIGTERM in a step."""
    make_step = brain.make_step

    def interrupted(prepared, *following):
        if brain.progress.step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return make_step(prepared, *following)

    brain.make_step = interrupted
