import math

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.options import TrainOptions


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_clipping_cannot_be_off(value):
    with pytest.raises(UserError, match=f"max_grad_norm is {value}; it is an"):
        TrainOptions(max_grad_norm=value)


@pytest.mark.parametrize(
    "name", ["log_interval", "valid_interval", "checkpoint_interval"]
)
def test_intervals_are_steps(name):
    with pytest.raises(UserError, match=f"{name} is 0; give the optimiser"):
        TrainOptions(**{name: 0})


def test_the_norm_is_one_unless_said():
    assert TrainOptions().max_grad_norm == 1.0
