from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.masking import SpecAugment, draw_span_mask
from nar_asr_lobes.lobes.model import NarAsr
from nar_asr_lobes.objectives.quantizer import GumbelQuantizer
from nar_asr_lobes.objectives.wav2vec2 import Wav2Vec2

TINY = ModelConfig.tiny()
SAMPLES = [12000, 8001, 5000, 4300]


@pytest.fixture(params=["gabor", "wav2vec2"])
def model(request):
    torch.manual_seed(0)
    config = replace(TINY, stem=request.param, stem_channels=16)
    return Wav2Vec2(config, 2, 8, code_dim=4, width=12).eval()


def masked(model, samples, seed=0):
    """A mask, and its frames as the model takes them."""
    lengths = model.output_lengths(torch.tensor(samples))
    seeds = range(seed, seed + len(samples))
    mask = draw_span_mask(seeds, lengths, 0.5, 4)
    size = max(1, int(mask.sum(1).max()))
    return mask, (~mask).int().argsort(dim=1, stable=True)[:, :size]


def test_batch_equals_one_by_one(model, ragged):
    wavs, wav_lens = ragged(SAMPLES)
    mask, positions = masked(model, SAMPLES)
    whole = model(wavs, wav_lens, mask, positions)
    used, penalty = 0, 0
    for row, samples in enumerate(SAMPLES):
        count = int(mask[row].sum())
        frames = int(model.output_lengths(torch.tensor(samples)))
        alone = model(
            wavs[row : row + 1, :samples],
            torch.ones(1),
            mask[row : row + 1, :frames],
            positions[row : row + 1, :count],
        )
        for name in ("contexts", "targets"):
            mine, other = getattr(whole, name), getattr(alone, name)
            torch.testing.assert_close(
                mine[row, :count], other[0], atol=1e-5, rtol=1e-5
            )
        assert torch.equal(whole.codes[row, :count], alone.codes[0])
        used = used + alone.probabilities * count
        penalty = penalty + alone.penalty
    used = used / mask.sum()
    torch.testing.assert_close(whole.probabilities, used, atol=1e-5, rtol=0)
    torch.testing.assert_close(whole.penalty, penalty)


def test_targets_are_of_the_frames_without_masks(model, ragged):
    """Other masks, and those of SpecAugment, change the contexts alone."""
    wavs, wav_lens = ragged(SAMPLES)
    mask, positions = masked(model, SAMPLES)
    plain = model(wavs, wav_lens, mask, positions)
    more = mask.clone()
    more[:, ::2] = True
    stem = model.encoder.frontend.stem
    mask_fn = SpecAugment().draw(
        range(len(SAMPLES)),
        stem.feature_lengths(torch.tensor(SAMPLES)).tolist(),
        stem.feature_channels,
    )
    counted = mask.gather(1, positions)
    for changed in (
        model(wavs, wav_lens, more, positions),
        model(wavs, wav_lens, mask, positions, mask_fn=mask_fn),
    ):
        assert torch.equal(plain.targets, changed.targets)
        apart = (plain.contexts - changed.contexts)[counted].abs().amax(-1)
        assert (apart > 1e-4).all()
    frontend = model.encoder.frontend
    frames = []

    def catch(features):
        frames.append(frontend.stem.subsample(features).mT)
        return features

    frontend(wavs, wav_lens, catch)
    codes = model.quantizer(frontend.norm(frames[0])[mask], None).codes
    assert torch.equal(codes, plain.codes[counted])


def test_masked_frames_are_guessed_from_the_others(model, ragged):
    """All masked: nothing is left to tell one utterance from another."""
    wavs, wav_lens = ragged([8000, 8000])
    frames = int(model.output_lengths(torch.tensor(8000)))
    mask = torch.ones(2, frames, dtype=torch.bool)
    positions = torch.arange(frames).repeat(2, 1)
    one, two = model(wavs, wav_lens, mask, positions).contexts
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    mask[:, 0] = False
    one, two = model(wavs, wav_lens, mask, positions).contexts
    assert (one - two).abs().max() > 1e-3


def test_the_encoder_fits_the_recogniser(model):
    names = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith("encoder.")
    }
    missing = NarAsr(model.config, 11).load_state_dict(names, strict=False)
    assert missing.unexpected_keys == []
    assert not any(k.startswith("encoder.") for k in missing.missing_keys)


def test_the_choice_is_hard_forward_and_soft_backward():
    """The gradient is that of the Gumbel softmax with the same noise."""
    quantizer = GumbelQuantizer(6, groups=2, codes=5, code_dim=3)
    frames, wanted = torch.randn(7, 6), torch.randn(7, 6)
    torch.manual_seed(1)
    out = quantizer(frames, temperature=2.0)
    book = quantizer.book.detach()
    for group in range(2):
        chosen = book[group, out.codes[:, group]]
        torch.testing.assert_close(
            out.vectors[:, 3 * group : 3 * group + 3], chosen
        )
    found = torch.autograd.grad(
        (out.vectors * wanted).sum(), [quantizer.scores.weight, quantizer.book]
    )

    torch.manual_seed(1)
    scores = quantizer.scores(frames).unflatten(-1, (2, 5))
    noise = -torch.empty_like(scores).exponential_().log()
    soft = ((scores + noise) / 2.0).softmax(-1)
    assert torch.equal(soft.argmax(-1), out.codes)
    vectors = torch.einsum("ngv,gvd->ngd", soft, book).flatten(1)
    expected = torch.autograd.grad(
        (vectors * wanted).sum(), quantizer.scores.weight
    )[0]
    torch.testing.assert_close(found[0], expected)
    assert found[0].abs().max() > 1e-3
    met = F.one_hot(out.codes, 5).sum(0) > 0
    assert torch.equal(found[1].abs().sum(-1) > 0, met)


def test_a_lower_temperature_draws_the_same_and_a_higher_noise_more():
    """The noise decides, the temperature only softens the gradient."""
    quantizer = GumbelQuantizer(6, 1, 50, code_dim=3)
    with torch.no_grad():
        quantizer.scores.weight.zero_()
    frames = torch.zeros(4000, 6)
    codes = [
        (torch.manual_seed(2), quantizer(frames, t).codes)[1]
        for t in (2.0, 0.5)
    ]
    assert torch.equal(*codes)
    counts = torch.bincount(codes[0].flatten(), minlength=50)
    assert counts.min() > 40 and counts.max() < 120  # 80 expected


def test_without_a_temperature_the_best_code_is_taken(ragged):
    quantizer = GumbelQuantizer(6, 2, 9, code_dim=3)
    frames = torch.randn(20, 6)
    out = quantizer(frames, None)
    scores = quantizer.scores(frames).unflatten(-1, (2, 9))
    assert torch.equal(out.codes, scores.argmax(-1))
    torch.testing.assert_close(out.probabilities, scores.softmax(-1))
    state = torch.get_rng_state()
    quantizer(frames, None)
    assert torch.equal(torch.get_rng_state(), state)


def test_codes_are_of_float32_in_mixed_precision():
    quantizer = GumbelQuantizer(64, 2, 50, code_dim=3)
    frames = torch.randn(200, 64)
    plain = quantizer(frames, None)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = quantizer(frames, None)
    assert torch.equal(plain.vectors, mixed.vectors)
    assert torch.equal(plain.probabilities, mixed.probabilities)
