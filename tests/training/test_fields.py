"""A section of a YAML becomes a dataclass, or one sentence on its fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.fields import fill


@dataclass
class Section:
    name: str = "a"
    steps: int = 10
    peak_lr: float = 0.5
    cache: bool = False
    size: int | None = None
    test: list = field(default_factory=list)
    dropout: float = 0.0
    layers: list[int] = field(default_factory=list)
    options: dict = field(default_factory=dict)
    objective: Any = None

    def __post_init__(self):
        if self.name == "forbidden":
            raise UserError("name is forbidden; choose another")


def test_values_of_the_right_kind_are_taken_as_they_are():
    values = {
        "name": "a",
        "steps": 3,
        "peak_lr": 1,
        "cache": True,
        "dropout": 0.1,
        "size": None,
        "test": ["t"],
        "layers": [1, 2],
        "options": {"a": 1},
        "objective": print,
    }
    assert vars(fill(Section, values, "a.yaml")) == values
    assert fill(Section, {"name": "a"}, "a.yaml").steps == 10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], r"must hold keys, not \[1\]"),
        ({"nam": "a"}, "unknown key 'nam'; did you mean 'name'"),
        ({"zzz": 1}, "unknown key 'zzz'; known keys are name, steps, peak_lr"),
        ({7: 1}, "unknown key 7"),
        ({"name": 3}, "name is 3; give text"),
        ({"steps": "3"}, "steps is '3'; give a whole number"),
        ({"steps": 3.0}, "steps is 3.0; give a whole number"),
        ({"steps": True}, "steps is True; give a whole number"),
        ({"steps": 2**32}, r"steps is \d+; give a whole number below 2\^32"),
        ({"steps": 0}, "steps is 0; give at least 1"),
        ({"steps": None}, "steps is empty; fill or remove it"),
        ({"size": "x"}, "size is 'x'; give a whole number"),
        ({"peak_lr": "high"}, "peak_lr is 'high'; give a number"),
        ({"peak_lr": float("nan")}, "peak_lr is nan; give a number"),
        ({"peak_lr": float("inf")}, "peak_lr is inf; give a number"),
        ({"peak_lr": 0}, "peak_lr is 0; give more than 0"),
        ({"cache": "no"}, "cache is 'no'; give True or False"),
        ({"test": "dev"}, r"test is 'dev'; give a list such as \[a, b\]"),
        ({"layers": 3}, "layers is 3; give a list"),
        ({"layers": ["a"]}, r"layers is .*, each a whole number"),
        ({"dropout": 1}, "dropout is 1; give a share from 0 to below 1"),
        ({"options": []}, r"options is \[\]; give keys with values"),
        ({"name": "forbidden"}, "name is forbidden; choose another"),
    ],
)
def test_a_fault_is_told_with_its_place(values, message):
    with pytest.raises(UserError, match=f"^a.yaml: part: {message}"):
        fill(Section, values, "a.yaml: part")


@pytest.mark.parametrize("values", [{}, {"name": None}])
def test_a_key_without_a_default_must_be_there(values):
    @dataclass
    class Needy:
        name: str

    with pytest.raises(UserError, match="a.yaml: key 'name' is missing; add"):
        fill(Needy, values, "a.yaml")


def test_a_section_that_names_itself_is_named_once():
    @dataclass
    class Model:
        def __post_init__(self):
            raise UserError("model: heads do not fit")

    with pytest.raises(UserError, match="^a.yaml: model: heads do not fit$"):
        fill(Model, {}, "a.yaml: model")
