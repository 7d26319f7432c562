"""Lattice-free MMI in the recognition objective."""

import pytest
import torch

from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.objectives.recognition import RecognitionObjective
from tests.tones import TONE_TEXTS
from tests.training.runs import (
    TOKENIZER,
    make_batch,
    make_brain,
    make_loader,
)


def make_objective(**options):
    options = {"mmi_weight": 0.9, "mmi_order": 2} | options
    return RecognitionObjective(
        TOKENIZER, 0.3, 0.5, texts=TONE_TEXTS, **options
    )


def built(**options):
    torch.manual_seed(0)
    objective = make_objective(**options)
    return objective, objective.build_model(ModelConfig.tiny()).eval()


def sums_of(objective, model, batch, progress=1.0):
    inputs = objective.make_inputs(batch, model, progress)
    return objective.losses(model, inputs, True), inputs.counts


def test_weights_interpolate():
    """Weight 0.35 for CTC: 0.1 of it for CTC alone and 0.9 for MMI."""
    weights = make_objective().weights
    assert weights["ctc"] == pytest.approx(0.35)
    assert weights["denominator"] == pytest.approx(0.9 * 0.35)


def test_a_batch_is_the_sum_of_its_utterances(tone_clips):
    objective, model = built()
    batch = make_batch("finetune", tone_clips, range(6))
    sums, counts = sums_of(objective, model, batch)
    assert counts["denominator"] == counts["ctc"]
    assert sums["denominator"] < 0
    total = sum(
        sums_of(objective, model, make_batch("finetune", tone_clips, [i]))[0][
            "denominator"
        ].item()
        for i in range(6)
    )
    assert sums["denominator"].item() == pytest.approx(total, rel=1e-5)


def test_it_grows_after_a_start_with_ctc_alone(tone_clips):
    objective, model = built(mmi_start=0.3)
    batch = make_batch("finetune", tone_clips, range(4))
    start, half, full, end = (
        sums_of(objective, model, batch, progress)[0]["denominator"].item()
        for progress in (0.3, 0.35, 0.4, 1.0)
    )
    assert start == 0
    assert half == pytest.approx(full / 2)
    assert full == end != 0


def test_an_utterance_that_ctc_cannot_align_is_counted_and_left_out(
    tone_clips,
):
    """Its log Z is finite, but without a numerator there is no criterion."""
    objective, model = built()
    batch = make_batch("finetune", tone_clips, range(3))
    expected, _ = sums_of(
        objective, model, make_batch("finetune", tone_clips, [0, 1])
    )
    batch.token_lens[2] = batch.tokens.shape[1]
    batch.samples[2], batch.wav_lens[2] = 800, 800 / batch.wavs.shape[1]
    sums, _ = sums_of(objective, model, batch)
    assert sums["ctc_skipped"] == 1
    assert sums["denominator"].item() == pytest.approx(
        expected["denominator"].item(), rel=1e-5
    )


def test_a_tiny_model_memorises_eight_clips(tmp_path, tone_clips):
    brain = make_brain(
        "finetune",
        tmp_path,
        150,
        peak_lr=4e-3,
        objective=make_objective(mmi_start=0.3),
    )
    loader = make_loader(
        "finetune", tone_clips, 150, global_batch=8, max_batch_seconds=30.0
    )
    batch = make_batch("finetune", tone_clips, range(8))
    brain.fit(loader, [batch])
    sums, counts = (
        brain.objective.losses(
            brain.model.eval(), brain.prepare(batch, 150), training=False
        ),
        brain.prepare(batch, 150).counts,
    )
    assert sums["wer"] == 0
    assert sums["ctc"] / counts["ctc"] < 0.3
