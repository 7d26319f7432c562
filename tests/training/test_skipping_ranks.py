"""A spike or NaN of one rank: all ranks skip and go back as one."""

import torch

from tests.training.ranks import launch
from tests.training.runs import assert_same_weights
from tests.training.skipping_ranks import NANS, SPIKE, STEPS, work


def is_same(one, two):
    """Tell whether all weights are equal bit for bit."""
    return all(torch.equal(value, two[name]) for name, value in one.items())


def test_both_ranks_skip_and_roll_back_alike(tmp_path, tone_clips):
    found = launch(tmp_path, work, tone_clips)
    trails = [dict(rank["trail"]) for rank in found]
    for step in range(STEPS + 1):
        assert_same_weights(trails[0][step], trails[1][step])
    kept = [
        step
        for step in range(1, STEPS + 1)
        if is_same(trails[0][step - 1], trails[0][step])
    ]
    assert kept == [SPIKE, *NANS[:-1]]
    assert_same_weights(trails[0][NANS[-1]], trails[0][4])  # step 6 undone
    for rank in found:
        progress = rank["progress"]
        assert (progress["skipped"], progress["roll_backs"]) == (4, 1)
    assert found[0]["progress"]["norms"] == found[1]["progress"]["norms"]
