"""Options that a user gave: made into dataclasses, or refused in a sentence."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.objectives.best_rq import BestRqObjective
from nar_asr_lobes.objectives.recognition import RecognitionObjective
from nar_asr_lobes.objectives.wav2vec2 import Wav2Vec2Objective
from nar_asr_lobes.schema import (
    Checked,
    FilePath,
    count,
    number,
    one_of,
    parse,
    require_count,
    require_number,
)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "5", None])
def test_counts_are_whole_and_positive(value):
    with pytest.raises(UserError, match="beam_size is .*at least 1"):
        require_count("beam_size", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, "1", True])
def test_numbers_are_finite_and_inside_their_limits(value):
    with pytest.raises(UserError, match="lm_weight is .* from 0 to inf"):
        require_number("lm_weight", value, minimum=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpecAugment(freq_masks=-1), "freq_masks is -1"),
        (lambda: SpecAugment(time_ratio=1.5), "time_ratio is 1.5.* to 1"),
        (lambda: BestRqObjective(0.5, 0), "mask_span is 0"),
        (lambda: BestRqObjective(0.5, 10, codes=1), "codes is 1"),
        (lambda: BestRqObjective(0.5, 9, soft_weight=2), "soft_weight is 2"),
        (
            lambda: BestRqObjective(0.5, 9, unmasked_loss_weight=-1),
            "unmasked_loss_weight is -1",
        ),
        (lambda: BestRqObjective(0.5, 9, projection="x"), "projection is .x"),
        (lambda: Wav2Vec2Objective(0.5, 9, negatives=0), "negatives is 0"),
        (lambda: Wav2Vec2Objective(0.5, 9, gumbel_start=0.1), "gumbel_start"),
        (lambda: Wav2Vec2Objective(0.5, 9, gumbel_ratio=1.1), "gumbel_ratio"),
        (lambda: RecognitionObjective(None, 1.5, 0.5), "decoder_weight is 1.5"),
    ],
)
def test_numbers_of_a_yaml_are_checked_where_they_are_used(make, message):
    with pytest.raises(UserError, match=message):
        make()


@dataclass
class Inner(Checked):
    steps: int = count(1, least=1)


@dataclass
class Section(Checked):
    name: str = "a"
    steps: int = count(10, least=1)
    peak_lr: float = number(0.5, above=0)
    cache: bool = False
    size: int | None = None
    test: list = field(default_factory=list)
    dropout: float = number(0.0, least=0, below=1)
    mode: str = one_of(("fast", "slow"), "fast")
    layers: list[int] = field(default_factory=list)
    options: dict = field(default_factory=dict)
    objective: Any = None
    inner: Inner | None = None
    path: FilePath | None = None

    def __post_init__(self):
        super().__post_init__()
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
    section = parse(Section, values, "a.yaml")
    assert {name: getattr(section, name) for name in values} == values
    assert parse(Section, {"name": "a"}, "a.yaml").steps == 10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], r"must hold keys, not \[1\]"),
        ({"nam": "a"}, "unknown key 'nam'; did you mean 'name'"),
        ({"zzz": 1}, "unknown key 'zzz'; known keys are name, steps, peak_lr"),
        ({7: 1}, "unknown key 7"),
        ({"name": 3}, "name is 3; give text"),
        (
            {"steps": "3"},
            "steps is '3'; it must be a whole number of",
        ),
        ({"steps": 3.0}, "steps is 3.0; it must be a whole number"),
        ({"steps": True}, "steps is True; it must be a whole number"),
        ({"steps": 2**32}, r"steps is \d+; it must be at most 4294967295"),
        ({"steps": 0}, "steps is 0; it must be a whole number of at least 1"),
        ({"steps": None}, "steps is empty; fill or remove it"),
        ({"size": "x"}, "size is 'x'; it must be a whole number$"),
        (
            {"peak_lr": "high"},
            "peak_lr is 'high'; it must be a finite number above 0",
        ),
        (
            {"peak_lr": float("nan")},
            "peak_lr is nan; it must be a finite number above 0",
        ),
        (
            {"peak_lr": float("inf")},
            "peak_lr is inf; it must be a finite number above 0",
        ),
        ({"peak_lr": 0}, "peak_lr is 0; it must be a finite .*above 0"),
        ({"cache": "no"}, "cache is 'no'; give True or False"),
        ({"test": "dev"}, r"test is 'dev'; give a list such as \[a, b\]"),
        ({"layers": 3}, "layers is 3; give a list"),
        ({"layers": ["a"]}, r"layers is .*, each a whole number"),
        (
            {"dropout": 1},
            "dropout is 1; it must be .* 0 to below 1$",
        ),
        ({"mode": "quick"}, "mode is 'quick'; choose from fast, slow"),
        ({"inner": {"stepps": 1}}, "inner: unknown key 'stepps'; did you mean"),
        ({"inner": {"steps": 0}}, "inner: steps is 0; it must be a whole"),
        ({"inner": 3}, "inner: must hold keys, not 3"),
        ({"path": "$NO_SUCH_VARIABLE"}, "path: .*is not set"),
        ({"options": []}, r"options is \[\]; give keys with values"),
        ({"name": "forbidden"}, "name is forbidden; choose another"),
    ],
)
def test_a_fault_is_told_with_its_place(values, message):
    with pytest.raises(UserError, match=f"^a.yaml: part: {message}"):
        parse(Section, values, "a.yaml: part")


@pytest.mark.parametrize("values", [{}, {"name": None}])
def test_a_key_without_a_default_must_be_there(values):
    @dataclass
    class Needy(Checked):
        name: str

    with pytest.raises(UserError, match="a.yaml: key 'name' is missing; add"):
        parse(Needy, values, "a.yaml")


def test_a_section_that_names_itself_is_named_once():
    @dataclass
    class Model(Checked):
        def __post_init__(self):
            raise UserError("model: heads do not fit")

    with pytest.raises(UserError, match="^a.yaml: model: heads do not fit$"):
        parse(Model, {}, "a.yaml: model")


def test_sections_and_paths_inside_are_made():
    found = parse(Section, {"inner": {"steps": 2}, "path": "~/a"}, "a.yaml")
    assert found.inner == Inner(2)
    assert found.path == os.path.expanduser("~/a")
    assert parse(Section, {"inner": None}, "a.yaml").inner is None


def test_a_dataclass_made_in_code_is_checked_too():
    with pytest.raises(UserError, match="^dropout is 1.0; it must be a finite"):
        Section(dropout=1.0)
