import numpy as np
import pytest
import torch

from nar_asr_lobes.decoding.encoded import (
    as_log_probs,
    decode_checked,
    posteriors,
    take,
)
from nar_asr_lobes.errors import UserError


def test_posteriors_are_cut_to_their_frames(batch):
    encoded = batch[2]
    rows = posteriors(encoded)
    assert [len(row) for row in rows] == encoded.lengths.tolist()
    assert torch.equal(rows[2], encoded.log_probs[2, : len(rows[2])])


def test_take_selects_repeats_and_cuts(batch):
    encoded = batch[2]
    taken = take(encoded, torch.tensor([2, 0, 2]))
    assert taken.lengths.tolist() == encoded.lengths[[2, 0, 2]].tolist()
    frames = int(encoded.lengths[0])
    assert torch.equal(taken.states[1], encoded.states[0, :frames])
    assert torch.equal(taken.states[0], taken.states[2])
    assert taken.log_probs.shape[:2] == (3, frames)


def test_nan_of_the_decoder_is_refused_in_valid_positions_only(model, batch):
    encoded = batch[2]
    tokens = torch.ones(3, 2, dtype=torch.long)

    class Broken:
        def decode(self, *inputs):
            log_probs = model.decode(*inputs)
            log_probs[1, 1, 3] = float("nan")
            return log_probs

    with torch.inference_mode():
        frames = torch.zeros(3, 2)
        lens = torch.tensor([2, 1, 2])
        decode_checked(Broken(), encoded, tokens, lens, frames)
        with pytest.raises(UserError, match="decoder.*NaN.*checkpoint"):
            lens = torch.tensor([2, 2, 2])
            decode_checked(Broken(), encoded, tokens, lens, frames)


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
