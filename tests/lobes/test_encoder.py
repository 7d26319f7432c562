import pytest
import torch
from torch import nn

from nar_asr_lobes.lobes.attention import attention_mask
from nar_asr_lobes.lobes.encoder import (
    ConvPosition,
    EncoderLayer,
    TransformerEncoder,
)

LENGTHS = [21, 9, 2, 1, 0]


@pytest.fixture
def encoder(scramble):
    torch.manual_seed(0)
    return scramble(TransformerEncoder(3, 16, 2, 32, 5, dropout=0.2))


@pytest.fixture
def frames():
    """Valid frames of size 1; the padding is a thousand times larger."""
    x = torch.randn(len(LENGTHS), 21, 16, generator=torch.manual_seed(1))
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
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


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


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="conv_kernel must be odd, not 4"):
        ConvPosition(8, 4)


def test_a_layer_is_that_of_torch_after_its_convolution(
    scramble, copy_attention
):
    """Where places do not count."""
    ours = scramble(EncoderLayer(16, 2, 32, 5, 0.1))
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_batch_on_a_gpu_equals_one_by_one_on_a_cpu(encoder, frames):
    lengths = torch.tensor(LENGTHS)
    batch = frames.cuda().bfloat16()
    with torch.autocast("cuda", torch.bfloat16):
        out = encoder.cuda()(batch, lengths.cuda()).float().cpu()
    encoder.cpu()
    for row, length in enumerate(LENGTHS):
        if length:
            x = frames[row : row + 1, :length].bfloat16().float()
            alone = encoder(x, lengths[row : row + 1])[0]
            torch.testing.assert_close(
                out[row, :length], alone, atol=0.1, rtol=0.05
            )
