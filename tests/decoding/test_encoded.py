import pytest
import torch

from nar_asr_lobes.decoding.encoded import decode_slots, posteriors, take
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


def test_nan_of_the_decoder_is_refused_in_valid_slots_only(model, batch):
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
        decode_slots(Broken(), encoded, tokens, lens, frames)
        with pytest.raises(UserError, match="decoder.*NaN.*checkpoint"):
            lens = torch.tensor([2, 2, 2])
            decode_slots(Broken(), encoded, tokens, lens, frames)
