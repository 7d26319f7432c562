"""One message and one wait of the host in a step, besides the gradients."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nar_asr_lobes.distributed import sum_over_ranks
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.training import step as step_module
from nar_asr_lobes.training.device import move, with_next
from tests.training.runs import make_batch, make_brain, make_objective


@pytest.mark.parametrize("kind", ["pretrain", "wav2vec2"])
def test_the_host_never_waits_in_forward_and_backward(
    kind, tone_clips, monkeypatch
):
    # Tensors without contents: each read of one by the host is an error.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    objective = make_objective(kind, SpecAugment())
    model = objective.build_model(ModelConfig.tiny())
    batch = make_batch(kind, tone_clips, [0, 1, 2])
    inputs = objective.make_inputs(batch, model, 0.5)
    sums = objective.losses(model.to("meta"), move(inputs, "meta"), True)
    sum(sums[name] for name in objective.weights).backward()
    with pytest.raises(RuntimeError, match="meta"):
        float(sums["accuracy"])


class Reads(TorchDispatchMode):
    """Keeps the operations whose result the host has to wait for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        if name.startswith(("aten._local_scalar_dense", "aten.nonzero")):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def prepared_steps(brain, kind, clips):
    """Three steps of two micro-batches each."""
    parts = [[[0, 1], [2]], [[3], [4, 0]], [[1, 2], [3]]]
    return [
        [brain.prepare(make_batch(kind, clips, part, i)) for part in step]
        for i, step in enumerate(parts)
    ]


def test_a_step_reads_numbers_once(tmp_path, tone_clips, monkeypatch):
    sums = []

    def counted(*arguments):
        sums.append(arguments)
        return sum_over_ranks(*arguments)

    fused = partial(torch.optim.AdamW, fused=True)
    brain = make_brain("pretrain", tmp_path, 4, optimizer=fused)
    brain.on_fit_start()
    first, second, third = prepared_steps(brain, "pretrain", tone_clips)
    brain.make_step(first, second)
    monkeypatch.setattr(step_module, "sum_over_ranks", counted)
    with Reads() as reads:
        brain.make_step(second, third)
    assert len(sums) == 1 and not reads.found


def test_counts_known_ahead_change_nothing(tmp_path, tone_clips):
    found = []
    for ahead in (True, False):
        torch.manual_seed(0)
        brain = make_brain("finetune", tmp_path, 4)
        brain.on_fit_start()
        steps = prepared_steps(brain, "finetune", tone_clips)
        found.append(
            [
                brain.make_step(step, following if ahead else None)
                for step, following in with_next(steps)
            ]
        )
    assert found[0] == found[1] and len(found[0]) == 3


def test_counts_of_other_micro_batches_are_not_taken(tmp_path, tone_clips):
    brain = make_brain("pretrain", tmp_path, 4)
    brain.on_fit_start()
    first, second, third = prepared_steps(brain, "pretrain", tone_clips)
    brain.make_step(first, second)
    brain.make_step(third)
    counts = sum(item.counts["best_rq"] for item in third)
    assert brain.counts["best_rq"] == counts


def test_items_come_with_the_next():
    assert list(with_next("abc")) == [("a", "b"), ("b", "c"), ("c", None)]
    assert list(with_next([])) == []
