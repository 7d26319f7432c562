"""Two views of an utterance: the divergence, and the losses over both."""

import pytest
import torch

from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.lobes.model import EncoderOutput
from nar_asr_lobes.objectives.consistency import consistency_sum
from nar_asr_lobes.objectives.recognition import RecognitionObjective
from tests.training.runs import TOKENIZER, make_batch

SPEC = SpecAugment(time_ratio=0.3)


def encoded_logits():
    """Two utterances of 5 and 3 frames in two views each."""
    generator = torch.manual_seed(0)
    logits = torch.randn(4, 5, 6, generator=generator, requires_grad=True)
    lengths = torch.tensor([5, 3, 5, 3])
    log_probs = logits.log_softmax(-1)
    return logits, EncoderOutput(log_probs, lengths, log_probs, [])


def test_the_divergence_is_symmetric_and_of_valid_frames():
    _, encoded = encoded_logits()
    probs, expected = encoded.log_probs.exp(), 0.0
    for one, other in ((0, 2), (2, 0), (1, 3), (3, 1)):
        for t in range(encoded.lengths[one]):
            p, q = probs[one, t], probs[other, t]
            expected += 0.5 * (p * (p / q).log()).sum().item()
    assert consistency_sum(encoded).item() == pytest.approx(expected, rel=1e-5)


def test_its_gradient_pulls_each_view_to_the_other():
    """Half the difference of the posteriors, as the targets are constant."""
    logits, encoded = encoded_logits()
    (gradient,) = torch.autograd.grad(consistency_sum(encoded), logits)
    probs = encoded.log_probs.exp()
    expected = (probs - probs.roll(2, 0)) / 2
    expected[[1, 3], 3:] = 0
    torch.testing.assert_close(gradient, expected)


def built(consistency_weight, spec_augment=SPEC):
    torch.manual_seed(0)
    objective = RecognitionObjective(
        TOKENIZER,
        0.3,
        0.5,
        spec_augment=spec_augment,
        consistency_weight=consistency_weight,
    )
    return objective, objective.build_model(ModelConfig.tiny()).eval()


def sums_of(objective, model, batch, training=True, progress=0.5):
    inputs = objective.make_inputs(batch, model, progress)
    return objective.losses(model, inputs, training), inputs.counts


def test_a_batch_is_the_sum_of_its_utterances(tone_clips):
    objective, model = built(0.2)
    batch = make_batch("finetune", tone_clips, range(6))
    sums, counts = sums_of(objective, model, batch)
    assert sums["consistency"] > 0
    assert sums.keys() <= counts.keys()
    alone = [
        sums_of(objective, model, make_batch("finetune", tone_clips, [i]))[0]
        for i in range(6)
    ]
    for name, value in sums.items():
        total = sum(one[name].item() for one in alone)
        assert value.item() == pytest.approx(total, rel=1e-5), name


def test_the_first_view_is_that_of_a_run_without_it(tone_clips):
    """Both views without masks: the same sums, and nothing to pull at."""
    batch = make_batch("finetune", tone_clips, range(4))
    one, _ = sums_of(*built(0.0, None), batch)
    two, _ = sums_of(*built(0.2, None), batch)
    assert two.pop("consistency") == 0
    for name, value in two.items():
        assert value.item() == pytest.approx(one[name].item()), name


def test_the_views_have_masks_of_their_own(tone_clips):
    objective, model = built(0.2)
    batch = make_batch("finetune", tone_clips, range(4))
    mask_fn = objective.make_inputs(batch, model).mask_fn
    first, second = mask_fn.time.chunk(2)
    assert not torch.equal(first, second)
    plain, _ = built(0.0)
    assert torch.equal(first, plain.make_inputs(batch, model).mask_fn.time)


def test_it_grows_and_is_for_training_only(tone_clips):
    objective, model = built(0.2)
    batch = make_batch("finetune", tone_clips, range(4))
    start, half, full = (
        sums_of(objective, model, batch, progress=progress)[0]["consistency"]
        for progress in (0.0, 0.05, 0.1)
    )
    assert start == 0
    assert half.item() == pytest.approx(full.item() / 2)
    valid, _ = sums_of(objective, model, batch, training=False)
    plain, _ = sums_of(*built(0.0), batch, training=False)
    assert {n: v.item() for n, v in valid.items()} == {
        n: v.item() for n, v in plain.items()
    }
