"""A full disk, or none that can be written: a sentence, nothing damaged."""

import logging
import os
import re
import subprocess
import sys

import pytest
from speechbrain.utils.train_logger import FileTrainLogger

from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.progress import _LenientLogger, tell_lost_lines
from tests.recipes.running import RECIPES
from tests.training.runs import make_brain, make_loader
from tests.training.tiny_recipe import copy_of, finished_runs, run_tiny

FULL = r"\(No space left on device; 0 MB free on that disk\); check its perm"


@pytest.fixture
def folder(tmp_path_factory, tmp_path):
    """YAMLs and a corpus, and an empty folder ``disk``."""
    (tmp_path / "disk").mkdir()
    return copy_of(finished_runs(tmp_path_factory.getbasetemp()), tmp_path)


@pytest.fixture
def small_disk(folder):
    """Return a function that makes ``disk`` a disk of so many kilobytes."""
    disk, mounted = folder / "disk", []

    def make(size):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no right to mount a small disk")
        mounted.append(disk)
        return disk

    yield make
    for disk in mounted:
        subprocess.run(["umount", "-l", disk], check=True)


def assert_whole(out):
    """Assert that checkpoints and bundle on disk can be loaded."""
    assert not list(out.rglob("*tmp*"))
    checkpoints = CheckpointFolder(out / "checkpoints")
    assert len(list(checkpoints.folder.glob("*"))) == bool(checkpoints.newest())
    if (out / "bundle").exists():
        load_bundle(out / "bundle")


@pytest.mark.parametrize(
    ("size", "what"),
    [
        (8, "out"),
        (40, "(left_out.txt|tokenizer.json|manifests/.*|checked/.*)"),
        (1000, "checkpoints/step_00000002"),
        (1300, "bundle"),
    ],
)
def test_each_place_that_may_be_full_is_named(folder, small_disk, size, what):
    out = small_disk(size) / "out"
    outcome = run_tiny(folder, "finetune", f"--output_folder={out}")
    told = f"error: {out.parent}/.*{what}:? cannot be written {FULL}"
    assert re.match(told, outcome.error), outcome.error
    assert_whole(out)
    if what != "bundle":
        return
    assert (out / "results.json").is_file()  # the rest was done
    assert "this run will need about 4 MB more, but 1 MB are" in outcome.out


def test_a_disk_without_room_for_a_checkpoint_is_told_first(folder, small_disk):
    out = small_disk(500) / "out"
    outcome = run_tiny(folder, "finetune", f"--output_folder={out}")
    assert re.match(
        f"error: {out}: a checkpoint takes about 0 MB, but 0 MB are free on "
        "that disk; free some, or give an output_folder on another$",
        outcome.error,
    )
    assert not outcome.losses


def test_a_process_on_a_full_disk_prints_no_stack(folder, small_disk):
    """As a user starts it: nothing comes after main() has ended either."""
    out = small_disk(1100) / "out"  # full once the checkpoint is there
    script = (
        "import sys; from nar_asr_lobes.training.run import main; "
        "from tests.training.tiny_recipe import prepare; "
        "sys.exit(main(sys.argv[1:], prepare))"
    )
    options = f"--data_folder={folder / 'data'}", f"--output_folder={out}"
    options = *options, "--lm=null", "--modes=[nar]"
    done = subprocess.run(
        [sys.executable, "-c", script, folder / "finetune.yaml", *options],
        cwd=RECIPES.parent,
        env={**os.environ, "PATH": ""},  # else all packages are listed
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    last = done.stderr.splitlines()[-1]
    assert re.match(f"error: .*cannot be written {FULL}", last), done.stderr
    assert_whole(out)


@pytest.mark.parametrize("task", ["pretrain", "evaluate"])
def test_a_folder_that_cannot_be_written_is_told(folder, task):
    outcome = run_tiny(folder, task, "--output_folder=/proc/out")
    told = r"/proc/out: cannot be written \(.*; 0 MB free on that disk\); ch"
    assert re.search(told, outcome.error)


def test_a_lost_line_of_the_training_log_stops_no_training(
    tmp_path, tone_clips, caplog
):
    # takes no byte
    logger = _LenientLogger(FileTrainLogger("/dev/full"), "/dev/full")
    options = {"log_interval": 1, "train_logger": logger}
    brain = make_brain("pretrain", tmp_path, 2, **options)
    brain.fit(make_loader("pretrain", tone_clips, 2))
    assert brain.checkpoints.newest().step == 2
    told = [r.getMessage() for r in caplog.records if "losses of" in r.message]
    assert len(told) == 2
    assert "/dev/full: the losses of step 1 cannot be written (No s" in told[0]


def test_a_full_log_is_told_once(capsys):
    handler = logging.FileHandler("/dev/full")
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        tell_lost_lines()
        for number in range(3):
            root.warning("line %d", number)
    finally:
        root.removeHandler(handler)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert err.count("/dev/full: cannot be written (No space left on dev") == 1
