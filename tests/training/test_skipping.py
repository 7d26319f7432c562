"""Spikes are skipped; too many skipped steps lead back to a checkpoint."""

import math
from statistics import median

import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.skipping import step_fault
from tests.training.runs import (
    assert_same_weights,
    make_brain,
    make_loader,
    weights,
)
from tests.training.test_resume import assert_same_moments

EVERY, BAD = 4, (5, 6, 7)  # saved at 4, then three steps with a NaN


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_faults_and_join_no_median(number):
    norms = [1.0] * 100
    for norm, loss in ((number, 1.0), (1.0, number)):
        fault = step_fault(norm, loss, norms, 10.0)
        assert fault == "the gradient is not finite"
    assert norms == [1.0] * 100


def test_spikes_are_those_of_a_naive_loop():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(600, generator=generator).exp().tolist()
    norms, spikes = [], []
    for number, norm in enumerate(drawn):
        last = drawn[max(0, number - 100) : number]
        spike = len(last) == 100 and norm > 4 * median(last)
        assert bool(step_fault(norm, 1.0, norms, 4.0)) == spike
        spikes.append(spike)
    assert 5 < sum(spikes) < 150


def test_a_lasting_change_of_the_norms_becomes_usual():
    norms = [1.0] * 100
    faults = [step_fault(50.0, 1.0, norms, 10.0) for _ in range(100)]
    assert all(faults[:49]) and not any(faults[51:])


def test_without_the_option_no_norm_is_kept():
    norms = []
    assert step_fault(1e30, 1.0, norms, 0.0) == "" and not norms


def train(folder, clips, steps, bad=BAD, until=None, **changes):
    """Train with dropout, with a NaN or a steep loss in some steps."""
    torch.manual_seed(0)
    options = {"max_skipped": 2, "checkpoint_interval": EVERY}
    options |= {"valid_interval": 100, "dropout": 0.2, **changes}
    scale = options.pop("scale", math.nan)
    brain = make_brain("pretrain", folder, steps, **options)
    compute, make_step, averages = brain.compute_objectives, brain.make_step, []

    def spoiled(predictions, batch, stage):
        loss = compute(predictions, batch, stage)
        return loss * (scale if brain.progress.step + 1 in bad else 1.0)

    def watched(*batches):
        if brain.progress.step == until:
            raise KeyboardInterrupt
        averages.append(make_step(*batches))
        return averages[-1]

    brain.compute_objectives, brain.make_step = spoiled, watched
    try:
        brain.fit(make_loader("pretrain", clips, steps))
    except KeyboardInterrupt:
        pass
    return brain, averages


def test_a_spike_moves_no_weights_and_does_after_a_restart(
    tmp_path, tone_clips, caplog, monkeypatch
):
    monkeypatch.setattr("nar_asr_lobes.training.skipping._WINDOW", 5)
    options = {"scale": 1e3, "spike_ratio": 10.0, "bad": (3, 9)}
    brain, found = train(tmp_path / "a", tone_clips, 10, **options)
    # the third step's has no full window before it
    assert [x["skipped"] for x in found] == [0.0] * 8 + [1.0, 0.0]
    assert found[8]["grad_norm"] > 100 * found[7]["grad_norm"]
    assert "step 9: the gradient norm" in caplog.text
    train(tmp_path / "b", tone_clips, 10, until=8, **options)
    again, rest = train(tmp_path / "b", tone_clips, 10, **options)
    assert [x["skipped"] for x in rest] == [1.0, 0.0]
    assert again.progress == brain.progress
    assert_same_weights(weights(again), weights(brain))


def test_too_many_skipped_steps_lead_back_and_the_data_goes_on(
    tmp_path, tone_clips, caplog
):
    """As if the steps since the checkpoint had moved no weights."""
    rolled, found = train(tmp_path / "a", tone_clips, 12)
    assert [x["skipped"] for x in found] == [0.0] * 4 + [1.0] * 2 + [0.0] * 5
    assert "step 7: 3 steps in a row were skipped: the weights" in caplog.text
    assert "are those of step 4 again" in caplog.text
    progress = rolled.progress
    assert (progress.step, progress.roll_backs, progress.skipped) == (12, 1, 3)
    plain, _ = train(tmp_path / "b", tone_clips, 12, max_skipped=3)
    assert plain.progress.roll_backs == 0
    assert_same_weights(weights(plain), weights(rolled))
    assert_same_moments(plain, rolled)


def test_steps_since_the_checkpoint_are_taken_back(tmp_path, tone_clips):
    """Step 6 moves the weights; the roll-back undoes it."""
    rolled, _ = train(tmp_path, tone_clips, 9, bad=(7, 8, 9))
    before = rolled.checkpoints.newest(8)
    assert before is not None and before.step == 8
    saved = rolled.checkpoints.newest()
    assert saved.step == 9
    at_4, _ = train(tmp_path / "b", tone_clips, 9, bad=(), until=4)
    assert_same_weights(weights(at_4), saved.load("model"))


def test_a_restart_after_a_roll_back_is_exact(tmp_path, tone_clips):
    whole, _ = train(tmp_path / "a", tone_clips, 12)
    train(tmp_path / "b", tone_clips, 12, until=7)  # the roll-back is saved
    resumed, rest = train(tmp_path / "b", tone_clips, 12)
    assert len(rest) == 5
    assert resumed.progress == whole.progress
    assert_same_weights(weights(resumed), weights(whole))
    assert_same_moments(resumed, whole)


def test_roll_backs_are_bounded_over_restarts(tmp_path, tone_clips):
    bad = range(5, 100)
    train(tmp_path, tone_clips, 30, bad, until=8, max_roll_backs=2)
    told = "step 13: 3 steps in a row were skipped, this one because the gradi"
    with pytest.raises(UserError, match=told):
        train(tmp_path, tone_clips, 30, bad, max_roll_backs=2)
    with pytest.raises(UserError, match="step 7: 3 steps in a row"):
        train(tmp_path / "b", tone_clips, 30, bad, max_roll_backs=0)


def test_without_a_checkpoint_there_is_no_way_back(tmp_path, tone_clips):
    with pytest.raises(UserError, match="step 3: 3 steps in a row"):
        train(tmp_path, tone_clips, 9, bad=(1, 2, 3))
