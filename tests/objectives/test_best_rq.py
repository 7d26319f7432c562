from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.masking import SpecAugment, draw_span_mask
from nar_asr_lobes.lobes.model import NarAsr
from nar_asr_lobes.objectives.best_rq import BestRq

TINY = ModelConfig.tiny()
SAMPLES = [12000, 8001, 5000, 2679, 100]


@pytest.fixture(params=["gabor", "wav2vec2"])
def model(request):
    torch.manual_seed(0)
    config = replace(TINY, stem=request.param, stem_channels=16)
    return BestRq(config, codebooks=2, codes=32).eval()


def masks(model, samples, seed=0):
    lengths = model.output_lengths(torch.tensor(samples))
    seeds = range(seed, seed + len(samples))
    return draw_span_mask(seeds, lengths, 0.5, 4)


def run(model, wavs, wav_lens, mask, mask_fn=None):
    """The output for a mask."""
    positions = mask.flatten().nonzero().squeeze(1)
    return model(wavs, wav_lens, mask, positions, mask_fn)


def test_batch_equals_one_by_one(model, ragged):
    wavs, wav_lens = ragged(SAMPLES)
    mask = masks(model, SAMPLES)
    model.soft_temperature = 0.1
    out = run(model, wavs, wav_lens, mask)
    assert len(out.logits) == len(out.targets) == mask.sum()
    counts = mask.sum(1).tolist()
    logits, targets, soft = (
        x.split(counts) for x in (out.logits, out.targets, out.soft)
    )
    for row, count in enumerate(SAMPLES):
        frames = max(1, int(model.output_lengths(torch.tensor(count))))
        alone = run(
            model,
            wavs[row : row + 1, :count],
            torch.ones(1),
            mask[row : row + 1, :frames],
        )
        torch.testing.assert_close(logits[row], alone.logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(soft[row], alone.soft, atol=1e-5, rtol=0)
        assert torch.equal(targets[row], alone.targets)


def test_targets_are_of_the_audio_without_masks(model, ragged):
    wavs, wav_lens = ragged(SAMPLES[:2])
    mask = masks(model, SAMPLES[:2])
    targets = run(model, wavs, wav_lens, mask).targets
    assert torch.equal(targets, model.quantizer(wavs, wav_lens)[mask])


def test_soft_targets_are_sharper_when_colder_and_agree_with_the_hard(
    model, ragged
):
    wavs, wav_lens = ragged(SAMPLES[:3])
    mask = masks(model, SAMPLES[:3])
    assert run(model, wavs, wav_lens, mask).soft is None
    peaks = []
    for temperature in (1.0, 0.1, 0.001):
        model.soft_temperature = temperature
        out = run(model, wavs, wav_lens, mask)
        total = out.soft.sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total))
        assert torch.equal(out.soft.argmax(-1), out.targets)
        peaks.append(out.soft.amax(-1).mean().item())
    assert peaks[0] < peaks[1] / 2 and peaks[2] > 0.95


def test_masked_frames_are_guessed_from_the_others(model, ragged):
    """All masked: nothing is left to tell one utterance from another."""
    wavs, wav_lens = ragged([8000, 8000])
    frames = int(model.output_lengths(torch.tensor(8000)))
    hide_all = torch.ones(2, frames, dtype=torch.bool)
    one, two = run(model, wavs, wav_lens, hide_all).logits.chunk(2)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    hide_all[:, 0] = False
    one, two = run(model, wavs, wav_lens, hide_all).logits.chunk(2)
    assert (one - two).abs().max() > 1e-3


def test_more_masks_change_the_guesses_and_not_the_targets(model, ragged):
    wavs, wav_lens = ragged(SAMPLES)
    mask = masks(model, SAMPLES)
    plain = run(model, wavs, wav_lens, mask)
    stem = model.encoder.frontend.stem
    mask_fn = SpecAugment().draw(
        range(len(SAMPLES)),
        stem.feature_lengths(torch.tensor(SAMPLES)).tolist(),
        stem.feature_channels,
    )
    masked = run(model, wavs, wav_lens, mask, mask_fn)
    assert torch.equal(plain.targets, masked.targets)
    assert not torch.allclose(plain.logits, masked.logits)


@pytest.mark.parametrize("samples", [[100], [399, 50], [1759]])
def test_a_batch_of_scraps_gives_no_targets_and_no_error(samples, ragged):
    model = BestRq(TINY, codebooks=2, codes=32)
    mask = masks(model, samples)
    out = run(model, *ragged(samples), mask)
    assert out.logits.shape == (0, 2, 32) and out.targets.shape == (0, 2)
    out.logits.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name  # DDP waits for it


def test_the_encoder_fits_the_recogniser(model):
    names = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith("encoder.")
    }
    recogniser = NarAsr(model.config, 11)
    missing = recogniser.load_state_dict(names, strict=False)
    assert missing.unexpected_keys == []
    assert not any(k.startswith("encoder.") for k in missing.missing_keys)
