import pytest
import torch
import transformers
from torch import nn
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
    Wav2Vec2ConformerEncoderLayer,
)

from nar_asr_lobes.lobes.attention import attention_mask
from nar_asr_lobes.lobes.encoder import (
    ConformerEncoder,
    _Convolution,
    _EncoderLayer,
)


@pytest.fixture
def encoder(scramble):
    torch.manual_seed(0)
    return scramble(ConformerEncoder(3, 16, 2, 32, 5, dropout=0.2))


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
        _Convolution(8, 4)


def conformer_layer(ours):
    """Give transformers' layer the weights of ours.

    With a LayerNorm for its batch norm, without the norm at its end.
    """
    config = transformers.Wav2Vec2ConformerConfig(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        conv_depthwise_kernel_size=5,
        hidden_act="gelu",
        position_embeddings_type=None,
    )
    theirs = Wav2Vec2ConformerEncoderLayer(config).eval()
    conv, attention = theirs.conv_module, theirs.self_attn
    conv.activation = nn.SiLU()
    conv.batch_norm = LayerNormOfChannels(16)
    conv.depthwise_conv = nn.Conv1d(16, 16, 5, padding=2, groups=16)
    conv.pointwise_conv1 = nn.Conv1d(16, 32, 1)
    conv.pointwise_conv2 = nn.Conv1d(16, 16, 1)
    theirs.final_layer_norm = nn.Identity()
    key, value = nn.Linear(16, 16), nn.Linear(16, 16)
    for kind in ("weight", "bias"):
        halves = getattr(ours.attention.key_value, kind).detach().chunk(2)
        for part, half in zip((key, value), halves, strict=True):
            getattr(part, kind).data = half
    pairs = [
        (ours.ffn1_norm, theirs.ffn1_layer_norm),
        (ours.ffn1[0], theirs.ffn1.intermediate_dense),
        (ours.ffn1[2], theirs.ffn1.output_dense),
        (ours.attention_norm, theirs.self_attn_layer_norm),
        (ours.attention.query, attention.linear_q),
        (key, attention.linear_k),
        (value, attention.linear_v),
        (ours.attention.output, attention.linear_out),
        (ours.conv_norm, conv.layer_norm),
        (ours.conv.gate, conv.pointwise_conv1),
        (ours.conv.conv, conv.depthwise_conv),
        (ours.conv.norm, conv.batch_norm),
        (ours.conv.output, conv.pointwise_conv2),
        (ours.ffn2_norm, theirs.ffn2_layer_norm),
        (ours.ffn2[0], theirs.ffn2.intermediate_dense),
        (ours.ffn2[2], theirs.ffn2.output_dense),
    ]
    for mine, other in pairs:
        other.weight.data = mine.weight.data.reshape(other.weight.shape)
        other.bias.data = mine.bias.data
    return theirs


class LayerNormOfChannels(nn.LayerNorm):
    """Normalise [B, C, T] over C."""

    def forward(self, x):
        return super().forward(x.mT).mT


def test_a_layer_is_the_conformer_layer_of_transformers(scramble):
    """Where places do not count, but for the convolution."""
    ours = scramble(_EncoderLayer(16, 2, 32, 5, 0.1))
    x = torch.randn(2, 9, 16)
    valid = torch.ones(2, 9, dtype=torch.bool)
    out = ours(x, valid, torch.zeros(2, 1, 9, 4), attention_mask(valid))
    expected = conformer_layer(ours)(x)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
