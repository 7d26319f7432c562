import numpy as np
import pytest
import torch
from torch import nn
from transformers import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import (
    Wav2Vec2FeatureEncoder,
)

from nar_asr_lobes.lobes.stems import (
    SAMPLE_RATE,
    GaborStem,
    MaskedInstanceNorm,
    Wav2Vec2Stem,
    gabor_filters,
)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_wav2vec2_stem_is_that_of_transformers(norm, bias, scramble):
    config = Wav2Vec2Config(
        conv_dim=[16] * 7, feat_extract_norm=norm, conv_bias=bias
    )
    theirs = scramble(Wav2Vec2FeatureEncoder(config))
    ours = Wav2Vec2Stem(16, norm, bias)
    norms = [ours.first_norm] if norm == "group" else ours.layer_norms
    pairs = [
        *zip(ours.convs, (x.conv for x in theirs.conv_layers), strict=True),
        *zip(norms, (x.layer_norm for x in theirs.conv_layers), strict=False),
    ]
    for mine, other in pairs:
        mine.load_state_dict(other.state_dict())
    assert len(pairs) == (8 if norm == "group" else 14)
    wavs = torch.randn(2, 9001)
    torch.testing.assert_close(
        ours.features(wavs, torch.tensor([9001, 9001])),
        theirs(wavs),
        atol=1e-5,
        rtol=0,
    )


def test_utterance_norm_is_group_norm_without_padding(scramble):
    ours = scramble(MaskedInstanceNorm(6), spread=1.0)
    theirs = nn.GroupNorm(6, 6)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 6, 40) * 5 + 3
    lengths = torch.tensor([40, 17, 2])
    out = ours(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(
            out[row : row + 1, :, :length],
            theirs(x[row : row + 1, :, :length]),
            atol=1e-5,
            rtol=0,
        )
        assert not out[row, :, length:].any()


def mel_centres(filters):
    """Centre frequencies between 60 and 7800 Hz, evenly spaced in mel."""
    low, high = 2595 * np.log10(1 + np.array([60.0, 7800.0]) / 700)
    mels = np.linspace(low, high, filters + 2)[1:-1]
    return 700 * (10 ** (mels / 2595) - 1)


def test_gabor_filters_lie_in_mel_order():
    cosines, sines = gabor_filters(40, 400).squeeze(1).chunk(2)
    for half in (cosines, sines):
        power = torch.fft.rfft(half, 1 << 15).abs()
        peaks = power.argmax(-1) * SAMPLE_RATE / (1 << 15)
        assert (peaks.diff() > 0).all()
        np.testing.assert_allclose(peaks, mel_centres(40), atol=6, rtol=0.01)


def test_a_gabor_pair_has_unit_energy_and_forgets_the_phase():
    bank = gabor_filters(40, 400).squeeze(1)
    energy = bank.square().sum(-1).view(2, 40).sum(0)
    torch.testing.assert_close(energy, torch.ones(40))
    time = torch.arange(400) / SAMPLE_RATE
    for channel, hertz in enumerate(mel_centres(40)):
        if hertz < 200:  # less than five periods in the kernel
            continue
        phases = torch.linspace(0, 3, 7)[:, None]
        tones = torch.sin(2 * torch.pi * hertz * time + phases)
        pair = tones @ bank.view(2, 40, 400)[:, channel].T
        moduli = pair.square().sum(-1)
        assert moduli.max() / moduli.min() < 1.05


@pytest.mark.parametrize("channel", [3, 9, 15])
def test_a_tone_is_loudest_in_its_own_channel(channel):
    """Measured before the norm, which would level all channels."""
    stem = GaborStem(20, 16)
    stem.norm = KeepAll()
    time = torch.arange(4000) / SAMPLE_RATE
    tone = torch.sin(2 * torch.pi * mel_centres(20)[channel] * time)
    features = stem.features(tone[None], torch.tensor([4000]))
    assert (features[0].argmax(0) == channel).all()


def test_energies_are_the_same_in_mixed_precision():
    """A tone and a pause: what bfloat16 adds to the pause is not small."""
    stem = GaborStem(20, 16)
    wavs = torch.sin(torch.arange(8000) / 5)[None]
    wavs[:, 4000:] *= 1e-3
    lengths = torch.tensor([8000])
    features = stem.features(wavs, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(stem.features(wavs, lengths), features)


@pytest.mark.parametrize("samples", [400, 439, 440, 8037])
def test_energies_are_those_of_the_convolution(samples):
    stem, wavs = GaborStem(20, 16), torch.randn(2, samples)
    real, imaginary = stem.gabor(wavs.unsqueeze(1)).chunk(2, dim=1)
    wanted = real.square() + imaginary.square()
    torch.testing.assert_close(
        stem._energies(wavs), wanted, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("stem", [GaborStem(20, 16), Wav2Vec2Stem(16)])
def test_frozen_filters_get_no_gradient(stem):
    stem.freeze_filters()
    lengths = torch.tensor([4000])
    features = stem.features(torch.randn(1, 4000), lengths)
    frames = stem.subsample(features)
    learns = [n for n, p in stem.named_parameters() if p.requires_grad]
    if isinstance(stem, GaborStem):
        frames.sum().backward()
        gets = [n for n, p in stem.named_parameters() if p.grad is not None]
        assert learns == gets
        parts = {name.split(".")[0] for name in gets}
        assert parts == {"norm", "conv1", "conv2", "linear"}
    else:
        assert not learns and not frames.requires_grad


class KeepAll(nn.Module):
    """Stands for the norm and changes nothing."""

    def forward(self, x, lengths, counted):
        return x


def test_no_filter_has_subnormal_tails():
    bank = gabor_filters(80, 400)
    smallest = bank[bank != 0].abs().min()
    assert smallest > torch.finfo(torch.float32).smallest_normal * 1e20


def free_nan():
    """Fill memory that is allocated next with NaN."""
    for size in (100, 1000, 5000, 20000, 57600, 100000, 300000, 1000000):
        held = [torch.full((size,), torch.nan).bfloat16() for _ in range(4)]
        del held


@pytest.mark.parametrize("frames", [256, 308, 438, 490])
def test_no_gradient_from_the_memory_behind_the_features(frames):
    """A kernel in bfloat16 read it where frames were left over at the end."""
    stem = GaborStem(80, 144)
    for _ in range(5):
        features = torch.randn(1, 80, frames)
        free_nan()
        with torch.autocast("cpu", torch.bfloat16):
            out = stem.subsample(features)
        loss = out.float().square().sum()
        free_nan()
        loss.backward()
    for conv in (stem.conv1, stem.conv2):
        assert conv.weight.grad.isfinite().all()
