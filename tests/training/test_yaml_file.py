"""The YAML of a run, with the keys of the command line over it."""

from pathlib import Path

import pytest

from nar_asr_lobes.training.yaml_file import read_yaml

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*/hparams/eval*.yaml")))
def test_an_evaluation_takes_another_language_model_and_weights(recipe):
    given = "data_folder: a\nlm: {ngram: b}\ndecoding: {beam: {beam_size: 9}}"
    values = read_yaml(recipe, given)
    assert values["lm"] == {"ngram": "b"}
    assert values["decoding"] == {"beam": {"beam_size": 9}}
