import math
from itertools import permutations

import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.optim.scheduler import (
    WarmupCosine,
    load_optimizer,
    parameter_groups,
)

PEAK, FLOOR, STEPS = 5e-4, 1e-6, 1000


def test_values_of_the_full_run():
    schedule = WarmupCosine(PEAK, STEPS)
    assert schedule.lr_at(0) == 0
    assert schedule.lr_at(50) == pytest.approx(PEAK / 2)
    assert schedule.lr_at(100) == PEAK
    half = FLOOR + (PEAK - FLOOR) * (1 + math.cos(math.pi * 400 / 900)) / 2
    assert schedule.lr_at(500) == pytest.approx(half)
    assert schedule.lr_at(1000) == pytest.approx(FLOOR)
    assert schedule.lr_at(2000) == pytest.approx(FLOOR)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("steps", [1, 7, 10_000])
def test_it_rises_and_falls_once_within_its_limits(steps, share):
    schedule = WarmupCosine(PEAK, steps, share, FLOOR)
    rates = [schedule.lr_at(step) for step in range(steps + 1)]
    assert all(0 <= rate <= PEAK for rate in rates)
    top = rates.index(max(rates))
    assert abs(top - share * steps) <= 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if share * steps >= 1 or share == 0:
        assert max(rates) == pytest.approx(PEAK, rel=0.1)


def optimizer():
    return torch.optim.SGD(
        [
            {"params": [torch.nn.Parameter(torch.ones(1))], "lr_scale": 1.0},
            {"params": [torch.nn.Parameter(torch.ones(1))], "lr_scale": 4.0},
            {"params": [torch.nn.Parameter(torch.ones(1))]},
        ],
        lr=9.0,
    )


def test_a_step_sets_every_group_to_its_share_of_the_rate():
    schedule, groups = WarmupCosine(PEAK, STEPS), optimizer()
    rates = [schedule.step(groups) for _ in range(150)]
    assert rates == [schedule.lr_at(step) for step in range(1, 151)]
    assert rates[0] > 0
    assert [group["lr"] for group in groups.param_groups] == [
        rates[-1],
        4 * rates[-1],
        rates[-1],
    ]


def test_a_restored_schedule_goes_on():
    schedule, groups = WarmupCosine(PEAK, STEPS), optimizer()
    for _ in range(37):
        schedule.step(groups)
    restored = WarmupCosine(PEAK, STEPS)
    restored.load_state_dict(schedule.state_dict())
    assert [restored.step(groups) for _ in range(5)] == [
        schedule.step(groups) for _ in range(5)
    ]
    assert restored.step_count == 42


def test_a_saved_state_does_not_move_with_the_schedule():
    schedule = WarmupCosine(PEAK, STEPS)
    state = schedule.state_dict()
    schedule.step(optimizer())
    assert state["step_count"] == 0


@pytest.mark.parametrize(
    "other", [(1e-3, STEPS), (PEAK, 900), (PEAK, STEPS, 0.2)]
)
def test_another_schedule_is_refused(other):
    state = WarmupCosine(PEAK, STEPS).state_dict()
    for saved in (state, {"step_count": 3}):  # the second of another class
        with pytest.raises(UserError, match="checkpoint was made with .* now"):
            WarmupCosine(*other).load_state_dict(saved)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PEAK, 0), "steps is 0; it must be a whole number"),
        ((PEAK, 10, 1.0), "warmup_ratio is 1.0; it must be a .* below 1"),
        ((PEAK, 10, -0.1), "warmup_ratio is -0.1"),
        ((PEAK, 10, math.nan), "warmup_ratio is nan"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        WarmupCosine(*arguments)


@pytest.mark.parametrize(
    "options", [{"weight_decay": 0.5}, {"betas": (0.9, 0.99)}]
)
def test_another_optimiser_option_is_not_silently_dropped(options):
    """``load_state_dict`` alone puts the saved options in their place."""
    layer = torch.nn.Linear(2, 2)

    def optimizer(scale, **others):
        return torch.optim.AdamW(
            parameter_groups(torch.nn.ModuleDict({"a": layer}), scale), **others
        )

    state = optimizer(2.0).state_dict()
    load_optimizer(optimizer(2.0, fused=True), state, "a")
    name = next(iter(options))
    with pytest.raises(UserError, match=f"a: was made with {name} .*, now it"):
        load_optimizer(optimizer(2.0, **options), state, "a")
    with pytest.raises(UserError, match="with lr_scale 2.0, now it is 3.0; g"):
        load_optimizer(optimizer(3.0), state, "a")


@pytest.mark.parametrize(
    ("saved", "now"), list(permutations((torch.optim.AdamW, torch.optim.SGD)))
)
def test_the_state_of_another_optimiser_is_refused(saved, now):
    layer = [torch.nn.Parameter(torch.zeros(1))]
    with pytest.raises(UserError, match="a: was made with .*, now it is"):
        load_optimizer(now(layer), saved(layer).state_dict(), "a")


def test_vectors_in_any_shape_have_no_decay():
    """Such as WavLM's gates, one number a head."""
    model = torch.nn.Module()
    model.gate = torch.nn.Parameter(torch.ones(1, 3, 1, 1))
    model.kernel = torch.nn.Parameter(torch.ones(3, 1, 2))
    decays = [g.get("weight_decay") for g in parameter_groups(model, 1.0)]
    assert decays == [0.0, None]
