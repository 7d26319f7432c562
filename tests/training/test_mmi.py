"""Runs with MMI, from the YAML to the bundle."""

import re

import pytest

from tests.training.tiny_recipe import copy_of, finished_runs, run_tiny


@pytest.fixture
def folder(tmp_path_factory, tmp_path):
    """A folder with YAMLs and a corpus."""
    return copy_of(finished_runs(tmp_path_factory.getbasetemp()), tmp_path)


def test_a_run_trains_on_it_and_goes_on(folder):
    """The denominator is of the transcripts of train."""
    options = "--objective={mmi_weight: 0.9, mmi_start: 0.0, mmi_order: 3}"
    outcome = run_tiny(folder, "finetune", options, "--lm=null")
    assert outcome.code == 0
    log = (folder / "out" / "log.txt").read_text()
    assert re.search(r"dev split: .*denominator -[1-9]", log)
    assert run_tiny(folder, "finetune", options, "--lm=null").code == 0


@pytest.mark.parametrize(
    "option, message",
    [
        ("mmi_weight: 2", "objective: mmi_weight is 2"),
        ("mmi_weight: 0.5, mmi_order: 7", "mmi_order is 7; it must be at most"),
    ],
)
def test_a_mistake_is_told(folder, option, message):
    outcome = run_tiny(folder, "finetune", f"--objective={{{option}}}")
    assert message in outcome.error
