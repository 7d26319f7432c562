import dataclasses

import pytest

from nar_asr_lobes.decoding.hypotheses import BeamOptions, Hypothesis
from nar_asr_lobes.errors import UserError


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam_size": 0},
        {"beam_size": 2**70},
        {"lm_weight": float("nan")},
        {"lm_weight": -0.5},
        {"token_bonus": float("inf")},
        {"max_candidates": 0},
        {"min_log_prob": 1.0},
        {"min_log_prob": float("nan")},
        {"blank_threshold": 0.4},
        {"blank_threshold": 1.5},
        {"recombine": 1},
        {"margin": -1.0},
        {"margin": float("nan")},
    ],
)
def test_a_wrong_option_is_named(wrong):
    [name] = wrong
    with pytest.raises(UserError, match=f"^{name} is "):
        BeamOptions(**wrong)


def test_none_lifts_the_limits():
    options = BeamOptions(
        max_candidates=None, min_log_prob=None, blank_threshold=None
    )
    assert options.beam_size == 5


def test_hypotheses_and_options_cannot_be_changed():
    with pytest.raises(AttributeError):
        Hypothesis((1,), 0.0, 0.0).score = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        BeamOptions().beam_size = 1
