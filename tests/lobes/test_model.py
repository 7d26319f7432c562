from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.lobes.alignment import token_frames
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.model import NarAsr, build_model

TINY = ModelConfig.tiny()
IMPORTED = {"stem": "wav2vec2", "encoder": "wav2vec2", "conv_kernel": 8}
CONFIGS = {
    "gabor": TINY,
    "gabor-conditioned": replace(TINY, self_condition=True),
    "wav2vec2": replace(TINY, stem="wav2vec2"),
    "wav2vec2-layer": replace(TINY, stem="wav2vec2", stem_norm="layer"),
    "imported-base": replace(TINY, **IMPORTED, norm_first=False),
    "imported-large": replace(
        TINY,
        **IMPORTED,
        stem_norm="layer",
        stem_bias=True,
        frame_norm=False,
        normalize_audio=False,
        position_buckets=8,
        position_distance=16,
        self_condition=True,
        decoder_heads=4,
        decoder_ffn_dim=48,
    ),
}
SAMPLES = [12000, 6001, 1760, 1759, 399, 1]
TOKEN_LENS = [4, 2, 1, 3, 0, 2]


@pytest.fixture(params=CONFIGS)
def model(request, scramble):
    torch.manual_seed(0)
    return scramble(build_model(CONFIGS[request.param], vocab_size=11))


def tokens_of(model):
    """Pieces, their number, and which of them the decoder does not see."""
    tokens = torch.arange(len(SAMPLES) * 4).view(-1, 4) % 10 + 1
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, ::2] = True
    return tokens, torch.tensor(TOKEN_LENS), mask


def assert_close(batch, alone, size):
    torch.testing.assert_close(batch[:size], alone[:size], atol=1e-5, rtol=0)


def test_batch_equals_one_by_one(model, ragged):
    wavs, wav_lens = ragged(SAMPLES)
    tokens, token_lens, mask = tokens_of(model)
    encoded, filled = model(wavs, wav_lens, tokens, token_lens, mask)
    counted = model.output_lengths(torch.tensor(SAMPLES))
    assert torch.equal(encoded.lengths, counted)
    assert {0, 1} <= set(counted.tolist()) or model.frame_seconds < 0.04
    for row, count in enumerate(SAMPLES):
        alone, alone_filled = model(
            wavs[row : row + 1, :count],
            torch.ones(1),
            tokens[row : row + 1, : TOKEN_LENS[row]],
            token_lens[row : row + 1],
            mask[row : row + 1, : TOKEN_LENS[row]],
        )
        frames = int(alone.lengths)
        assert frames == counted[row]
        assert_close(encoded.states[row], alone.states[0], frames)
        assert_close(encoded.log_probs[row], alone.log_probs[0], frames)
        for batch, single in zip(
            encoded.inter_log_probs, alone.inter_log_probs, strict=True
        ):
            assert_close(batch[row], single[0], frames)
        if frames:
            assert_close(
                filled[row, :, 1:], alone_filled[0, :, 1:], TOKEN_LENS[row]
            )


def test_frames_are_counted_in_seconds(model):
    per_second = {"gabor": 25, "wav2vec2": 50}[model.config.stem]
    assert model.frame_seconds == 1 / per_second
    seconds = torch.tensor([100, 101]) * 16000
    assert model.output_lengths(seconds).diff().item() == per_second


def test_every_weight_is_trained(model, ragged):
    """DDP waits for every gradient: none may be missing, in any batch."""
    wavs, wav_lens = ragged(SAMPLES)
    encoded, filled = model(wavs, wav_lens, *tokens_of(model))
    heads = [encoded.log_probs, *encoded.inter_log_probs, filled[..., 1:]]
    sum(head.square().mean() for head in heads).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_conditioning_starts_at_nothing_and_then_counts(ragged):
    wavs, wav_lens = ragged([8000])
    torch.manual_seed(0)
    model = build_model(CONFIGS["gabor-conditioned"], 11)
    plain = NarAsr(TINY, 11)
    missing = plain.load_state_dict(model.state_dict(), strict=False)
    assert missing.missing_keys == []
    states = model.encode(wavs, wav_lens).states
    assert torch.equal(states, plain.encode(wavs, wav_lens).states)
    torch.nn.init.normal_(model.condition.weight)
    assert not torch.allclose(states, model.encode(wavs, wav_lens).states)


def test_the_decoder_can_have_sizes_of_its_own():
    decoder = build_model(CONFIGS["imported-large"], 11).decoder
    assert decoder.head_dim == 32 // 4
    assert decoder.layers[0].ffn[0].out_features == 48
    decoder = build_model(CONFIGS["imported-base"], 11).decoder
    assert decoder.head_dim == 32 // 2
    assert decoder.layers[0].ffn[0].out_features == 64


def test_layers_are_read_where_the_configuration_says(ragged):
    config = replace(TINY, encoder_layers=4, inter_ctc_layers=[1, 3])
    encoded = build_model(config, 11).encode(*ragged([8000]))
    assert len(encoded.inter_log_probs) == 2
    for log_probs in (encoded.log_probs, *encoded.inter_log_probs):
        assert log_probs.shape == (1, int(encoded.lengths), 11)
        total = log_probs.exp().sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_an_intermediate_reading_is_that_of_a_shallower_model(ragged, scramble):
    deep = replace(TINY, encoder_layers=3, inter_ctc_layers=[2])
    model = scramble(build_model(deep, 11))
    shallow = build_model(replace(TINY, inter_ctc_layers=[]), 11).eval()
    left_out = shallow.load_state_dict(model.state_dict(), strict=False)
    assert left_out.missing_keys == []
    wavs, wav_lens = ragged([8000, 5000])
    torch.testing.assert_close(
        model.encode(wavs, wav_lens).inter_log_probs[0],
        shallow.encode(wavs, wav_lens).log_probs,
    )


def test_masked_pieces_are_hidden_from_the_decoder(ragged):
    model = build_model(TINY, 11).eval()
    wavs, wav_lens = ragged([8000])
    tokens, lens = torch.tensor([[3, 4, 5]]), torch.tensor([3])
    masked = torch.tensor([[False, True, False]])
    encoded, filled = model(wavs, wav_lens, tokens, lens, masked)
    seen = torch.tensor([[3, model.mask_id, 5]])
    frames = token_frames(encoded.log_probs, encoded.lengths, tokens, lens)
    assert torch.equal(filled, model.decode(encoded, seen, lens, frames))
    assert not torch.equal(filled, model.decode(encoded, tokens, lens, frames))


def test_a_mask_function_changes_the_states(ragged):
    model = build_model(TINY, 11)
    wavs, wav_lens = ragged([8000])
    masked = model.encode(wavs, wav_lens, lambda x: x * 0)
    other = model.encode(wavs.flip(1), wav_lens, lambda x: x * 0)
    assert torch.equal(masked.states, other.states)
    assert not torch.equal(masked.states, model.encode(wavs, wav_lens).states)


def test_the_tiny_model_is_tiny():
    assert sum(p.numel() for p in build_model(TINY, 30).parameters()) < 100_000
