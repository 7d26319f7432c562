import pytest
import torch
from torch.nn import functional as F

from nar_asr_lobes.objectives.recognition import _cmlm_loss_sum


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_loss_and_gradient_equal_torch_on_the_tokens(smoothing):
    torch.manual_seed(0)
    logits = torch.randn(40, 8, requires_grad=True)  # of V - 1 pieces
    targets = torch.randint(1, 9, (40,))
    expected = F.cross_entropy(
        logits, targets - 1, reduction="sum", label_smoothing=smoothing
    )
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    blank = torch.full((40, 1), -torch.inf)
    log_probs = torch.cat([blank, logits.log_softmax(-1)], -1)
    loss = _cmlm_loss_sum(log_probs, targets, smoothing)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-6, rtol=0)


def test_no_masked_token_is_zero_with_a_gradient():
    log_probs = torch.zeros(0, 8, requires_grad=True)
    targets = torch.zeros(0, dtype=torch.long)
    loss = _cmlm_loss_sum(log_probs, targets, 0.1)
    loss.backward()
    assert loss.item() == 0 and log_probs.grad.shape == (0, 8)
