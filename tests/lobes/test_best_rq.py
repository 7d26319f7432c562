from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.lobes.best_rq import BestRq
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.masking import SpecAugment, draw_span_mask
from nar_asr_lobes.lobes.model import NarAsr

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


def test_batch_equals_one_by_one(model, ragged):
    wavs, wav_lens = ragged(SAMPLES)
    mask = masks(model, SAMPLES)
    logits, targets = model(wavs, wav_lens, mask)
    assert len(logits) == len(targets) == mask.sum()
    logits = logits.split(mask.sum(1).tolist())
    targets = targets.split(mask.sum(1).tolist())
    for row, count in enumerate(SAMPLES):
        frames = max(1, int(model.output_lengths(torch.tensor(count))))
        alone, codes = model(
            wavs[row : row + 1, :count],
            torch.ones(1),
            mask[row : row + 1, :frames],
        )
        torch.testing.assert_close(logits[row], alone, atol=1e-5, rtol=0)
        assert torch.equal(targets[row], codes)


def test_targets_are_of_the_audio_without_masks(model, ragged):
    wavs, wav_lens = ragged(SAMPLES[:2])
    mask = masks(model, SAMPLES[:2])
    _, targets = model(wavs, wav_lens, mask)
    assert torch.equal(targets, model.quantizer(wavs, wav_lens)[mask])


def test_hidden_frames_are_guessed_from_the_others(model, ragged):
    """All hidden: nothing is left to tell one utterance from another."""
    wavs, wav_lens = ragged([8000, 8000])
    frames = int(model.output_lengths(torch.tensor(8000)))
    hide_all = torch.ones(2, frames, dtype=torch.bool)
    one, two = model(wavs, wav_lens, hide_all)[0].chunk(2)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    hide_all[:, 0] = False
    one, two = model(wavs, wav_lens, hide_all)[0].chunk(2)
    assert (one - two).abs().max() > 1e-3


def test_more_masks_change_the_guesses_and_not_the_targets(model, ragged):
    wavs, wav_lens = ragged(SAMPLES)
    mask = masks(model, SAMPLES)
    plain, targets = model(wavs, wav_lens, mask)
    masker = SpecAugment().masker(range(len(SAMPLES)))
    masked, same = model(wavs, wav_lens, mask, masker)
    assert torch.equal(targets, same)
    assert not torch.allclose(plain, masked)


@pytest.mark.parametrize("samples", [[100], [399, 50], [2679]])
def test_a_batch_of_scraps_gives_no_targets_and_no_error(samples, ragged):
    model = BestRq(TINY, codebooks=2, codes=32)
    mask = masks(model, samples)
    logits, targets = model(*ragged(samples), mask)
    assert logits.shape == (0, 2, 32) and targets.shape == (0, 2)
    logits.sum().backward()
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
