import logging
import random
from dataclasses import replace
from functools import partial

import pytest
import soundfile
import torch
from torch.nn import functional as F

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.masking import draw_span_mask
from nar_asr_lobes.objectives.best_rq import BestRqObjective
from nar_asr_lobes.objectives.wav2vec2 import Wav2Vec2Objective, _info_nce
from tests.tones import tone_speech
from tests.training.runs import (
    Recorder,
    SpySgd,
    make_batch,
    make_brain,
    make_loader,
    make_objective,
)

TINY = ModelConfig.tiny()
KINDS = ("pretrain", "wav2vec2")
SIZES = {"negatives": 20, "codes": 32, "code_dim": 16, "width": 32}


class Noiseless(Wav2Vec2Objective):
    """Takes the best code in training too, and leaves out the diversity.

    What is left must not depend on how a step is cut.
    """

    def __init__(self):
        super().__init__(0.5, 4, **SIZES, diversity_weight=0.0)

    def gumbel(self, progress):
        """No temperature, no noise."""
        return None


def run(objective, batch, progress=0.0, training=False, **sizes):
    """An objective's sums, counts and draws for a batch."""
    torch.manual_seed(0)
    model = objective.build_model(replace(TINY, **sizes)).eval()
    inputs = objective.make_inputs(batch, model, progress)
    return objective.losses(model, inputs, training), inputs, model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stem", ["gabor", "wav2vec2"])
def test_a_batch_is_the_sum_of_its_utterances(kind, stem, tone_clips):
    """Targets, hits and losses are blind to padding."""
    objective = make_objective(kind)
    kept = {"stem": stem, "stem_channels": 16}
    whole, inputs, _ = run(
        objective, make_batch(kind, tone_clips, range(8)), **kept
    )
    total, counts = {}, {}
    for index in range(8):
        batch = make_batch(kind, tone_clips, [index])
        sums, one, _ = run(objective, batch, **kept)
        for name, value in sums.items():
            total[name] = total.get(name, 0) + value
        for name, value in one.counts.items():
            counts[name] = counts.get(name, 0) + value
    assert counts == inputs.counts
    whole.pop("diversity", None)  # of all codes together, as it says
    for name, value in whole.items():
        torch.testing.assert_close(value, total[name], rtol=1e-5, atol=1e-5)


def test_best_rq_is_cross_entropy_over_the_masked_frames(tone_clips):
    objective = BestRqObjective(0.5, 4, 2, 32)
    batch = make_batch("pretrain", tone_clips, range(4))
    sums, inputs, model = run(objective, batch)
    lengths = model.output_lengths(batch.samples)
    drawn = draw_span_mask(batch.seeds, lengths, 0.5, 4)
    assert torch.equal(inputs.mask, drawn)
    positions = drawn.flatten().nonzero().squeeze(1)
    out = model(batch.wavs, batch.wav_lens, drawn, positions)
    loss = hits = 0.0
    for row, codes in zip(out.logits, out.targets, strict=True):
        for scores, code in zip(row, codes, strict=True):
            loss += F.cross_entropy(scores, code).item()
            hits += scores.argmax().item() == code.item()
    predictions = out.targets.numel()
    assert predictions == 2 * drawn.sum()
    assert inputs.counts == {
        "best_rq": predictions,
        "accuracy": predictions,
        "feature_std": lengths.sum(),
        "feature_rank": lengths.sum(),
    }
    assert sums["best_rq"].item() == pytest.approx(loss, rel=1e-5)
    assert sums["accuracy"] == hits
    for book in range(2):
        met = torch.bincount(out.targets[:, book], minlength=32)
        assert torch.equal(sums["targets"][book].long(), met)


def test_unmasked_frames_have_a_loss_of_their_own(tone_clips):
    masked_only = BestRqObjective(0.5, 4, 2, 32, soft_weight=0.25)
    objective = BestRqObjective(
        0.5, 4, 2, 32, soft_weight=0.25, unmasked_loss_weight=0.5
    )
    assert objective.weights == {"best_rq": 0.75, "kl": 0.25, "unmasked": 0.5}
    batch = make_batch("pretrain", tone_clips, range(4))
    before, plain, _ = run(masked_only, batch)
    sums, inputs, model = run(objective, batch)
    for name, value in before.items():
        torch.testing.assert_close(sums[name], value)
        assert inputs.counts.get(name) == plain.counts.get(name)
    lengths = model.output_lengths(batch.samples)
    loss, unmasked = 0.0, 0
    for row, length in enumerate(lengths.tolist()):
        for frame in range(length):
            if inputs.mask[row, frame]:
                continue
            place = torch.tensor([row * inputs.mask.shape[1] + frame])
            out = model(batch.wavs, batch.wav_lens, inputs.mask, place)
            loss += F.cross_entropy(
                out.logits.flatten(0, 1), out.targets.flatten(), reduction="sum"
            ).item()
            unmasked += 1
    assert inputs.counts["unmasked"] == 2 * unmasked
    assert sums["unmasked"].item() == pytest.approx(loss, rel=1e-4)


def test_soft_targets_add_a_divergence(tone_clips):
    plain = BestRqObjective(0.5, 4, 2, 32)
    soft = BestRqObjective(0.5, 4, 2, 32, None, 0.25, soft_temperature=0.2)
    assert soft.weights == {"best_rq": 0.75, "kl": 0.25}
    batch = make_batch("pretrain", tone_clips, range(4))
    before, _, _ = run(plain, batch)
    sums, inputs, model = run(soft, batch)
    assert "kl" not in before
    assert torch.equal(before["best_rq"], sums["best_rq"])
    out = model(batch.wavs, batch.wav_lens, inputs.mask, inputs.positions)
    projected = model.quantizer.project(batch.wavs, batch.wav_lens)
    cosines = model.quantizer.similarities(projected[inputs.mask])
    wanted = (cosines / 0.2).softmax(-1)
    apart = wanted * (wanted.log() - out.logits.log_softmax(-1))
    assert sums["kl"].item() == pytest.approx(apart.sum().item(), rel=1e-4)
    assert inputs.counts["kl"] == inputs.counts["best_rq"]


@pytest.mark.parametrize("unmasked_loss_weight", [0.0, 0.5])
def test_wav2vec2_losses_are_what_the_model_says(
    unmasked_loss_weight, tone_clips
):
    objective = Wav2Vec2Objective(
        0.5, 4, **SIZES, unmasked_loss_weight=unmasked_loss_weight
    )
    batch = make_batch("wav2vec2", tone_clips, range(4))
    sums, inputs, model = run(objective, batch)
    mask, positions = inputs.mask, inputs.positions
    lengths = model.output_lengths(batch.samples)
    out = model(batch.wavs, batch.wav_lens, mask, positions)
    all_losses, all_hits = _info_nce(
        out.contexts, out.targets, out.codes, inputs.distractors
    )
    wanted = dict.fromkeys(["contrastive", "accuracy", "unmasked"], 0)
    for row, length in enumerate(lengths.tolist()):
        mine = mask[row].nonzero().squeeze(1)
        rest = (~mask[row, :length]).nonzero().squeeze(1)
        if not unmasked_loss_weight:
            rest = rest[:0]
        first, asked = len(mine), len(mine) + len(rest)
        assert positions[row, :asked].tolist() == [*mine, *rest]
        drawn = inputs.distractors[row].sum(1)
        assert (drawn[:asked] == 20).all() and not drawn[asked:].any()
        loss, hits = all_losses[row], all_hits[row]
        wanted["contrastive"] += loss[:first].sum()
        wanted["accuracy"] += hits[:first].sum()
        wanted["unmasked"] += loss[first:].sum()
    if not unmasked_loss_weight:
        assert wanted.pop("unmasked") == 0
    else:
        assert objective.weights["unmasked"] == 0.5
        assert inputs.counts["unmasked"] == (lengths.sum() - mask.sum())
    for name, value in wanted.items():
        torch.testing.assert_close(sums[name], value)
    entropy = torch.special.entr(out.probabilities).sum(-1)
    diversity = 1 - entropy.exp().sum() / 64
    masked = mask.sum().item()
    assert sums["diversity"].item() == pytest.approx(
        diversity.item() * masked, rel=1e-4
    )
    assert sums["codes"].sum() == 2 * masked == 2 * inputs.counts["accuracy"]
    assert inputs.counts["contrastive"] == masked
    assert inputs.counts["penalty"] == lengths.sum()


def test_a_frame_that_is_alone_is_not_masked(tone_clips):
    """Of two frames one is masked by BEST-RQ, by wav2vec 2.0 if it sees."""
    batch = make_batch("wav2vec2", tone_clips, [0])

    def cut(samples):
        return replace(
            batch,
            wavs=batch.wavs[:, :samples],
            samples=torch.tensor([samples]),
            wav_lens=torch.ones(1),
        )

    blind = Wav2Vec2Objective(0.5, 4, **SIZES)
    seeing = make_objective("wav2vec2")
    for objective, count, unmasked in (
        (make_objective("pretrain"), 1, 2),  # of two codebooks
        (blind, 0, None),
        (seeing, 1, 1),
    ):
        _, inputs, _ = run(objective, cut(2700))
        assert inputs.mask.shape == (1, 2)
        assert inputs.mask.sum() == count
        assert inputs.counts.get("unmasked") == unmasked
        assert inputs.counts["feature_std"] == 2
    sums, inputs, _ = run(seeing, cut(2000))  # one frame in all
    assert inputs.counts["feature_std"] == 1
    assert inputs.counts["unmasked"] == sums["unmasked"] == 0


def test_the_gumbel_temperature_falls_to_its_floor():
    objective = Wav2Vec2Objective(0.5, 4, gumbel_ratio=0.5)
    found = [objective.gumbel(step / 8) for step in range(9)]
    falling = [2.0, 2**0.5, 1.0, 0.5**0.5, 0.5]
    assert found == pytest.approx(falling + 4 * [0.5])


def test_a_resumed_run_goes_on_with_the_temperature(tmp_path, tone_clips):
    """That it ends alike, bit for bit, is in test_resume.py."""

    def temperatures(folder, steps_left):
        brain = make_brain("wav2vec2", folder, 4, checkpoint_interval=2)
        seen, make_step = [], brain.make_step

        def watched(inputs, *following):
            if brain.progress.step == steps_left:
                raise KeyboardInterrupt
            for item in inputs:
                seen.append((brain.progress.step, item.temperature))
            return make_step(inputs, *following)

        brain.make_step = watched
        try:
            brain.fit(make_loader("wav2vec2", tone_clips, 4))
        except KeyboardInterrupt:
            pass
        return sorted(set(seen))

    whole = temperatures(tmp_path / "whole", None)
    assert whole == [(0, 2.0), (1, pytest.approx(1.0)), (2, 0.5), (3, 0.5)]
    first = temperatures(tmp_path / "halves", 3)
    rest = temperatures(tmp_path / "halves", None)
    assert first == whole[:3] and rest == whole[2:]


def test_one_micro_batch_equals_four(tmp_path, tone_clips):
    """Of wav2vec 2.0 without its noise and its diversity."""
    parts = [[0], [1, 2], [3, 4, 5, 6], [7]]
    steps = []
    for cut in ([range(8)], parts):
        torch.manual_seed(0)
        brain = make_brain(
            "wav2vec2",
            tmp_path,
            9,
            objective=Noiseless(),
            optimizer=partial(SpySgd, lr=1.0),
        )
        brain.on_fit_start()
        brain.modules.train()
        batches = [make_batch("wav2vec2", tone_clips, part) for part in cut]
        averages = brain.fit_batch(batches)
        averages.pop("diversity")
        steps.append(
            (averages, brain.optimizer.gradients, brain.train_log.codes.codes)
        )
    (one, expected, codes), (four, found, same) = steps
    assert four == pytest.approx(one, rel=1e-5, abs=1e-6)
    assert torch.equal(codes["codes"], same["codes"])
    for x, y in zip(sum(expected, []), sum(found, []), strict=True):
        torch.testing.assert_close(y, x, atol=1e-6, rtol=1e-4)


@pytest.fixture(scope="module")
def held_tones(tmp_path_factory):
    """Long tones: what is masked can be told from its neighbours."""
    folder, rng = tmp_path_factory.mktemp("held_tones"), random.Random(0)
    clips = []
    for number in range(8):
        letters = (rng.choice("afkpuz") * rng.randint(4, 7) for _ in range(3))
        samples = tone_speech("".join(letters), number)
        path = folder / f"{number}.wav"
        soundfile.write(path, samples, SAMPLE_RATE)
        seconds = len(samples) / SAMPLE_RATE
        clips.append(Utterance(str(number), str(path), seconds))
    return clips


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_model_learns_what_is_masked(kind, tmp_path, held_tones, caplog):
    """Chance is the share of the commonest code, or 1 of 21 frames."""
    steps, recorder = 60, Recorder()
    torch.manual_seed(0)
    brain = make_brain(
        kind,
        tmp_path,
        steps,
        peak_lr=6e-3,
        train_logger=recorder,
        log_interval=10,
    )
    loader = make_loader(
        kind, held_tones, steps, global_batch=8, max_batch_seconds=30.0
    )
    brain.fit(loader, [make_batch(kind, held_tones, range(8))])
    losses = [train["loss"] for _, train, _ in recorder.lines if train]
    valid = recorder.lines[-1][2]
    codes = {"pretrain": "targets", "wav2vec2": "codes"}[kind]
    assert valid[f"{codes}_perplexity"] > 2.5  # of 6 sounds
    assert valid["feature_std"] > 0.2
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    if kind == "wav2vec2":
        assert losses[-1] < 0.8 * losses[0]
        assert valid["accuracy"] > 5 / 21
    else:
        assert losses[-1] < 0.9 * losses[0]
        batch = make_batch(kind, held_tones, range(8))
        item = brain.prepare(batch)
        sums = brain.objective.losses(brain.model, item, training=False)
        commonest = sums["targets"].amax(1).sum() / sums["targets"].sum()
        assert valid["accuracy"] > 1.5 * commonest


def test_a_projection_is_fitted_to_the_first_step_and_frozen(
    tmp_path, tone_clips
):
    def brain(folder):
        torch.manual_seed(0)
        objective = BestRqObjective(0.5, 4, 2, 32, projection="whitened")
        return make_brain(
            "pretrain", folder, 4, objective=objective, checkpoint_interval=2
        )

    loader = make_loader("pretrain", tone_clips, 4)
    whole = brain(tmp_path / "whole")
    start = whole.model.quantizer.projection.clone()
    whole.on_fit_start()
    first = next(iter(loader))
    assert len(first) > 1
    whole.fit_batch(first)
    fitted = whole.model.quantizer.projection.clone()
    assert not torch.equal(start, fitted)
    whole.fit_batch(first[:1])
    assert torch.equal(fitted, whole.model.quantizer.projection)

    other = brain(tmp_path / "other")
    moments = [
        other.model.quantizer.moments(batch.wavs, batch.wav_lens)
        for batch in first
    ]
    other.model.quantizer.fit(sum(moments))
    assert torch.equal(fitted, other.model.quantizer.projection)

    halves = brain(tmp_path / "halves")
    halves.fit(make_loader("pretrain", tone_clips, 4))
    resumed = brain(tmp_path / "halves")
    resumed.on_fit_start()
    resumed.resume()
    assert torch.equal(fitted, resumed.model.quantizer.projection)
