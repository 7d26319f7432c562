"""A run that was killed ends as if it had not been, bit for bit."""

import logging
import random

import numpy as np
import pytest
import torch

from nar_asr_lobes.errors import UserError
from tests.training.runs import (
    ALL_KINDS,
    assert_same_weights,
    make_batch,
    make_brain,
    make_loader,
    make_objective,
    weights,
)

STEPS, EVERY = 7, 2


class Killed(Exception):
    """Stands for the end of the process."""


def run(kind, folder, clips, kill_after=None, steps=STEPS, **changes):
    """Train with dropout, augmentation and masks; perhaps not to the end."""
    brain = make_brain(
        kind,
        folder,
        steps,
        dropout=0.2,
        spec=True,
        checkpoint_interval=EVERY,
        valid_interval=3,
        head_lr_scale=2.0,
        freeze_encoder_steps=1,
        **changes,
    )
    losses, make_step = [], brain.make_step

    def watched(prepared, *following):
        if brain.progress.step == kill_after:
            raise Killed
        averages = make_step(prepared, *following)
        losses.append(averages["loss"])
        return averages

    brain.make_step = watched
    loader = make_loader(kind, clips, steps, augment=True)
    try:
        brain.fit(loader, [make_batch(kind, clips, [0, 1])])
    except Killed:
        pass
    return brain, losses


def scramble_random_streams():
    """A new process starts anywhere."""
    torch.manual_seed(77)
    np.random.seed(77)
    random.seed(77)


@pytest.fixture(scope="module", params=ALL_KINDS)
def unbroken(request, tmp_path_factory, tone_clips):
    """Kind, finished brain and losses of a run that nothing disturbed."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(f"unbroken_{request.param}")
    return request.param, *run(request.param, folder, tone_clips)


@pytest.mark.parametrize("kill_after", [1, 2, 5])
def test_a_killed_run_ends_like_an_unbroken_one(
    unbroken, kill_after, tmp_path, tone_clips
):
    kind, whole, expected = unbroken
    torch.manual_seed(0)
    run(kind, tmp_path, tone_clips, kill_after)
    if kill_after > 1:  # before the first checkpoint it starts anew
        scramble_random_streams()
    else:
        torch.manual_seed(0)
    resumed, losses = run(kind, tmp_path, tone_clips)
    saved = max(s for s in (0, 2, 3, 4) if s <= kill_after)
    assert losses == expected[saved:]
    assert_same_weights(weights(resumed), weights(whole))
    assert_same_moments(resumed, whole)
    assert resumed.progress == whole.progress
    assert vars(resumed.scheduler) == vars(whole.scheduler)


def assert_same_moments(one, two):
    """The optimiser's states are equal bit for bit."""
    for mine, other in zip(
        one.optimizer.state.values(), two.optimizer.state.values(), strict=True
    ):
        assert all(torch.equal(mine[key], other[key]) for key in mine)


def test_dropout_masks_and_augmentation_are_really_on(unbroken, tone_clips):
    """Else the test above would prove little."""
    kind, brain, _ = unbroken
    plain, changed = (
        next(iter(make_loader(kind, tone_clips, STEPS, augment=augment)))
        for augment in (False, True)
    )
    assert sum(b.seconds for b in plain) != sum(b.seconds for b in changed)

    def losses(objective, seed=None):
        prepared = objective.make_inputs(changed[0], brain.model)
        if seed is not None:  # the same noise for wav2vec 2.0's codes
            torch.manual_seed(seed)
        sums = objective.losses(brain.model, prepared, training=True)
        return {n: x.item() for n, x in sums.items() if not x.ndim}

    brain.model.train()
    assert losses(brain.objective) != losses(brain.objective)  # dropout
    brain.model.eval()
    without = make_objective(kind)
    assert losses(brain.objective, 1) == losses(brain.objective, 1)
    assert losses(brain.objective, 1) != losses(without, 1)  # masks


def test_a_finished_run_is_left_as_it_is(tmp_path, tone_clips):
    brain, _ = run("pretrain", tmp_path, tone_clips)
    before = weights(brain)
    again, losses = run("pretrain", tmp_path, tone_clips)
    assert losses == []
    assert_same_weights(weights(again), before)


def test_more_steps_need_a_word_about_the_schedule(tmp_path, tone_clips):
    run("pretrain", tmp_path, tone_clips)
    with pytest.raises(UserError, match=f"made with steps {STEPS}, now it is"):
        run("pretrain", tmp_path, tone_clips, steps=STEPS + 3)
    brain, losses = run(
        "pretrain",
        tmp_path,
        tone_clips,
        steps=STEPS + 3,
        stretch_schedule=True,
    )
    assert len(losses) == 3
    assert brain.progress.step == STEPS + 3
    rates = [brain.scheduler.lr_at(step) for step in (STEPS, STEPS + 3)]
    assert rates[0] > rates[1] == brain.scheduler.final_lr


def test_a_damaged_newest_checkpoint_costs_only_its_steps(
    unbroken, tmp_path, tone_clips, caplog
):
    kind, whole, expected = unbroken
    torch.manual_seed(0)
    run(kind, tmp_path, tone_clips, kill_after=5)
    newest = tmp_path / "step_00000004" / "model.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    scramble_random_streams()
    with caplog.at_level(logging.WARNING):
        resumed, losses = run(kind, tmp_path, tone_clips)
    assert "step_00000004 is damaged" in caplog.text
    assert losses == expected[3:]
    assert_same_weights(weights(resumed), weights(whole))


def test_another_number_of_processes_is_told(tmp_path, tone_clips, caplog):
    """The checkpoint of two processes, continued by one."""
    brain, _ = run("pretrain", tmp_path, tone_clips, kill_after=2)
    checkpoint = brain.checkpoints.newest()
    parts = {
        name: checkpoint.load(name)
        for name in ("model", "optimizer", "scheduler", "progress", "random")
    }
    parts["random"] *= 2
    brain.checkpoints.save(checkpoint.step, parts, checkpoint.metadata)
    with caplog.at_level(logging.WARNING):
        _, losses = run("pretrain", tmp_path, tone_clips)
    assert "was written by 2 processes and is continued by 1" in caplog.text
    assert len(losses) == STEPS - 2
