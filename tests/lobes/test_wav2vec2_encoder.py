from dataclasses import replace

import pytest
import torch
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.wav2vec2_encoder import (
    GroupedConvPosition,
    PositionGate,
    RelativePositionBias,
    Wav2Vec2Encoder,
    position_buckets,
)

LENGTHS = [21, 9, 2, 1, 0]
BASE = ModelConfig(
    encoder="wav2vec2",
    encoder_layers=3,
    d_model=16,
    heads=2,
    ffn_dim=32,
    conv_kernel=8,
    conv_groups=4,
    dropout=0.2,
)
KINDS = {
    "pre-norm": BASE,
    "post-norm": replace(BASE, norm_first=False),
    "pre-norm, relative": replace(
        BASE, position_buckets=8, position_distance=16
    ),
    "post-norm, relative": replace(
        BASE, norm_first=False, position_buckets=8, position_distance=16
    ),
}


@pytest.fixture(params=KINDS)
def encoder(request, scramble):
    return scramble(Wav2Vec2Encoder(KINDS[request.param]))


@pytest.fixture
def frames():
    """Valid frames of size 1; the padding is a thousand times larger."""
    x = torch.randn(len(LENGTHS), 21, 16)
    for row, length in enumerate(LENGTHS):
        x[row, length:] *= 1000
    return x


def test_batch_equals_one_by_one(encoder, frames):
    batch = encoder(frames, torch.tensor(LENGTHS))
    for row, length in enumerate(LENGTHS[:-1]):
        alone = encoder(frames[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(
            batch[row, :length], alone[0], atol=1e-5, rtol=0
        )


def test_an_utterance_without_frames_harms_nobody(encoder, frames):
    states = encoder(frames, torch.tensor(LENGTHS))
    assert states[-1].isfinite().all()
    states.square().mean().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_the_hook_sees_all_layers_but_the_last_and_may_change(encoder):
    x, lengths, seen = torch.randn(1, 4, 16), torch.tensor([4]), []

    def hook(number, states):
        seen.append(number)
        return states.flip(1) if number == 2 else states

    changed = encoder(x, lengths, hook)
    assert seen == [1, 2]
    assert (changed - encoder(x, lengths)).abs().max() > 1e-3


def test_dropout_only_while_training(encoder):
    x, lengths = torch.randn(1, 4, 16), torch.tensor([4])
    assert torch.equal(encoder(x, lengths), encoder(x, lengths))
    encoder.train()
    assert not torch.equal(encoder(x, lengths), encoder(x, lengths))


def test_mixed_precision_is_near_single(encoder, frames):
    lengths = torch.tensor(LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(frames, lengths)
    wanted = encoder(frames, lengths)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(
            half[row, :length].float(), wanted[row, :length], atol=0.1, rtol=0
        )


def test_what_a_shallower_encoder_gives_is_read(scramble):
    """Of a layer's output, ``read`` makes what would be the end there."""
    for config in KINDS.values():
        deep = scramble(Wav2Vec2Encoder(config))
        shallow = Wav2Vec2Encoder(replace(config, encoder_layers=2)).eval()
        left = shallow.load_state_dict(deep.state_dict(), strict=False)
        assert left.missing_keys == []
        read = {}

        def hook(number, x, deep=deep, read=read):
            read[number] = deep.read(x)
            return x

        x, lengths = torch.randn(1, 7, 16), torch.tensor([7])
        deep(x, lengths, hook)
        torch.testing.assert_close(read[2], shallow(x, lengths))


@pytest.mark.parametrize("kernel", [4, 5])
def test_the_position_is_centred_and_order_matters(kernel):
    """An even kernel looks one frame further back."""
    conv = GroupedConvPosition(8, kernel, 2)
    x = torch.randn(1, 20, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(conv(x)[0, 10].sum(), x)
    seen = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
    assert seen == list(range(8, 12 if kernel == 4 else 13))
    turned = conv(x.flip(1)).flip(1)
    assert (turned - conv(x)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("buckets", "distance"), [(320, 800), (8, 16), (12, 20), (6, 5)]
)
def test_buckets_and_bias_are_those_of_transformers(buckets, distance):
    theirs = WavLMAttention(16, 4, num_buckets=buckets, max_distance=distance)
    offsets = torch.arange(-1500, 1501)
    assert torch.equal(
        position_buckets(offsets, buckets, distance),
        theirs._relative_positions_bucket(offsets),
    )
    ours = RelativePositionBias(buckets, distance, 4)
    ours.table.load_state_dict(theirs.rel_attn_embed.state_dict())
    for frames in (1, 2, 31):
        assert torch.equal(ours(frames), theirs.compute_bias(frames, frames))


def test_a_gate_that_is_undecided_lets_most_through():
    """With a projection of zero: 0.5 (0.5 - 1) + 2."""
    gate = PositionGate(16, 4)
    torch.nn.init.zeros_(gate.projection.weight)
    torch.nn.init.zeros_(gate.projection.bias)
    out = gate(torch.randn(2, 5, 16))
    assert out.shape == (2, 4, 5, 1)
    torch.testing.assert_close(out, torch.full_like(out, 1.75))
