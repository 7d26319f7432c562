import pytest
import torch

from nar_asr_lobes.lobes.frontend import WaveformFrontend, normalize_wavs
from nar_asr_lobes.lobes.stems import SAMPLE_RATE, GaborStem, Wav2Vec2Stem

STEMS = {
    "gabor": lambda: GaborStem(20, 16),
    "wav2vec2-group": lambda: Wav2Vec2Stem(16, "group"),
    "wav2vec2-layer": lambda: Wav2Vec2Stem(16, "layer", bias=True),
}
# Around one frame of each stem, none at all, and nothing at all.
SAMPLES = [12000, 7777, 3001, 2680, 2679, 719, 400, 399, 1, 0]


@pytest.fixture(params=STEMS)
def frontend(request, scramble):
    torch.manual_seed(0)
    # Not too much: the filters' energy stays near 1, as in a trained stem.
    frontend = WaveformFrontend(STEMS[request.param](), 16, 24, 0.1)
    return scramble(frontend, spread=0.03)


def test_batch_equals_one_by_one(frontend, ragged):
    wavs, wav_lens = ragged(SAMPLES)
    frames, lengths = frontend(wavs, wav_lens)
    assert lengths.tolist()[0] == frames.shape[1]
    assert lengths.tolist()[-1] == 0
    for row, count in enumerate(SAMPLES):
        alone, length = frontend(wavs[row : row + 1, :count], torch.ones(1))
        assert length.item() == lengths[row]
        torch.testing.assert_close(
            frames[row, : length.item()],
            alone[0, : length.item()],
            atol=1e-5,
            rtol=0,
        )
        assert not frames[row, length.item() :].any()


@pytest.mark.parametrize("stem", STEMS)
def test_waveforms_can_be_read_as_they_are(stem, ragged, scramble):
    plain = WaveformFrontend(STEMS[stem](), 16, 24, normalize=False)
    other = WaveformFrontend(STEMS[stem](), 16, 24)
    scramble(plain, spread=0.03)
    other.load_state_dict(plain.state_dict())
    wavs, wav_lens = ragged([12000, 3001])
    wavs = wavs + 0.3
    frames, lengths = plain(wavs, wav_lens)
    assert (frames - other.eval()(wavs, wav_lens)[0]).abs().max() > 1e-3
    alone, _ = plain(wavs[1:, :3001], torch.ones(1))
    torch.testing.assert_close(
        frames[1, : lengths[1]], alone[0], atol=1e-5, rtol=0
    )
    even = normalize_wavs(wavs, torch.tensor([12000, 3001]))
    torch.testing.assert_close(
        plain(even, wav_lens)[0], other(even, wav_lens)[0], atol=1e-4, rtol=0
    )


def test_features_can_be_projected_as_they_are(ragged):
    frontend = WaveformFrontend(Wav2Vec2Stem(16), 16, 24, norm=False).eval()
    wavs, wav_lens = ragged([4000])
    features = frontend.stem.features(
        normalize_wavs(wavs, torch.tensor([4000])), torch.tensor([4000])
    )
    wanted = frontend.projection(features.mT)
    torch.testing.assert_close(frontend(wavs, wav_lens)[0], wanted)


def test_silence_is_the_same_in_a_batch(frontend, ragged):
    wavs, wav_lens = ragged([16000, 8000, 4000])
    wavs[1, :8000] = 0
    wavs[2, :4000] = 0.5
    frames, lengths = frontend(wavs, wav_lens)
    for row, count in enumerate([16000, 8000, 4000]):
        alone, _ = frontend(wavs[row : row + 1, :count], torch.ones(1))
        torch.testing.assert_close(
            frames[row, : lengths[row]], alone[0], atol=1e-5, rtol=0
        )


def test_gradients_are_finite_where_there_is_no_signal(frontend, ragged):
    wavs, wav_lens = ragged(SAMPLES)
    wavs[1] = 0
    frames, _ = frontend(wavs, wav_lens)
    frames.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in frontend.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("name", STEMS)
def test_output_lengths_are_the_real_sizes(name):
    frontend = WaveformFrontend(STEMS[name](), 16, 24)
    shortest, stride = frontend.min_samples(), frontend.stem.hop_length
    starts = [shortest + count * stride for count in range(5)]
    sizes = [
        *(start + step for start in starts[1:] for step in (-2, -1, 0, 1)),
        *range(shortest, starts[2], 97),
        *range(SAMPLE_RATE, 4 * SAMPLE_RATE, 7001),
    ]
    counted = frontend.output_lengths(torch.tensor(sizes)).tolist()
    features = frontend.stem.feature_lengths(torch.tensor(sizes)).tolist()
    for size, feature_frames, frames in zip(
        sizes, features, counted, strict=True
    ):
        lengths = torch.tensor([size])
        out = frontend.stem.features(torch.zeros(1, size), lengths)
        assert out.shape[-1] == feature_frames
        assert frontend.stem.subsample(out).shape[-1] == frames
    below = frontend.output_lengths(torch.arange(shortest))
    assert not below.any()


@pytest.mark.parametrize("name", STEMS)
def test_frames_are_a_stride_apart(name):
    frontend = WaveformFrontend(STEMS[name](), 16, 24)
    shortest, stride = frontend.min_samples(), frontend.stem.hop_length
    sizes = shortest + stride * torch.arange(5)
    assert frontend.output_lengths(sizes).tolist() == [1, 2, 3, 4, 5]
    assert frontend.output_lengths(sizes - 1).tolist() == [0, 1, 2, 3, 4]


def test_waveforms_get_zero_mean_and_unit_variance(ragged):
    wavs, _ = ragged([4000, 900])
    out = normalize_wavs(wavs + 3, torch.tensor([4000, 900]))
    for row, count in enumerate([4000, 900]):
        assert abs(out[row, :count].mean()) < 1e-5
        assert abs(out[row, :count].std() - 1) < 1e-2
        assert not out[row, count:].any()


def test_digital_silence_hardly_changes_how_speech_looks():
    """There is much of it around a short clip. Before: 1.2."""
    stem, silence = GaborStem(20, 16), torch.zeros(1, 6400)
    wav = torch.randn(1, 8000) * torch.arange(8000).div(700).sin().exp() ** 2
    counts = torch.tensor([8000, 20800])
    alone = stem.features(wav, counts[:1])
    padded = torch.cat([silence, wav, silence], dim=1)
    features = stem.features(padded, counts[1:])
    features = features[..., 40 : 40 + alone.shape[-1]]
    assert (features - alone).abs().mean() < 0.4
