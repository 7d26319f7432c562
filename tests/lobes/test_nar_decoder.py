import pytest
import torch
from torch import nn

from nar_asr_lobes.lobes.nar_decoder import NarDecoder, _DecoderLayer

VOCAB = 10
TOKEN_LENS = [6, 3, 1, 2, 0]
LENGTHS = [17, 9, 1, 0, 4]


@pytest.fixture
def decoder(scramble):
    torch.manual_seed(0)
    return scramble(NarDecoder(VOCAB, 2, 16, 2, 32, dropout=0.2))


@pytest.fixture
def inputs():
    """Tokens with masks among them, and states; loud noise as padding."""
    generator = torch.manual_seed(1)
    size = (len(LENGTHS), max(TOKEN_LENS))
    tokens = torch.randint(1, VOCAB + 1, size, generator=generator)
    states = torch.randn(len(LENGTHS), 17, 16, generator=generator)
    for row, length in enumerate(LENGTHS):
        states[row, length:] *= 1000
    return tokens, torch.tensor(TOKEN_LENS), states, torch.tensor(LENGTHS)


def pieces(log_probs):
    """Leave out the blank, which is -inf everywhere."""
    return log_probs[..., 1:]


def test_batch_equals_one_by_one(decoder, inputs):
    tokens, token_lens, states, lengths = inputs
    batch = decoder(*inputs)
    for row, (slots, frames) in enumerate(
        zip(TOKEN_LENS, LENGTHS, strict=True)
    ):
        if frames == 0:  # its states are never defined
            continue
        alone = decoder(
            tokens[row : row + 1, :slots],
            token_lens[row : row + 1],
            states[row : row + 1, :frames],
            lengths[row : row + 1],
        )
        torch.testing.assert_close(
            pieces(batch[row, :slots]), pieces(alone[0]), atol=1e-5, rtol=0
        )


def test_padding_is_not_seen(decoder, inputs):
    tokens, token_lens, states, lengths = inputs
    before = decoder(*inputs)
    for row, (slots, frames) in enumerate(
        zip(TOKEN_LENS, LENGTHS, strict=True)
    ):
        tokens[row, slots:] = 0
        states[row, max(1, frames) :] = -1e3
    after = decoder(tokens, token_lens, states, lengths)
    for row, slots in enumerate(TOKEN_LENS[:3]):
        assert torch.equal(before[row, :slots], after[row, :slots])


def test_the_first_token_sees_the_last_and_the_last_the_first(decoder, inputs):
    before = decoder(*inputs)
    for changed, seen in ((5, 0), (0, 5)):
        tokens = inputs[0].clone()
        tokens[0, changed] = tokens[0, changed] % VOCAB + 1
        after = decoder(tokens, *inputs[1:])
        assert (pieces(after - before)[0, seen]).abs().max() > 1e-3


def test_every_token_reads_every_frame(decoder, inputs):
    tokens, token_lens, states, lengths = inputs
    states.requires_grad_()
    out = decoder(tokens, token_lens, states, lengths)
    for slot in range(6):
        (gradient,) = torch.autograd.grad(
            pieces(out)[0, slot].square().sum(), states, retain_graph=True
        )
        assert (gradient[0].abs().sum(-1) > 0).all()


def test_masked_tokens_know_their_position(decoder, inputs):
    tokens = torch.full((1, 6), decoder.mask_id)
    out = decoder(tokens, *(x[:1] for x in inputs[1:]))
    assert pieces(out)[0].diff(dim=0).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (None, [2, 6, 10, 14]),  # (slot + 0.5) * 16 / 4
        ([1.0, 2.0, 9.4, 15.0], [1, 2, 9, 15]),
    ],
)
def test_tokens_attend_from_their_frames(decoder, inputs, positions, expected):
    """Queries and keys all alike: only the distance of the positions counts."""
    with torch.no_grad():
        for layer in decoder.layers:
            for linear in (
                layer.cross_attention.query,
                layer.cross_attention.key_value,
            ):
                linear.weight[:16] = 0
                linear.bias[:16] = 3
    states = inputs[2][:1, :16].requires_grad_()
    tokens = torch.full((1, 4), decoder.mask_id)
    if positions is not None:
        positions = torch.tensor([positions])
    out = decoder(
        tokens, torch.tensor([4]), states, torch.tensor([16]), positions
    )
    nearest = []
    for slot in range(4):
        (gradient,) = torch.autograd.grad(
            pieces(out)[0, slot, 0], states, retain_graph=True
        )
        nearest.append(int(gradient[0].norm(dim=-1).argmax()))
    assert nearest == expected


def test_pieces_sum_to_one_without_the_blank(decoder, inputs):
    out = decoder(*inputs)
    assert out.shape == (*inputs[0].shape, VOCAB)
    assert out[..., 0].isneginf().all()
    total = out.exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_no_frames_and_no_tokens_give_finite_gradients(decoder, inputs):
    pieces(decoder(*inputs)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in decoder.parameters())


def test_a_layer_is_that_of_torch_where_places_do_not_count(
    scramble, copy_attention
):
    ours = scramble(_DecoderLayer(16, 2, 32, 0.1))
    theirs = nn.TransformerDecoderLayer(
        16, 2, 32, 0.1, "gelu", batch_first=True, norm_first=True
    ).eval()
    copy_attention(ours.self_attention, theirs.self_attn)
    copy_attention(ours.cross_attention, theirs.multihead_attn)
    for mine, other in (
        (ours.self_norm, theirs.norm1),
        (ours.cross_norm, theirs.norm2),
        (ours.ffn_norm, theirs.norm3),
        (ours.ffn[0], theirs.linear1),
        (ours.ffn[2], theirs.linear2),
    ):
        other.load_state_dict(mine.state_dict())
    slots, frames = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    angles = [torch.zeros(2, 1, n, 4) for n in (5, 9)]
    lengths = torch.tensor([9, 4])
    valid = torch.arange(9) < lengths[:, None]
    everywhere = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    out = ours(slots, frames, *angles, everywhere, valid[:, None, None])
    expected = theirs(slots, frames, memory_key_padding_mask=~valid)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
