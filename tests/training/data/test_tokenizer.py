"""A tokenizer taken over from another run, and the weights that follow."""

import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import load_tokenizer
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from tests.training.tiny_recipe import (
    TEXT,
    copy_of,
    edit_row,
    run_tiny,
)


@pytest.fixture
def folder(finished, tmp_path):
    """A corpus whose train text has fewer letters than that of ``finetune``."""
    copy_of(finished, tmp_path)
    for number in range(10):
        edit_row(tmp_path / "data", f"train{number}", TEXT, "eat ten")
    return tmp_path


def options(finished, path="finetune"):
    return (
        f"--init_from={finished / 'finetune'}",
        f"--tokenizer={{path: {finished / path}}}",
        "--steps=1",
        "--peak_lr=1e-6",
    )


@pytest.mark.parametrize("path", ["finetune", "finetune/bundle"])
def test_with_its_tokenizer_all_weights_of_a_run_are_taken(
    finished, folder, path
):
    """At a rate of 1e-6, one step leaves them as they were."""
    outcome = run_tiny(folder, "finetune", *options(finished, path))
    assert outcome.code == 0, outcome.err
    old, new = (
        load_tokenizer(place / "tokenizer.json")
        for place in (finished / "finetune", folder / "out")
    )
    assert old.fingerprint == new.fingerprint
    theirs, mine = (
        CheckpointFolder(place / "checkpoints").newest().load("model")
        for place in (finished / "finetune", folder / "out")
    )
    assert theirs.keys() == mine.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(mine[name], weight, rtol=0, atol=1e-5)


def test_without_it_the_heads_are_new(finished, folder):
    start, _, *others = options(finished)
    outcome = run_tiny(folder, "finetune", start, *others)
    assert outcome.code == 0, outcome.err
    shapes = [
        CheckpointFolder(place / "checkpoints")
        .newest()
        .load("model")["ctc_head.weight"]
        .shape
        for place in (finished / "finetune", folder / "out")
    ]
    assert shapes[0] != shapes[1]


def test_a_tokenizer_that_lacks_characters_is_refused(finished, folder):
    edit_row(folder / "data", "train3", TEXT, "eat q")
    outcome = run_tiny(folder, "finetune", *options(finished))
    assert "lacks 1 characters of the split 'train' (U+0071); set" in (
        outcome.error
    )


def test_a_folder_without_a_tokenizer_is_refused(finished, folder):
    outcome = run_tiny(folder, "finetune", *options(finished, "data"))
    assert "holds no tokenizer; name a fine-tuning's output" in outcome.error


def test_a_run_under_way_needs_the_other_no_more(finished, folder):
    outcome = run_tiny(folder, "finetune", *options(finished))
    assert outcome.code == 0, outcome.err
    start, _, *others = options(finished)
    outcome = run_tiny(
        folder, "finetune", start, "--tokenizer={path: moved}", *others
    )
    assert outcome.code == 0, outcome.err
