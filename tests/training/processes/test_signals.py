"""Ctrl-C, SIGTERM and SIGUSR1, sent to real runs of the tiny recipe."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nar_asr_lobes.training import evaluation
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.data.loaders import ValidationSet
from nar_asr_lobes.training.processes import signals
from tests.recipes.running import call
from tests.training import tiny_recipe
from tests.training.runs import assert_same_weights
from tests.training.tiny_recipe import make_corpus, run_tiny, write_yamls

ROOT = Path(__file__).parents[3]
EACH = pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)],
)
STEPS = ("--steps=5", "--model={dropout: 0.2}")


@pytest.fixture(autouse=True)
def interruptible():
    """A shell's jobs in the background are started to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with corpus, YAMLs and a training that nothing disturbed."""
    folder = write_yamls(tmp_path_factory.mktemp("signals"))
    make_corpus(folder / "data")
    outcome = run_tiny(folder, "pretrain", *STEPS)
    assert outcome.code == 0, outcome.err
    return folder


def newest(folder):
    """The newest checkpoint of a folder's run."""
    return CheckpointFolder(folder / "checkpoints").newest()


def signalled(monkeypatch, owner, name, number, when=lambda *_: True):
    """Send this process a signal when a function is called, once."""
    function = getattr(owner, name)

    def wrapper(*arguments, **options):
        if when(*arguments):
            monkeypatch.setattr(owner, name, function)
            os.kill(os.getpid(), number)
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, wrapper)


@EACH
def test_a_training_saves_its_step_and_goes_on_bit_for_bit(
    whole, tmp_path, monkeypatch, number, status
):
    def in_step_3(brain, *_):
        return brain.progress.step == 2

    signalled(monkeypatch, NarBrain, "make_step", number, in_step_3)
    output = f"--output_folder={tmp_path}"
    outcome = run_tiny(whole, "pretrain", *STEPS, output)
    assert outcome.code == status
    assert outcome.err == (
        f"stopped by {number.name}, saved at step 3; the same command goes on\n"
    )
    assert newest(tmp_path).step == 3
    assert run_tiny(whole, "pretrain", *STEPS, output).code == 0
    assert_same_weights(
        newest(tmp_path).load("model"), newest(whole / "out").load("model")
    )
    assert newest(tmp_path).metadata == newest(whole / "out").metadata


def test_a_validation_that_is_broken_off_is_made_up_for(
    whole, tmp_path, monkeypatch
):
    signalled(monkeypatch, ValidationSet, "__iter__", signal.SIGTERM)
    output = f"--output_folder={tmp_path}"
    outcome = run_tiny(whole, "pretrain", *STEPS, output)
    assert outcome.code == 143 and "saved at step 5" in outcome.err
    assert "score" not in newest(tmp_path).metadata
    outcome = run_tiny(whole, "pretrain", *STEPS, output)
    assert outcome.code == 0 and not outcome.losses
    assert newest(tmp_path).metadata == newest(whole / "out").metadata


@EACH
def test_outside_training_a_run_ends_at_once(
    whole, tmp_path, monkeypatch, number, status
):
    signalled(monkeypatch, tiny_recipe, "tsv_utterances", number)
    output = f"--output_folder={tmp_path}"
    outcome = run_tiny(whole, "pretrain", output)
    assert outcome.code == status
    expected = f"stopped by {number.name}; the same command goes on\n"
    assert outcome.err == expected
    signalled(monkeypatch, evaluation, "evaluate_split", number)
    outcome = run_tiny(whole, "finetune", output)
    assert (outcome.code, outcome.err) == (status, expected)
    assert newest(tmp_path).step == 2
    assert signal.getsignal(number) is not signals._handle


def test_a_user_mistake_is_still_told(whole, tmp_path):
    def mistaken(data_folder):
        signals._State.number = signal.SIGTERM
        return tiny_recipe.tsv_utterances("nowhere")

    yaml = whole / "pretrain.yaml"
    options = ["--data_folder=x", f"--output_folder={tmp_path}"]
    assert "nowhere" in call([yaml, *options], mistaken).error


def test_a_second_signal_ends_the_process_at_once(monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda _, number: sent.append(number))
    with pytest.raises(signals.Interrupted), signals.deferred():
        handle = signal.getsignal(signal.SIGTERM)
        handle(signal.SIGTERM, None)
        handle(signal.SIGTERM, None)  # what a launcher passes on
        assert signals.pending() and not sent
        monkeypatch.setattr(signals._State, "since", time.monotonic() - 2)
        handle(signal.SIGTERM, None)
        assert sent == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_the_user_has_ignored_stays_so(monkeypatch):
    """As nohup and a shell's & do."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.handled():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is signals._handle
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_training_signals_end_the_other_ranks(monkeypatch):
    """They wait in code of gloo or NCCL that no handler interrupts."""
    monkeypatch.setattr(signals, "if_main_process", lambda: False)
    with signals.handled():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with signals.deferred():
            assert signal.getsignal(signal.SIGTERM) is signals._handle


def test_a_process_that_loads_data_outlives_sigusr1(monkeypatch):
    """SLURM sends it to every process of a step."""
    sent = []
    monkeypatch.setattr(os, "kill", lambda _, number: sent.append(number))
    with signals.deferred():
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork
        signals._handle(signal.SIGUSR1, None)
        assert not signals.pending() and not sent
        signals._handle(signal.SIGTERM, None)
        assert sent == [signal.SIGTERM]


def test_torchrun_and_workers_stop_without_a_stack(whole, tmp_path):
    """Two processes that read with workers; all get the signal twice."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node=2", tiny_recipe.__file__, whole / "pretrain.yaml"),
        *("--device=cpu", "--distributed_backend=gloo", "--steps=5000"),
        *("--logging={log_interval: 1}", "--data={workers: 1}"),
        *(f"--data_folder={whole / 'data'}", f"--output_folder={tmp_path}"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = tmp_path / "said.txt"
    with said.open("w") as file:
        run = subprocess.Popen(
            list(map(str, command)), stdout=file, stderr=file, env=environment
        )
    while "step 3 of" not in said.read_text() and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)  # it passes that on to all their groups
    run.wait(timeout=120)
    said = said.read_text()
    [step] = re.findall("stopped by SIGTERM, saved at step (\\d+);", said)
    assert newest(tmp_path).step == int(step)
    assert said.count("Traceback") <= 1  # torchrun's own
    assert "DataLoader worker" not in said
