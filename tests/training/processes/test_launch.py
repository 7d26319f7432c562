"""Several processes: started by torchrun and by srun, and wrong set-ups."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from speechbrain.utils.run_opts import RunOptions

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.processes import launch
from nar_asr_lobes.training.processes.signals import handled
from tests.training import tiny_recipe
from tests.training.processes import fake_srun
from tests.training.runs import assert_same_weights
from tests.training.tiny_recipe import copy_of, run_tiny

ROOT = Path(__file__).parents[3]
SRUN = (sys.executable, fake_srun.__file__)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")
SLURM = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-09]",
}
TORCH = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "gpu07",
    "MASTER_PORT": "24567",
}
CPU = RunOptions(device="cpu", distributed_backend="gloo")


@pytest.fixture
def environment(monkeypatch):
    """Return a function that sets the variables of launchers, and no others."""
    for name in (*os.environ,):
        if name.startswith("SLURM_") or name in TORCH:
            monkeypatch.delenv(name)

    def give(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    for name in TORCH:  # so that those of the code are taken back too
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return give


@pytest.fixture
def joined(monkeypatch):
    """The environments in which processes went to meet, and no meeting."""
    found = []
    monkeypatch.setattr(
        launch, "_join", lambda _: found.append(dict(os.environ))
    )
    return found


def train(folder, out, *launcher):
    """Train two processes of the tiny recipe."""
    options = [f"--data_folder={folder / 'data'}", f"--output_folder={out}"]
    return subprocess.run(
        [*launcher, tiny_recipe.__file__, folder / "pretrain.yaml", *options],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PATH": "",  # so that SpeechBrain lists no packages
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_srun_trains_as_torchrun_does(finished, tmp_path):
    weights = []
    launchers = {
        "srun": [*SRUN, "--kill-on-bad-exit=1", sys.executable],
        "torchrun": [*TORCHRUN, "--nproc_per_node=2"],
    }
    for name, launcher in launchers.items():
        done = train(finished, tmp_path / name, *launcher)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("prepare: start") == 1
        newest = CheckpointFolder(tmp_path / name / "checkpoints").newest()
        assert len(newest.load("random")) == 2
        weights.append(newest.load("model"))
    assert_same_weights(*weights)


def test_srun_without_its_variables_is_refused(finished, tmp_path, environment):
    environment(**SLURM)
    del os.environ["SLURM_PROCID"], os.environ["SLURM_STEP_NODELIST"]
    outcome = run_tiny(copy_of(finished, tmp_path), "pretrain")
    assert (
        "srun started 2 processes, and each would train alone, for "
        "SLURM_PROCID, SLURM_STEP_NODELIST did not come through; pass srun's "
    ) in outcome.error
    assert not (tmp_path / "out").exists()


def test_the_variables_of_srun_become_those_of_torch(environment, joined):
    tasks = {"SLURM_PROCID": "9", "SLURM_STEP_NUM_TASKS": "16"}
    environment(**{**SLURM, **tasks, "SLURM_NTASKS": "64"})  # 64: of the job
    launch.start_processes(CPU)
    expected = {**TORCH, "RANK": "9", "WORLD_SIZE": "16"}
    assert {name: joined[0][name] for name in TORCH} == expected


@pytest.mark.parametrize(
    "variables",
    [
        {"MASTER_PORT": "5", "MASTER_ADDR": "a"},
        {"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "5"},
        {**TORCH, "RANK": "9", "WORLD_SIZE": "16", "MASTER_PORT": "5"},
        {
            **{**TORCH, "WORLD_SIZE": "16", "MASTER_PORT": "5"},
            "GROUP_WORLD_SIZE": "2",
        },
    ],
)
def test_variables_that_are_set_stay(environment, joined, variables):
    """Those of a script, of other launchers, of a torchrun in each task."""
    environment(**SLURM, **variables)
    launch.start_processes(CPU)
    assert {name: joined[0][name] for name in variables} == variables


@pytest.mark.parametrize(
    "variables",
    [{}, {"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_NTASKS": "8"}],
)
def test_one_process_meets_no_others(environment, joined, variables):
    """A shell in a job, too, has its number of tasks."""
    environment(SLURM_PROCID="0", SLURM_LOCALID="0", **variables)
    launch.start_processes(CPU)
    assert not joined


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "1"}, "RANK is set but LOCAL_RANK, WORLD_SIZE, MASTER_AD"),
        ({**TORCH, "RANK": "2"}, "RANK=2, LOCAL_RANK=1 and WORLD_SIZE=2 contr"),
        ({**TORCH, "RANK": "0"}, "RANK=0, LOCAL_RANK=1 and WORLD_SIZE=2 contr"),
        ({**TORCH, "RANK": "one"}, "RANK=one is not a number; unset it"),
        ({**TORCH, "MASTER_PORT": "http"}, "MASTER_PORT=http is not a number"),
        ({**TORCH, "MASTER_PORT": "0"}, "MASTER_PORT=0 is not a port, which"),
        ({**TORCH, "MASTER_PORT": "65536"}, "MASTER_PORT=65536 is not a port"),
        ({**SLURM, "RANK": "0"}, "RANK=0 contradicts srun's SLURM_PROCID=1"),
        (
            {**SLURM, **TORCH, "RANK": "0", "WORLD_SIZE": "1"},
            "srun started 2 tasks but WORLD_SIZE is 1, so they would train",
        ),
        (
            {**SLURM, **TORCH, "WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "1"},
            "srun started 2 tasks but GROUP_WORLD_SIZE is 1",
        ),
        ({**SLURM, "SLURM_JOB_ID": "x"}, "SLURM_JOB_ID=x is not a number"),
    ],
)
def test_processes_that_would_train_apart_are_refused(
    environment, joined, variables, message
):
    environment(**variables)
    with pytest.raises(UserError, match=message):
        launch.start_processes(CPU)
    assert not joined


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("YAML or option", "global_batch: 6", "another YAML or option than p"),
        ("version of torch", "2.10", "another version of torch than process 0"),
        (None, None, None),
    ],
)
def test_nodes_of_other_settings_are_refused(monkeypatch, part, value, message):
    """They would train each by its own plan."""

    def gather(own):
        return [own, own, own | ({part: value} if part else {})]

    monkeypatch.setattr(launch, "gather_objects", gather)
    if message is None:
        launch.require_same_start("global_batch: 4", CPU)
        return
    with pytest.raises(UserError, match=f"process 2 was .* with {message}"):
        launch.require_same_start("global_batch: 4", CPU)


def test_nodes_of_another_commit_are_refused(monkeypatch):
    starts = []
    monkeypatch.setattr(
        launch, "gather_objects", lambda own: starts.append(own) or [own]
    )
    for commit in ("3a5c", "77e0"):
        monkeypatch.setattr(launch, "code_version", lambda x=commit: f"0.1 {x}")
        launch.require_same_start("", CPU)
    monkeypatch.setattr(launch, "gather_objects", lambda own: starts)
    with pytest.raises(UserError, match="another version of nar_asr_lobes"):
        launch.require_same_start("", CPU)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("localhost", "localhost"),
        ("node-a.lan,node-b.lan", "node-a.lan"),
        ("gpu[07-09,12]", "gpu07"),
        ("gpu[3],gpu[5-6]", "gpu3"),
        ("login1,gpu[1-2]", "login1"),
        ("rack[2-3]n[10,12-14].lan,x[1-2]", "rack2n10.lan"),
    ],
)
def test_the_first_node_of_a_list(nodes, first):
    """As ``scontrol show hostnames`` gives it."""
    assert launch.first_node(nodes) == first


@pytest.mark.parametrize(
    ("gpus", "device", "message"),
    [
        (0, None, r"process 2 of this machine finds no GPU .*\(0 visible\)"),
        (1, None, r"process 2 .* GPU of its own \(1 visible\); start one pro"),
        (2, "cuda:0", "--device=cuda:0: all processes would use this GPU"),
        (2, "cuda", None),
        (2, "cuda:1", None),
        (8, None, None),
    ],
)
def test_each_process_has_a_gpu_of_its_own(
    environment, joined, monkeypatch, gpus, device, message
):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    environment(**TORCH)
    run_opts = RunOptions(device=device, distributed_backend="nccl")
    if message is None:
        launch.start_processes(run_opts)
        assert taken == [1] and len(joined) == 1
        return
    with pytest.raises(UserError, match=message):
        launch.start_processes(run_opts)
    assert not taken and not joined


def test_a_process_that_never_comes_is_told(
    finished, tmp_path, environment, monkeypatch
):
    monkeypatch.setattr(launch, "_JOIN", launch.timedelta(seconds=1))
    local = {"MASTER_ADDR": "localhost", "MASTER_PORT": "24566"}
    environment(**{**TORCH, **local, "RANK": "0", "LOCAL_RANK": "0"})
    outcome = run_tiny(copy_of(finished, tmp_path), "pretrain")
    assert "localhost:24566: the processes did not meet" in outcome.error
    assert "1/2 clients joined" in outcome.error


def test_a_signal_ends_a_process_that_waits_for_others(environment):
    """torch waits in code that no handler of Python's can interrupt."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    local = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment(**{**TORCH, **local, "RANK": "0", "LOCAL_RANK": "0"})
    process = multiprocessing.get_context("fork").Process(target=join_as_a_run)
    process.start()
    try:
        while process.is_alive() and not is_open(port):
            time.sleep(0.1)
        process.terminate()
        process.join(timeout=60)
        assert process.exitcode == -signal.SIGTERM
    finally:
        process.kill()


def join_as_a_run():
    """Wait for the other process."""
    with handled():
        launch.start_processes(CPU)


def is_open(port):
    """Tell whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
