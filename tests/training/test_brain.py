import logging
from functools import partial

import pytest
import torch
from speechbrain import Stage

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.init_from import reinit_parts
from nar_asr_lobes.training.optim.scheduler import WarmupCosine, is_pretrained
from tests.training.runs import (
    ALL_KINDS,
    KINDS,
    Recorder,
    SpySgd,
    assert_same_weights,
    make_batch,
    make_brain,
    make_loader,
    make_objective,
    weights,
)

SGD = partial(SpySgd, lr=1.0)


def ready(kind, folder, **changes):
    """A brain that can make steps."""
    torch.manual_seed(0)
    brain = make_brain(kind, folder, steps=20, **changes)
    brain.on_fit_start()
    brain.modules.train()
    return brain


def broken(batch):
    """The batch with a NaN in its second utterance."""
    batch.wavs[1, 700] = torch.nan
    return batch


@pytest.mark.parametrize("kind", KINDS)
def test_all_groups_are_clipped_together(kind, tmp_path, tone_clips):
    """A norm of 0.1, which both objectives exceed."""
    batch = [make_batch(kind, tone_clips, range(4))]
    free, clipped = (
        ready(kind, tmp_path, optimizer=SGD, max_grad_norm=limit)
        for limit in (1e9, 0.1)
    )
    before, after = free.fit_batch(batch), clipped.fit_batch(batch)
    groups = free.optimizer.norms()
    assert len(groups) > 4 and max(groups) > 2 * min(groups) > 0
    norm = torch.tensor(groups).norm().item()
    assert before["grad_norm"] == after["grad_norm"]
    assert before["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert norm > 0.2
    total = torch.tensor(clipped.optimizer.norms()).norm().item()
    assert total == pytest.approx(0.1, rel=1e-4)
    for one, two in zip(groups, clipped.optimizer.norms(), strict=True):
        assert two == pytest.approx(one * 0.1 / norm, rel=1e-3)


def test_the_norm_is_at_most_one_by_default(tmp_path, tone_clips):
    objective = make_objective("finetune")
    objective.weights = {k: 50 * w for k, w in objective.weights.items()}
    brain = ready("finetune", tmp_path, optimizer=SGD, objective=objective)
    averages = brain.fit_batch([make_batch("finetune", tone_clips, range(4))])
    assert averages["grad_norm"] > 10
    assert torch.tensor(brain.optimizer.norms()).norm() <= 1.0 + 1e-6


def test_a_small_gradient_is_left_alone(tmp_path, tone_clips):
    batch = [make_batch("finetune", tone_clips, range(4))]
    spies = []
    for limit in (1e4, 1e9):
        brain = ready("finetune", tmp_path, optimizer=SGD, max_grad_norm=limit)
        brain.fit_batch(batch)
        spies.append(brain.optimizer.gradients)
    for one, two in zip(*spies, strict=True):
        for x, y in zip(one, two, strict=True):
            assert torch.equal(x, y)


@pytest.mark.parametrize("kind", KINDS)
def test_one_micro_batch_equals_four(kind, tmp_path, tone_clips):
    parts = [[0], [1, 2], [3, 4, 5, 6], [7]]
    whole = [make_batch(kind, tone_clips, range(8))]
    split = [make_batch(kind, tone_clips, part) for part in parts]
    one, four = (ready(kind, tmp_path, optimizer=SGD) for _ in "ab")
    expected, found = one.fit_batch(whole), four.fit_batch(split)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    for mine, others in zip(
        four.optimizer.gradients, one.optimizer.gradients, strict=True
    ):
        for x, y in zip(mine, others, strict=True):
            torch.testing.assert_close(x, y, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_sums_over_counts_of_the_whole_step(
    kind, tmp_path, tone_clips
):
    batches = [make_batch(kind, tone_clips, part) for part in ([0, 1], [5])]
    brain = ready(kind, tmp_path)
    sums, counts = {}, {}
    parts = [
        brain.objective.make_inputs(batch, brain.model) for batch in batches
    ]
    brain.objective.init_from_batch(brain.model, parts)
    for prepared in parts:
        found = brain.objective.losses(brain.model, prepared, training=True)
        found = {name: x for name, x in found.items() if not x.ndim}
        for name, value in found.items():
            sums[name] = sums.get(name, 0) + value.item()
            counts[name] = counts.get(name, 0) + prepared.counts[name]
    averages = brain.fit_batch(batches)
    for name, value in sums.items():
        expected = value / counts[name]
        assert averages[name] == pytest.approx(expected, rel=1e-5), name
    weighted = brain.objective.weights.items()
    assert averages["loss"] == pytest.approx(
        sum(w * sums[n] / counts[n] for n, w in weighted), rel=1e-5
    )


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_nan_skips_the_step_and_is_counted(
    kind, tmp_path, tone_clips, caplog
):
    brain = ready(kind, tmp_path)
    good = [make_batch(kind, tone_clips, range(4))]
    bad = [good[0], broken(make_batch(kind, tone_clips, [4, 5]))]
    brain.fit_batch(good)
    before = weights(brain)
    moments = [dict(state) for state in brain.optimizer.state.values()]
    with caplog.at_level(logging.WARNING):
        averages = brain.fit_batch(bad)
    assert averages["skipped"] == 1
    assert_same_weights(weights(brain), before)
    for old, new in zip(moments, brain.optimizer.state.values(), strict=True):
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert (brain.progress.step, brain.progress.skipped) == (2, 1)
    assert "step 2: the gradient is not finite" in caplog.text
    assert all(clip.id in caplog.text for clip in tone_clips[:6])
    averages = brain.fit_batch(good)
    assert averages["skipped"] == 0
    assert averages["lr"] == pytest.approx(brain.scheduler.lr_at(3))
    after = weights(brain)
    assert not torch.equal(
        after["encoder.layers.norm.weight"],
        before["encoder.layers.norm.weight"],
    )
    assert all(value.isfinite().all() for value in after.values())


def test_a_skipped_step_leaves_the_log_and_its_warnings_alone(
    tmp_path, tone_clips, caplog
):
    recorder = Recorder()
    brain = make_brain(
        "wav2vec2",
        tmp_path,
        4,
        scheduler=partial(WarmupCosine, 1e-9, warmup_ratio=0.0),
        train_logger=recorder,
        log_interval=4,
    )
    with torch.no_grad():  # a collapse: equal states
        brain.model.encoder.layers.norm.weight.zero_()
        brain.model.encoder.layers.norm.bias.fill_(1.0)
    make_step, numbers = brain.make_step, []

    def spoiled(prepared, *following):
        if brain.progress.step == 1:
            prepared[0].batch.wavs.fill_(torch.nan)
        averages = make_step(prepared, *following)
        numbers.append(averages)
        return averages

    brain.make_step = spoiled
    brain.fit(make_loader("wav2vec2", tone_clips, 4))
    [(_, train, _)] = recorder.lines
    assert train["skipped"] == 0.25 and len(numbers) == 4
    kept = [n["loss"] for n in numbers if not n["skipped"]]
    assert train["loss"] == pytest.approx(sum(kept) / 3)
    assert "feature_std: the encoder's states are nearly" in caplog.text


def test_too_many_skipped_steps_in_a_row_end_the_run(tmp_path, tone_clips):
    brain = ready("pretrain", tmp_path, max_skipped=2)
    good = [make_batch("pretrain", tone_clips, [0, 1])]
    bad = [broken(make_batch("pretrain", tone_clips, [0, 1]))]
    for step in (bad, bad, good, bad, bad):
        brain.fit_batch(step)
    with pytest.raises(UserError, match="step 6: 3 steps in a row were sk"):
        brain.fit_batch(bad)
    assert brain.progress.skipped == 5


@pytest.mark.parametrize("fresh", [(), reinit_parts(1, 2)])
def test_heads_have_their_rate_and_vectors_no_decay(
    tmp_path, tone_clips, fresh
):
    """Fresh layers of the encoder count as heads."""
    brain = ready("finetune", tmp_path, head_lr_scale=3.0, reinit_parts=fresh)
    lr = brain.fit_batch([make_batch("finetune", tone_clips, [0])])["lr"]
    names = {p: name for name, p in brain.model.named_parameters()}
    seen = 0
    for group in brain.optimizer.param_groups:
        for parameter in group["params"]:
            known = is_pretrained(names[parameter], fresh)
            assert group["lr"] == (lr if known else 3 * lr)
            assert (group["weight_decay"] == 0) == (parameter.ndim == 1)
            seen += 1
    assert seen == len(names)


@pytest.mark.parametrize("fresh", [(), reinit_parts(1, 2)])
def test_a_resting_encoder_rests_and_then_moves(tmp_path, tone_clips, fresh):
    brain = ready(
        "finetune", tmp_path, freeze_encoder_steps=2, reinit_parts=fresh
    )
    start = weights(brain)
    for step in range(3):
        brain.fit_batch([make_batch("finetune", tone_clips, [0, step])])
        now = weights(brain)
        named = brain.model.named_parameters()
        learns = {k for k, p in named if p.requires_grad}
        assert any(is_pretrained(k, fresh) for k in learns) == (step == 2)
        moved = {k for k, v in now.items() if not torch.equal(v, start[k])}
        assert any(is_pretrained(k, fresh) for k in moved) == (step == 2)
        assert "ctc_head.weight" in moved
        assert not fresh or any(k.startswith(fresh) for k in moved)


def test_intervals_of_logs_validations_and_checkpoints(tmp_path, tone_clips):
    recorder = Recorder()
    brain = make_brain(
        "pretrain",
        tmp_path,
        steps=7,
        train_logger=recorder,
        log_interval=2,
        valid_interval=3,
        checkpoint_interval=5,
    )
    saved, save = [], brain.save
    brain.save = lambda score=None: (
        saved.append((brain.progress.step, score)),
        save(score),
    )
    valid = [make_batch("pretrain", tone_clips, [6, 7])]
    brain.fit(make_loader("pretrain", tone_clips, 7), valid)
    assert recorder.steps("train") == [2, 4, 6, 7]
    assert recorder.steps("valid") == [3, 6, 7]
    scores = [line[2]["best_rq"] for line in recorder.lines if line[2]]
    assert saved == [
        (3, scores[0]),
        (5, None),  # the weights of this step were not validated
        (6, scores[1]),
        (7, scores[2]),
    ]
    assert brain.checkpoints.best().metadata["score"] == min(scores)
    train = recorder.lines[-2][1]
    assert {"loss", "lr", "grad_norm", "skipped"} <= train.keys()


def test_audio_is_counted(tmp_path, tone_clips):
    brain = make_brain("pretrain", tmp_path, steps=4)
    brain.fit(make_loader("pretrain", tone_clips, 4, global_batch=8))
    seconds = 4 * sum(clip.duration for clip in tone_clips)
    assert brain.progress.audio_seconds == pytest.approx(seconds)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_validation_is_the_same_in_any_batches_and_disturbs_nothing(
    kind, tmp_path, tone_clips
):
    brain = ready(kind, tmp_path, dropout=0.5, spec=True)
    before, stream = weights(brain), torch.get_rng_state()
    one = brain.validate([make_batch(kind, tone_clips, range(8))])
    parts = [[3, 0], [1, 2, 4, 5, 6], [7]]
    four = brain.validate([make_batch(kind, tone_clips, p) for p in parts])
    assert one == pytest.approx(four, rel=1e-5)
    assert_same_weights(weights(brain), before)
    assert torch.equal(torch.get_rng_state(), stream)
    assert brain.model.training


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_dev_split_without_anything_to_count_is_named(kind, tmp_path):
    with pytest.raises(UserError, match="dev split has nothing to count"):
        ready(kind, tmp_path).validate([])


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_bf16_trains_like_fp32_on_the_same_targets(kind, tmp_path, tone_clips):
    batch = [make_batch(kind, tone_clips, range(4))]
    full, half = (
        ready(kind, tmp_path, precision=precision).fit_batch(batch)
        for precision in ("fp32", "bf16")
    )
    assert half["loss"] != full["loss"]
    assert half["loss"] == pytest.approx(full["loss"], rel=0.03)
    assert half["skipped"] == 0


def test_a_run_of_another_kind_is_not_continued(tmp_path, tone_clips):
    steps = make_loader("finetune", tone_clips, 1)
    make_brain("finetune", tmp_path, 1, metadata={"tokenizer": "ab12"}).fit(
        steps
    )
    other = make_brain("finetune", tmp_path, 1, metadata={"tokenizer": "cd34"})
    with pytest.raises(UserError, match="made with tokenizer ab12, now it is"):
        other.fit(steps)


def test_a_tiny_model_memorises_eight_clips(tmp_path, tone_clips):
    steps, recorder = 150, Recorder()
    brain = make_brain(
        "finetune",
        tmp_path,
        steps,
        peak_lr=4e-3,
        train_logger=recorder,
        log_interval=10,
    )
    loader = make_loader(
        "finetune",
        tone_clips,
        steps,
        global_batch=8,
        max_batch_seconds=30.0,
    )
    brain.fit(loader, [make_batch("finetune", tone_clips, range(8))])
    step, _, valid = recorder.lines[-1]
    assert step == steps
    assert valid["wer"] == 0
    assert valid["accuracy"] > 0.9
    assert valid["ctc"] < 0.1
    losses = [line[1]["loss"] for line in recorder.lines if line[1]]
    assert losses[-1] < losses[0] / 5


class CtcAlone(NarBrain):
    """Overrides what a Brain of SpeechBrain overrides."""

    stages = ()

    def compute_forward(self, batch, stage):
        self.stages = (*self.stages, stage)
        return super().compute_forward(batch, stage)

    def compute_objectives(self, predictions, batch, stage):
        counts = self.counts if stage == Stage.TRAIN else batch.counts
        return predictions["ctc"] / counts["ctc"]


def test_a_subclass_trains_on_its_own_loss(tmp_path, tone_clips):
    brain = ready("finetune", tmp_path, brain_class=CtcAlone)
    before = weights(brain)
    batches = [make_batch("finetune", tone_clips, x) for x in ([0, 1], [2])]
    averages = brain.fit_batch(batches)
    assert averages["loss"] == pytest.approx(averages["ctc"], rel=1e-6)
    now = weights(brain)
    moved = {k for k, v in now.items() if not torch.equal(v, before[k])}
    assert "ctc_head.weight" in moved
    assert not any(name.startswith("decoder.") for name in moved)
    brain.validate(batches)
    assert brain.stages == (*[Stage.TRAIN] * 2, *[Stage.VALID] * 2)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_evaluate_gives_the_loss_of_the_best_checkpoint(
    kind, tmp_path, tone_clips
):
    batches = [make_batch(kind, tone_clips, part) for part in ([0, 1, 2], [3])]
    brain = make_brain(kind, tmp_path, 2, valid_interval=1)
    assert brain.evaluate(batches) > 0  # of its first weights
    brain.fit(make_loader(kind, tone_clips, 2), batches)
    best = brain.checkpoints.best().load("model")
    with torch.no_grad():
        brain.model.encoder.layers.norm.weight.zero_()
    loss = brain.evaluate(batches)
    assert_same_weights(weights(brain), best)
    assert not brain.model.training
    expected = 0.0
    for batch in batches:
        item = brain.prepare(batch)
        with torch.no_grad():
            sums = brain.objective.losses(brain.model, item, training=False)
        for name, weight in brain.objective.weights.items():
            share = float(sums[name]) / max(item.counts[name], 1.0)
            expected += weight * share / len(batches)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


class Constant:
    """The least that a schedule needs."""

    warmup = 0.0

    def __init__(self, steps):
        self.steps = steps

    def step(self, optimizer):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        return 1e-3

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert state == {}


def test_a_schedule_and_an_optimiser_may_be_others(tmp_path, tone_clips):
    recorder = Recorder()
    changes = {"scheduler": Constant, "optimizer": torch.optim.RAdam}
    brain = make_brain(
        "pretrain", tmp_path, 3, train_logger=recorder, **changes
    )
    brain.fit(make_loader("pretrain", tone_clips, 3))
    [(_, train, _)] = recorder.lines
    assert train["lr"] == 1e-3
    again = make_brain("pretrain", tmp_path, 3, **changes)
    again.on_fit_start()
    assert again.resume().step == 3
    assert_same_weights(weights(again), weights(brain))
