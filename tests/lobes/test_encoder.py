import pytest
import torch
from torch import nn

from nar_asr_lobes.lobes.attention import attention_mask
from nar_asr_lobes.lobes.encoder import (
    TransformerEncoder,
    _ConvPosition,
    _EncoderLayer,
)


@pytest.fixture
def encoder(scramble):
    torch.manual_seed(0)
    return scramble(TransformerEncoder(3, 16, 2, 32, 5, dropout=0.2))


def test_every_state_knows_every_frame(encoder):
    x = torch.randn(1, 30, 16, requires_grad=True)
    states = encoder(x, torch.tensor([30]))
    for place in (0, 29):
        (gradient,) = torch.autograd.grad(
            states[0, place].square().sum(), x, retain_graph=True
        )
        assert (gradient[0].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("part", ["conv", "attention"])
def test_order_matters(encoder, part):
    """To the convolution alone, and to the attention alone."""
    for layer in encoder.layers:
        silent = layer.attention if part == "conv" else layer.conv
        torch.nn.init.zeros_(silent.output.weight)
        torch.nn.init.zeros_(silent.output.bias)
    x = torch.randn(1, 8, 16)
    lengths = torch.tensor([8])
    turned = encoder(x.flip(1), lengths).flip(1)
    assert (encoder(x, lengths) - turned).abs().max() > 1e-2


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="conv_kernel must be odd, not 4"):
        _ConvPosition(8, 4)


def test_a_layer_is_that_of_torch_after_its_convolution(
    scramble, copy_attention
):
    """Where places do not count."""
    ours = scramble(_EncoderLayer(16, 2, 32, 5, 0.1))
    theirs = nn.TransformerEncoderLayer(
        16, 2, 32, 0.1, "gelu", batch_first=True, norm_first=True
    ).eval()
    copy_attention(ours.attention, theirs.self_attn)
    for mine, other in (
        (ours.attention_norm, theirs.norm1),
        (ours.ffn_norm, theirs.norm2),
        (ours.ffn[0], theirs.linear1),
        (ours.ffn[2], theirs.linear2),
    ):
        other.load_state_dict(mine.state_dict())
    x = torch.randn(2, 9, 16)
    valid = torch.arange(9) < torch.tensor([[9], [4]])
    angles = torch.zeros(2, 1, 9, 4)
    out = ours(x, valid, angles, attention_mask(valid))
    x = x + ours.conv(ours.conv_norm(x), valid[..., None])
    expected = theirs(x, src_key_padding_mask=~valid)
    torch.testing.assert_close(out[valid], expected[valid], atol=1e-5, rtol=0)
