import pytest
import torch

from nar_asr_lobes.lobes.dropout import ByteDropout


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
