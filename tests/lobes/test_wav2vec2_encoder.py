from functools import partial

import pytest
import torch
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from nar_asr_lobes.lobes.wav2vec2_encoder import (
    _GroupedConvPosition,
    _PositionGate,
    _RelativePositionBias,
    _StackedConvPosition,
    position_buckets,
)


@pytest.mark.parametrize("kernel", [4, 5])
def test_the_position_is_centred_and_order_matters(kernel):
    """An even kernel looks one frame further back."""
    conv = partial(_GroupedConvPosition(8, kernel, 2), valid=None)
    x = torch.randn(1, 20, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(conv(x)[0, 10].sum(), x)
    seen = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
    assert seen == list(range(8, 12 if kernel == 4 else 13))
    turned = conv(x.flip(1)).flip(1)
    assert (turned - conv(x)).abs().max() > 1e-2


@pytest.mark.parametrize(("kernel", "sees"), [(5, (4, 17)), (4, (4, 14))])
def test_stacked_positions_reach_as_far_as_their_kernels(kernel, sees):
    """Three of them, and an even one looks one frame further back."""
    stack = _StackedConvPosition(8, kernel, 2, 3)
    x = torch.randn(1, 20, 8, requires_grad=True)
    out = stack(x, torch.ones(1, 20, 1, dtype=torch.bool))[0, 10]
    (gradient,) = torch.autograd.grad((out * torch.arange(8)).sum(), x)
    seen = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
    assert seen == list(range(*sees))


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
    ours = _RelativePositionBias(buckets, distance, 4)
    ours.table.load_state_dict(theirs.rel_attn_embed.state_dict())
    for frames in (1, 2, 31):
        assert torch.equal(ours(frames), theirs.compute_bias(frames, frames))


def test_a_gate_that_is_undecided_lets_most_through():
    """With a projection of zero: 0.5 (0.5 - 1) + 2."""
    gate = _PositionGate(16, 4)
    torch.nn.init.zeros_(gate.projection.weight)
    torch.nn.init.zeros_(gate.projection.bias)
    out = gate(torch.randn(2, 5, 16))
    assert out.shape == (2, 4, 5, 1)
    torch.testing.assert_close(out, torch.full_like(out, 1.75))
