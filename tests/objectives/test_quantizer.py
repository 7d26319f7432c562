import pytest
import torch
import torchaudio

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.frontend import WaveformFrontend
from nar_asr_lobes.lobes.stems import GaborStem, Wav2Vec2Stem
from nar_asr_lobes.objectives.quantizer import (
    HOP,
    WINDOW,
    RandomProjectionQuantizer,
    _LogMel,
)

STEMS = {"gabor": lambda: GaborStem(8, 16), "wav2vec2": lambda: Wav2Vec2Stem(8)}
SAMPLES = [12000, 7777, 3000, 2680, 2679, 400, 399, 1]


@pytest.fixture(params=STEMS)
def frontend(request):
    return WaveformFrontend(STEMS[request.param](), 16, 24)


@pytest.fixture
def quantizer(frontend):
    return RandomProjectionQuantizer(frontend, codebooks=3, codes=64)


@pytest.mark.parametrize("hop", [80, 400])
def test_frames_between_those_of_the_log_mel_are_refused(frontend, hop):
    frontend.stem.hop_length = hop
    with pytest.raises(UserError, match=f"{hop} samples apart; .* of 160"):
        RandomProjectionQuantizer(frontend)


def standard(x):
    """Zero mean and unit variance over time."""
    centred = x - x.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt()


def test_log_mel_is_that_of_torchaudio():
    """On an unpadded signal; the mean and the scale are the utterance's."""
    theirs = torchaudio.transforms.MelSpectrogram(
        n_fft=400,
        hop_length=160,
        f_min=60,
        f_max=7800,
        n_mels=80,
        center=False,
    )
    wavs = torch.randn(2, 9000) * 3 + 1
    mel = standard(torch.log(theirs(standard(wavs)) + 1e-6).mT)
    out = _LogMel()(wavs, torch.ones(2))
    torch.testing.assert_close(out, mel, atol=1e-3, rtol=0)


def test_targets_are_the_same_alone_and_in_a_batch(frontend, quantizer, ragged):
    wavs, wav_lens = ragged(SAMPLES)
    codes = quantizer(wavs, wav_lens)
    lengths = frontend.output_lengths(torch.tensor(SAMPLES)).tolist()
    assert codes.shape == (len(SAMPLES), lengths[0], 3)
    assert 0 in lengths
    for row, count in enumerate(SAMPLES):
        alone = quantizer(wavs[row : row + 1, :count], torch.ones(1))
        assert torch.equal(codes[row, : lengths[row]], alone[0, : lengths[row]])


def test_silence_has_one_target_whatever_the_rounding(quantizer, ragged):
    wavs, wav_lens = ragged([40000, 30000, 16000, 9999])
    for row, count in ((1, 30000), (2, 16000), (3, 9999)):
        wavs[row, :count] = 0
        alone = quantizer(wavs[row : row + 1, :count], torch.ones(1))
        codes = quantizer(wavs, wav_lens)[row, : alone.shape[1]]
        assert torch.equal(codes, alone[0])
        assert len(codes.unique(dim=0)) == 1


@pytest.mark.parametrize(("gain", "offset"), [(4, 2), (1e-3, 0)])
def test_targets_do_not_depend_on_level_and_offset(quantizer, gain, offset):
    wavs = torch.randn(1, 8000)
    codes = quantizer(wavs, torch.ones(1))
    changed = quantizer(wavs * gain + offset, torch.ones(1))
    assert (codes == changed).double().mean() > 0.97


def test_targets_are_the_same_in_mixed_precision(quantizer):
    wavs = torch.randn(2, 16000)
    codes = quantizer(wavs, torch.ones(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quantizer(wavs, torch.ones(2)), codes)


def test_targets_are_frozen_and_always_the_same(frontend, quantizer):
    assert list(quantizer.parameters()) == []
    wavs = torch.randn(1, 8000, requires_grad=True)
    codes = quantizer(wavs, torch.ones(1))
    torch.manual_seed(99)
    again = RandomProjectionQuantizer(frontend, codebooks=3, codes=64)
    assert torch.equal(again(wavs, torch.ones(1)), codes)
    other = RandomProjectionQuantizer(frontend, codebooks=3, codes=64, seed=1)
    assert not torch.equal(other(wavs, torch.ones(1)), codes)
    assert {"projection", "book"} <= quantizer.state_dict().keys()


def test_codebooks_differ_and_are_used(quantizer):
    codes = quantizer(torch.randn(4, 32000), torch.ones(4)).flatten(0, 1)
    assert all(len(book.unique()) > 8 for book in codes.T)
    assert not torch.equal(codes[:, 0], codes[:, 1])
    assert not torch.equal(quantizer.book[0], quantizer.book[1])
    assert not torch.equal(quantizer.projection[0], quantizer.projection[1])


def test_the_nearest_code_is_that_of_a_naive_loop(frontend, quantizer):
    wavs = torch.randn(1, 6000)
    mel = _LogMel()(wavs, torch.ones(1))[0]
    codes = quantizer(wavs, torch.ones(1))[0]
    stack = frontend.stem.hop_length // HOP
    for frame, targets in enumerate(codes):
        start = quantizer.offset + frame * stack
        rows = torch.zeros(stack, 80)
        present = mel[start : start + stack]
        rows[: len(present)] = present
        for number, target in enumerate(targets):
            point = rows.flatten() @ quantizer.projection[number]
            point = point / point.norm()
            distances = [
                (point - code).norm() for code in quantizer.book[number].T
            ]
            assert target == torch.stack(distances).argmin()


def test_targets_lie_in_the_middle_of_what_a_frame_reads(frontend, quantizer):
    stack = frontend.stem.hop_length // HOP
    first = quantizer.offset * HOP
    last = first + (stack - 1) * HOP + WINDOW
    assert abs((first + last) - frontend.min_samples()) / 2 <= HOP / 2


def test_a_target_is_made_of_the_samples_that_its_frame_reads(
    frontend, quantizer
):
    wavs = torch.randn(4, 16000)
    changed = wavs.clone()
    changed[:, 8000:9600] = wavs[:, 8000:9600].flip(1)  # same mean and scale
    before, after = (quantizer(x, torch.ones(4)) for x in (wavs, changed))
    moved = (before != after).double().mean((0, 2))
    first = torch.arange(len(moved)) * frontend.stem.hop_length
    last = first + frontend.min_samples()
    middle = (first + last) / 2
    assert moved[(middle > 8100) & (middle < 9500)].min() > 0.5
    assert moved[(last <= 8000) | (first >= 9600)].mean() < 0.15


def made(kind, width=16):
    """A quantiser of one codebook whose projection can be fitted."""
    frontend = WaveformFrontend(GaborStem(8, 16), 16, 24)
    return frontend, RandomProjectionQuantizer(
        frontend, 2, 256, width, projection=kind
    )


def speech_like(count):
    """Noise whose colour and level change slowly, [count, 16000]."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(count, 16000, generator=generator)
    slow = torch.randn(count, 1, 12, generator=generator)
    level = torch.nn.functional.interpolate(slow, 16000, mode="linear")
    smooth = noise + 0.9 * noise.roll(1, 1) + 0.8 * noise.roll(2, 1)
    return torch.where(level[:, 0] > 0, smooth, 0.1 * noise) * level[:, 0].exp()


def test_moments_are_of_the_valid_frames_and_add_up(ragged):
    frontend, quantizer = made("pca")
    wavs, wav_lens = ragged(SAMPLES)
    whole = quantizer.moments(wavs, wav_lens)
    alone = [
        quantizer.moments(wavs[row : row + 1, :count], torch.ones(1))
        for row, count in enumerate(SAMPLES)
    ]
    torch.testing.assert_close(whole, sum(alone), rtol=1e-4, atol=1e-4)
    frames = frontend.output_lengths(torch.tensor(SAMPLES)).sum()
    assert whole[-1, -1] == frames


@pytest.mark.parametrize("kind", ["pca", "whitened"])
def test_the_projection_is_onto_the_principal_components(kind):
    _, quantizer = made(kind, width=6)
    wavs = speech_like(12)
    quantizer.fit(quantizer.moments(wavs, torch.ones(12)))
    stacks = quantizer._stacks(wavs, torch.ones(12)).flatten(0, 1)
    centred = (stacks - stacks.mean(0)).double()
    _, strengths, axes = torch.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:6].T
    if kind == "whitened":
        expected = expected / (strengths[:6] / len(centred) ** 0.5)
    expected = expected / expected.norm(dim=1, keepdim=True)
    found = quantizer.project(wavs, torch.ones(12)).flatten(0, 1)
    assert torch.equal(found[:, 0], found[:, 1])  # all codebooks share it
    signs = (found[:, 0].double() * expected).sum(0).sign()
    torch.testing.assert_close(
        found[:, 0].double(), expected * signs, atol=2e-3, rtol=0
    )


def test_whitening_brings_more_codes_into_use():
    """Measured on speech: 650 of 1,024 instead of 100 (perplexity)."""
    met = {}
    for kind in ("random", "pca", "whitened"):
        _, quantizer = made(kind)
        wavs = speech_like(40)
        if kind != "random":
            quantizer.fit(quantizer.moments(wavs, torch.ones(40)))
        codes = quantizer(wavs, torch.ones(40))
        shares = torch.bincount(codes[..., 0].flatten(), minlength=256)
        shares = shares / shares.sum()
        met[kind] = torch.special.entr(shares).sum().exp().item()
    assert met["whitened"] > 1.5 * max(met["random"], met["pca"])


def test_a_fitted_projection_is_in_the_state():
    _, quantizer = made("whitened")
    wavs = speech_like(8)
    quantizer.fit(quantizer.moments(wavs, torch.ones(8)))
    _, again = made("whitened")
    again.load_state_dict(quantizer.state_dict())
    codes = (q(wavs, torch.ones(8)) for q in (quantizer, again))
    assert torch.equal(*codes)
    assert made("random")[1].state_dict().keys() == {"projection", "book"}
