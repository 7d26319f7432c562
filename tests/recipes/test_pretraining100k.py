"""Pretraining100k: the run of 64 GPUs, on indexes of two other recipes."""

import pytest
import torch

from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.hparams import load_run
from nar_asr_lobes.training.optim.scheduler import WarmupCosine
from tests.recipes.corpus_trees import make_librilight
from tests.recipes.librispeech_tree import make_librispeech
from tests.recipes.running import TINY, nar_asr, run, yaml_of

RECIPE = "Pretraining100k"
MAKERS = {"LibriSpeech": make_librispeech, "LibriLight": make_librilight}


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    """Index two corpora with their recipes; return their folders by name."""
    root = tmp_path_factory.mktemp("indexes")
    for name, make in MAKERS.items():
        options = [
            f"--data_folder={make(root / 'data' / name)}",
            f"--output_folder={root / name}",
            "--data={dev: dev}",
            TINY,
        ]
        yaml = yaml_of(name, "pretrain")
        made = nar_asr("index", yaml, "--shards", "--processes=1", *options)
        assert made.code == 0, made.err
    return {name: root / name for name in MAKERS}


@pytest.mark.parametrize("task", ["pretrain", "one_gpu"])
def test_three_overrides_make_a_small_run(indexes, tmp_path, task):
    folders = ", ".join(f"{n}: {folder}" for n, folder in indexes.items())
    outcome = run(
        RECIPE,
        task,
        f"--data={{index: {{{folders}}}, weights: {{LibriSpeech: 0.3, "
        "LibriLight: 0.7}, workers: 0}",
        TINY,
        "--steps=2",
        "--global_batch=8",
        f"--output_folder={tmp_path}",
    )
    assert outcome.code == 0, outcome.err
    assert CheckpointFolder(tmp_path / "checkpoints").newest().step == 2


def test_without_an_index_it_says_how_to_make_one(tmp_path):
    outcome = run(RECIPE, "pretrain", f"--output_folder={tmp_path}", TINY)
    assert "nar-asr index" in outcome.error


def test_it_states_the_run_of_the_design():
    run = load_run(yaml_of(RECIPE, "pretrain"))
    assert (run.task, run.global_batch, run.precision) == (
        "pretrain",
        2048,
        "bf16",
    )
    augment = run.objective.spec_augment
    assert (augment.freq_masks, augment.time_masks) == (2, 2)
    assert run.optim.optimizer.func is torch.optim.AdamW
    assert run.optim.max_grad_norm == 1.0
    schedule = run.optim.scheduler(steps=run.steps)
    assert type(schedule) is WarmupCosine
    steps = [0, run.steps // 20, run.steps // 10, run.steps]
    rates = [schedule.lr_at(step) for step in steps]
    assert rates == pytest.approx([0, 2.5e-4, 5e-4, 1e-6])


def test_one_gpu_hears_as_much_as_the_published_run():
    run = load_run(yaml_of(RECIPE, "one_gpu"))
    hours = run.steps * run.global_batch * 12.3 / 3600
    assert hours == pytest.approx(16_700, rel=0.02)
    assert run.peak_lr == 5e-4  # of wav2vec 2.0 Base, of as many parameters
