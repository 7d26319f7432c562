"""One run from its command line: help, paths, going on, refusing to."""

import json
import logging
import re
import shutil
import subprocess
import sys

import pytest
import torch

from nar_asr_lobes.dataio.text.pieces import CharTokenizer
from nar_asr_lobes.distributed import on_main
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.stems import gabor_filters
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from tests.recipes.librispeech_tree import corrupt
from tests.recipes.running import RECIPES, call
from tests.training.tiny_recipe import (
    TEXT,
    copy_of,
    edit_row,
    prepare,
    run_tiny,
)


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of its corpus and YAMLs."""
    return copy_of(finished, tmp_path)


@pytest.fixture
def started(finished, folder):
    """The same with the fine-tuning in ``out``."""
    shutil.copytree(finished / "finetune", folder / "out")
    return folder


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(flag):
    outcome = call(["a.yaml", flag], prepare)
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.out.startswith("usage: python train.py")


def test_a_recipe_runs_from_any_folder_with_relative_paths(
    folder, tmp_path_factory, monkeypatch
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "data").rename(elsewhere / "corpus")
    (elsewhere / "corpus" / "lm.txt").write_text("ten ants eat\n")
    monkeypatch.chdir(elsewhere)
    options = ["--data_folder=corpus", "--output_folder=results/a"]
    yaml = folder / "finetune.yaml"
    outcome = call([yaml, *options, "--lm={texts: [lm.txt]}"], prepare)
    assert outcome.code == 0, outcome.err
    assert {path.name for path in elsewhere.iterdir()} == {"corpus", "results"}
    # What was written can be read from another folder again.
    monkeypatch.chdir(elsewhere / "results")
    options = ["--data_folder=../corpus", "--bundle=a/bundle"]
    outcome = call([folder / "evaluate.yaml", *options], prepare)
    assert outcome.code == 0, outcome.err


def test_times_of_all_stages_are_kept(finished):
    seconds = json.loads((finished / "finetune" / "seconds.json").read_text())
    assert list(seconds) == ["prepare", "finetune", "lm", "evaluate"]


def test_the_compiler_of_the_searches_does_not_fill_the_log(folder):
    logging.getLogger("numba").setLevel(logging.DEBUG)
    assert run_tiny(folder, "pretrain").code == 0
    assert not logging.getLogger("numba.core.ssa").isEnabledFor(logging.INFO)


def finetune_from(finished, folder, option):
    """Give the model of the pre-training, and that of a fine-tuning from it."""
    options = [f"--init_from={finished / 'pretrain'}", option]
    assert run_tiny(folder, "finetune", *options).code == 0
    return (
        CheckpointFolder(path / "checkpoints").newest().load("model")
        for path in (finished / "pretrain", folder / "out")
    )


def test_a_finetuning_starts_from_the_pretrained_encoder(finished, folder):
    """With all frozen, the encoder is the one that was pre-trained."""
    option = "--optim={freeze_encoder_steps: 2}"
    given, taken = finetune_from(finished, folder, option)
    names = [name for name in taken if name.startswith("encoder.")]
    assert len(names) > 10
    for name in names:
        assert torch.equal(given[name], taken[name]), name


@pytest.mark.parametrize(
    ("freeze", "kept"),
    [
        ("none", []),
        ("filters", ["stem.gabor.", "stem.lowpass."]),
        ("frontend", [""]),
    ],
)
def test_what_is_frozen_keeps_its_start(finished, folder, freeze, kept):
    given, taken = finetune_from(finished, folder, f"--freeze={freeze}")
    starts = tuple(f"encoder.frontend.{part}" for part in kept)
    names = {name for name in taken if name.startswith("encoder.")}
    same = {name for name in names if torch.equal(given[name], taken[name])}
    assert same == {name for name in names if name.startswith(starts)}


def test_the_lowest_layers_keep_their_start(finished, folder):
    given, taken = finetune_from(finished, folder, "--freeze_layers=1")
    names = {name for name in taken if name.startswith("encoder.")}
    same = {name for name in names if torch.equal(given[name], taken[name])}
    below = ("encoder.frontend.", "encoder.layers.layers.0.")
    assert same == {name for name in names if name.startswith(below)}
    start = f"--init_from={finished / 'pretrain'}"
    again = run_tiny(folder, "finetune", start, "--steps=9")
    assert "made with freeze 1 layers, now it is none" in again.error


@pytest.mark.parametrize(
    ("layers", "options", "said"),
    [
        (1, ["--init_from=null"], "leave convolutions at random; set it to 0"),
        (3, [], "freeze_layers: 3: the encoder has 2 layers"),
        (2, ["--reinit_layers=1"], "reinit_layers makes 1 new; freeze fewer"),
    ],
)
def test_layers_that_cannot_be_frozen(finished, folder, layers, options, said):
    start = f"--init_from={finished / 'pretrain'}"
    options = [f"--freeze_layers={layers}", start, *options]
    assert said in run_tiny(folder, "finetune", *options).error


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("finetune", ["--freeze=filters", "--model={stem: wav2vec2}"]),
        ("pretrain", ["--freeze=filters", "--model={stem: wav2vec2}"]),
        ("finetune", ["--freeze=frontend"]),
    ],
)
def test_convolutions_of_random_weights_are_not_frozen(folder, task, options):
    outcome = run_tiny(folder, task, *options)
    assert outcome.code == 2
    assert "would leave convolutions at random; set it to" in outcome.error


def test_a_pretraining_may_freeze_the_frontend(folder):
    assert run_tiny(folder, "pretrain", "--freeze=frontend").code == 0


def test_what_is_frozen_has_no_penalty(folder):
    (folder / "objective.yaml").write_text(
        "!new:nar_asr_lobes.objectives.wav2vec2.Wav2Vec2Objective\n"
        "mask_prob: 0.5\nmask_span: 4\npenalty_weight: 1.0\n"
    )
    option = "--objective=!include:objective.yaml"
    outcome = run_tiny(folder, "pretrain", option, "--freeze=frontend")
    assert outcome.code == 2
    assert "penalty_weight does nothing with freeze: front" in outcome.error


def test_without_a_pretrained_encoder_none_rests(folder):
    options = ["--optim={freeze_encoder_steps: 2}", "--reinit_layers=1"]
    outcome = run_tiny(folder, "finetune", *options)
    assert outcome.code == 0
    assert "freeze_encoder_steps (2) and reinit_layers (1) need" in outcome.out
    newest = CheckpointFolder(folder / "out" / "checkpoints").newest()
    filters = newest.load("model")["encoder.frontend.stem.gabor.weight"]
    start = gabor_filters(filters.shape[0] // 2, filters.shape[-1])
    assert not torch.equal(filters, start)


def test_a_pretraining_ignores_what_a_tokenizer_would_hear(folder):
    option = "--tokenizer={phones: en-us}"
    assert run_tiny(folder, "pretrain", option).code == 0


def test_what_is_frozen_is_one_of_three(folder):
    outcome = run_tiny(folder, "finetune", "--freeze=stem")
    assert outcome.code == 2
    assert "freeze is 'stem'; choose from none, filters, fr" in outcome.error


def test_a_complete_run_is_evaluated_but_not_trained_again(started):
    checkpoints = CheckpointFolder(started / "out" / "checkpoints")
    before = checkpoints.newest()
    kept = {path: path.read_bytes() for path in before.path.iterdir()}
    (started / "out" / "results.json").unlink()
    outcome = run_tiny(started, "finetune")
    assert outcome.code == 0 and not outcome.losses
    assert f"resuming from {before.path}" in outcome.out
    assert checkpoints.newest() == before
    assert {path: path.read_bytes() for path in before.path.iterdir()} == kept
    assert (started / "out" / "results.json").is_file()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["--init_from=pretrain"], "init_from None"),
        (["--data={bucket_steps: 3}"], "bucket_steps 16"),
        (["--optim={head_lr_scale: 4}"], "lr_scale 1.0"),
        (["--freeze=filters"], "freeze none"),
    ],
)
def test_a_run_under_way_takes_no_other_start(started, options, key):
    """Its weights come from the checkpoint: the new option would be lost."""
    outcome = run_tiny(started, "finetune", *options)
    assert outcome.code == 2
    assert f"was made with {key}, now it is" in outcome.error


def test_a_run_under_way_keeps_its_objective(started):
    text = (started / "finetune.yaml").read_text()
    text = text.replace("inter_weight: 0.5", "inter_weight: 0.25")
    (started / "finetune.yaml").write_text(text)
    outcome = run_tiny(started, "finetune")
    assert outcome.code == 2
    assert "was made with objective {'weights': {'ctc': 0.35" in outcome.error


def test_a_run_under_way_needs_its_start_no_more(folder, tmp_path):
    pretrained = tmp_path / "pretrain"
    output = f"--output_folder={pretrained}"
    assert run_tiny(folder, "pretrain", output).code == 0
    option = f"--init_from={pretrained}"
    assert run_tiny(folder, "finetune", option).code == 0
    (folder / "out" / "results.json").unlink()
    pretrained.rename(tmp_path / "moved")
    assert run_tiny(folder, "finetune", option).code == 0
    assert (folder / "out" / "results.json").is_file()


def test_a_lost_tokenizer_is_made_again_from_the_same_text(started):
    kept = (started / "out" / "tokenizer.json").read_bytes()
    (started / "out" / "tokenizer.json").unlink()
    assert run_tiny(started, "finetune").code == 0
    assert (started / "out" / "tokenizer.json").read_bytes() == kept


def keep_all(out):
    """Damage nothing."""


def change_tokenizer(out):
    CharTokenizer(" abcdefghijklmnopqrstuvwxyz").save(out / "tokenizer.json")


def cut_tokenizer(out):
    path = out / "tokenizer.json"
    path.write_text(path.read_text()[:-20])


def change_text(out):
    """One transcript gets another word."""
    edit_row(out.parent / "data", "train3", TEXT, "ant")


@pytest.mark.parametrize(
    ("damage", "option", "message"),
    [
        (change_tokenizer, "", "step_00000002: was made with tokenizer .*; gi"),
        (change_text, "", r"split 'train' is not .* started with \(1 ch"),
        (cut_tokenizer, "", "tokenizer.json: this tokenizer file is damaged"),
        (
            keep_all,
            "--tokenizer={kind: bpe, size: 9}",
            "tokenizer.json: is not of kind bpe, .* give a new output_folder",
        ),
        (keep_all, "--seed=2", "step_00000002: was made with seed 1, now"),
        (keep_all, "--global_batch=2", "made with global_batch 4, now it is"),
        (keep_all, "--steps=3", "checkpoint was made with steps 2, now it is"),
        (keep_all, "--model={ffn_dim: 32}", "step_00000002: was made with mod"),
    ],
)
def test_a_run_does_not_go_on_with_something_else(
    started, damage, option, message
):
    damage(started / "out")
    before = (started / "out" / "results.json").read_bytes()
    outcome = run_tiny(started, "finetune", *[option] * bool(option))
    assert re.search(message, outcome.error), outcome.error
    assert CheckpointFolder(started / "out" / "checkpoints").newest().step == 2
    assert (started / "out" / "results.json").read_bytes() == before


def test_a_run_does_not_go_on_with_another_number_of_pieces(folder):
    for size, message in ((20, ""), (21, "has 20 pieces, but tokenizer.size")):
        option = f"--tokenizer={{kind: bpe, size: {size}}}"
        assert message in run_tiny(folder, "finetune", option).err


def test_a_tokenizer_of_a_run_that_was_given_up_is_made_anew(folder):
    (folder / "out").mkdir()
    CharTokenizer(" x").save(folder / "out" / "tokenizer.json")
    assert run_tiny(folder, "finetune").code == 0
    assert (folder / "out" / "left_out.txt").read_text() == ""


def test_a_pretraining_does_not_go_on_with_other_targets(finished, folder):
    shutil.copytree(finished / "pretrain", folder / "out")
    outcome = run_tiny(folder, "pretrain", "--objective={codes: 8}")
    assert "step_00000002: was made with targets best_rq" in outcome.error


def test_a_pretraining_does_not_go_on_from_a_finetuning(started):
    outcome = run_tiny(started, "pretrain")
    assert "was made with task finetune, now it is pretrain" in outcome.error


def test_an_encoder_of_other_sizes_is_refused(finished, folder):
    options = [f"--init_from={finished / 'pretrain'}", "--model={ffn_dim: 32}"]
    outcome = run_tiny(folder, "finetune", *options)
    assert re.search(
        r"step_00000002: its encoder has other sizes .*\(\d+ tensors differ, "
        "the first is encoder.*; use the same model section",
        outcome.error,
    )


def test_a_damaged_pretraining_is_no_start(finished, folder):
    shutil.copytree(finished / "pretrain", folder / "pretrain")
    for weights in (folder / "pretrain").rglob("model.pt"):
        corrupt(weights, "truncated")
    outcome = run_tiny(folder, "finetune", f"--init_from={folder / 'pretrain'}")
    assert "pretrain: holds no whole checkpoint" in outcome.error
    assert "step_00000002 is damaged" in outcome.out


def test_only_a_mistake_is_passed_on_to_all_processes():
    def mistake():
        raise UserError("a.tsv: is not there; check the path")

    with pytest.raises(UserError, match="a.tsv: is not there; check the path"):
        on_main(mistake)
    with pytest.raises(UserError, match="^nowhere: No such file.*; check the"):
        on_main(lambda: open("nowhere"))
    with pytest.raises(ZeroDivisionError):
        on_main(lambda: 1 / 0)


@pytest.mark.parametrize("task", ["pretrain", "evaluate"])
def test_a_second_run_in_a_folder_is_refused(started, task):
    script = (
        "import sys, nar_asr_lobes.storage as files; "
        "lock = files.lock_folder(sys.argv[1]); print('held'); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, started / "out"],
        cwd=RECIPES.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline()
        error = run_tiny(started, task).error
        told = f"out: another run writes there .process {other.pid} on .*; wait"
        assert re.search(told, error)
        other.kill()
    if task == "evaluate":
        option = f"--bundle={started / 'out' / 'bundle'}"
        assert run_tiny(started, task, option).code == 0
