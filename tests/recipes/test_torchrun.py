"""Recipes as a user starts them: train.py in processes of its own.

Two processes of torchrun on the CPU (gloo) go through pre-training and
fine-tuning, with relative paths, from a folder that is not the recipe's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from tests.recipes.librispeech_tree import make_librispeech
from tests.recipes.running import RECIPES, TINY

HPARAMS = RECIPES / "LibriSpeech" / "hparams"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
COMMON = (
    "--data_folder=corpus",
    "--steps=4",
    "--global_batch=6",
    "--data={workers: 0}",
    TINY,
)
PRETRAIN = (HPARAMS / "pretrain.yaml", "--output_folder=out/pretrain")
FINETUNE = (
    HPARAMS / "finetune.yaml",
    "--output_folder=out/finetune",
    "--init_from=out/pretrain",
    "--tokenizer={size: 12}",
)


def start(folder: Path, *arguments) -> subprocess.CompletedProcess:
    """Run train.py of LibriSpeech from another working directory."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that holds the corpus, and gets what the runs write."""
    folder = tmp_path_factory.mktemp("torchrun")
    make_librispeech(folder / "corpus")
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """Both stages, run one after the other by two processes."""
    script = RECIPES / "LibriSpeech" / "train.py"
    for stage in (PRETRAIN, FINETUNE):
        done = start(folder, *TORCHRUN, script, *stage, *COMMON)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        assert done.stdout.count("prepare: start") == 1
    return folder / "out"


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_two_processes_run_to_the_end(finished, stage):
    newest = CheckpointFolder(finished / stage / "checkpoints").newest()
    assert newest.step == 4
    assert len(newest.load("random")) == 2  # one stream a process
    weights = newest.load("model").values()
    assert all(torch.isfinite(weight).all() for weight in weights)
    seconds = json.loads((finished / stage / "seconds.json").read_text())
    assert seconds[stage] > 0


def test_two_processes_end_in_a_bundle(finished):
    results = json.loads((finished / "finetune" / "results.json").read_text())
    assert list(results) == ["test-clean", "test-other"]
    assert results["test-other"]["nar_beam5_lm"]["utterances"] == 6
    assert load_bundle(finished / "finetune" / "bundle").tokenizer.size == 12


def test_a_complete_run_is_not_trained_again(finished):
    """The same command, now by one process, only evaluates once more."""
    checkpoints = CheckpointFolder(finished / "finetune" / "checkpoints")
    before = checkpoints.newest()
    results = (finished / "finetune" / "results.txt").stat().st_mtime_ns
    written = before.path.stat().st_mtime_ns
    script = RECIPES / "LibriSpeech" / "train.py"
    done = start(finished.parent, script, *FINETUNE, *COMMON)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"resuming from {before.path.relative_to(finished.parent)}" in (
        done.stdout
    )
    assert "loss" not in done.stdout
    assert checkpoints.newest() == before
    assert before.path.stat().st_mtime_ns == written
    assert (finished / "finetune" / "results.txt").stat().st_mtime_ns > results


def test_a_mistake_ends_all_processes(folder):
    """It is found by one of them, and all leave without a stack of it."""
    script = RECIPES / "LibriSpeech" / "train.py"
    wrong = [*COMMON, "--data_folder=nowhere", "--output_folder=out/wrong"]
    done = start(folder, *TORCHRUN, script, PRETRAIN[0], *wrong)
    assert done.returncode != 0
    errors = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert errors and set(errors) == {errors[0]}
    assert "nowhere/train-clean-100: no audio found" in errors[0]
    assert "UserError" not in done.stderr and "DistBackend" not in done.stderr
