import math

import pytest
import torch
from torch.nn import functional as F

from nar_asr_lobes.lobes.attention import (
    Attention,
    ByteDropout,
    attention_mask,
    rotary_angles,
    rotate,
    scaled_attention,
)
from nar_asr_lobes.lobes.lengths import valid_mask


def attend(attention, x, memory, lengths, shift=0.0):
    queries = torch.arange(x.shape[1]) + shift
    keys = torch.arange(memory.shape[1]) + shift
    return attention(
        x,
        memory,
        rotary_angles(queries[None], 8),
        rotary_angles(keys[None], 8),
        attention_mask(valid_mask(torch.tensor(lengths), memory.shape[1])),
    )


def turn(row, position):
    """Rotate pair k of a row [2 K] by position / 10000^(k / K)."""
    half = len(row) // 2
    turned = torch.empty_like(row)
    for k in range(half):
        angle = position / 10000 ** (k / half)
        x, y = row[k], row[half + k]
        turned[k] = x * math.cos(angle) - y * math.sin(angle)
        turned[half + k] = x * math.sin(angle) + y * math.cos(angle)
    return turned


def naive(attention, x, memory):
    """One query, one head and one key at a time."""
    query = attention.query(x).unflatten(-1, (attention.heads, -1))
    key, value = (
        half.unflatten(-1, (attention.heads, -1))
        for half in attention.key_value(memory).chunk(2, -1)
    )
    out = torch.zeros_like(query)
    for head in range(attention.heads):
        for i in range(len(x)):
            turned = turn(query[i, head], i)
            scores = [turned @ turn(row[head], j) for j, row in enumerate(key)]
            scores = torch.stack(scores) / math.sqrt(query.shape[-1])
            out[i, head] = scores.softmax(0) @ value[:, head]
    return attention.output(out.flatten(1))


def test_attention_equals_a_naive_loop():
    torch.manual_seed(0)
    attention = Attention(16, 2)
    x, memory = torch.randn(1, 3, 16), torch.randn(1, 5, 16)
    out = attend(attention, x, memory, [5])[0]
    torch.testing.assert_close(
        out, naive(attention, x[0], memory[0]), atol=1e-5, rtol=0
    )


def test_mixed_precision_rounds_the_inputs_only():
    """The sums over the memory are float32's, with and without autocast."""
    query, key, value = torch.randn(3, 1, 2, 7, 8).bfloat16()
    mask = torch.ones(1, 1, 1, 7, dtype=torch.bool)
    wanted = F.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), mask
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = scaled_attention(query, key, value, mask)
    assert torch.equal(out, wanted.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_can_be_added_to_the_scores(dtype):
    query, key, value = torch.randn(3, 1, 2, 5, 4)
    bias = torch.randn(1, 2, 5, 5)
    bias[..., 3:] = float("-inf")
    scores = query @ key.mT / 2 + bias
    wanted = scores.softmax(-1) @ value
    out = scaled_attention(query.to(dtype), key, value, bias.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(
        out.float(),
        wanted,
        atol=1e-5 if dtype == torch.float32 else 0.05,
        rtol=0,
    )


def test_only_distances_count():
    torch.manual_seed(1)
    attention = Attention(16, 2)
    x = torch.randn(1, 6, 16)
    near, far = (attend(attention, x, x, [6], shift) for shift in (0.0, 40.5))
    torch.testing.assert_close(near, far, atol=1e-5, rtol=0)
    turned = attend(attention, x.flip(1), x.flip(1), [6]).flip(1)
    assert (near - turned).abs().max() > 1e-3


def test_rotation_keeps_lengths():
    x = torch.randn(2, 3, 4, 8)
    turned = rotate(x, rotary_angles(torch.rand(2, 4) * 50, 8))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_padding_of_the_memory_is_not_seen():
    torch.manual_seed(2)
    attention = Attention(16, 2)
    x, memory = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    before = attend(attention, x, memory, [5, 2])
    memory[1, 2:] = 1e4
    assert torch.equal(attend(attention, x, memory, [5, 2]), before)


def test_no_valid_frame_gives_finite_numbers_and_gradients():
    attention = Attention(16, 2)
    x = torch.randn(2, 3, 16)
    out = attend(attention, x, x, [3, 0])
    out.square().sum().backward()
    assert out.isfinite().all()
    assert all(p.grad.isfinite().all() for p in attention.parameters())


def test_uneven_heads_are_refused():
    with pytest.raises(ValueError, match="12 does not split into 4 even heads"):
        Attention(12, 4)


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
def test_it_drops_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    out = ByteDropout(p)(torch.ones(200, 1001))
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert out.mean().item() == pytest.approx(1.0, abs=0.01)
    neighbours = (out[:, 1:] == 0) & (out[:, :-1] == 0)
    assert neighbours.float().mean().item() == pytest.approx(p * p, abs=0.005)


def test_the_gradient_goes_where_the_value_went():
    torch.manual_seed(0)
    x = torch.randn(37, requires_grad=True)
    out = ByteDropout(0.3)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), out.detach())


def test_it_follows_the_seed():
    drop, x = ByteDropout(0.4), torch.ones(99)
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(drop(x))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_nothing_is_dropped_in_evaluation_or_at_zero():
    x = torch.randn(50)
    assert torch.equal(ByteDropout(0.5).eval()(x), x)
    assert torch.equal(ByteDropout(0.0)(x), x)


def test_a_probability_of_one_is_refused():
    with pytest.raises(ValueError, match="dropout is 1"):
        ByteDropout(1.0)
