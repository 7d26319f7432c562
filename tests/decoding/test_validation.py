import numpy as np
import pytest
import torch

from nar_asr_lobes.decoding.validation import as_log_probs
from nar_asr_lobes.errors import UserError


def test_float32_on_a_graph_becomes_float64_unchanged():
    logits = torch.randn(4, 3, requires_grad=True)
    log_probs = logits.log_softmax(-1)
    values = as_log_probs(log_probs)
    assert values.dtype == np.float64
    assert torch.equal(torch.from_numpy(values).float(), log_probs.detach())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.5, float("nan")]], "utt7: .*NaN"),
        ([[0.5, 2.0]], "utt7: .*above 0.*log-softmax"),
        ([[-1.0, -1.0], [-np.inf, -np.inf]], "utt7: frame 1 .*probability 0"),
        ([[-1.0], [-1.0]], r"utt7: .*shape \[2, 1\]"),
        ([-1.0, -1.0], r"utt7: .*shape \[2\]"),
    ],
)
def test_what_is_no_distribution_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        as_log_probs(np.array(values), "utt7")
