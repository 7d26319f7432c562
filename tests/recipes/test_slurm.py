"""The batch script of SLURM, with programs that stand for SLURM's."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "slurm" / "train.sbatch"
# Passes signals on, as srun does.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
"$@" &
trap "kill -USR1 $!" USR1
wait $!
status=$?
[ $status = 138 ] && [ "$WAITS" ] && { wait $!; status=$?; }
exit $status
"""
SCONTROL = """#!/bin/bash
echo "$@" >>scontrol.txt
"""
TRAINING = """#!/bin/bash
printf '%s\\n' "$@" >arguments.txt
trap "exit $STATUS" USR1
touch started
while [ "$WAITS" ]; do sleep 0.05; done
exit $STATUS
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the script as sbatch does."""
    programs = {"srun": SRUN, "scontrol": SCONTROL, "python": TRAINING}
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def started(*arguments, **variables):
        return subprocess.Popen(
            ["bash", SCRIPT, *arguments],
            cwd=tmp_path,
            env={
                "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                "VENV": str(tmp_path),
                "SLURM_JOB_ID": "77",
                **variables,
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return started


def requeued(folder):
    """Give the calls of scontrol."""
    path = folder / "scontrol.txt"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("status", [0, 1, 2, 137, 138, 143])
def test_a_training_that_saved_is_queued_again_and_no_other(
    start, tmp_path, status
):
    """143 is also the status of processes that srun ended after an error."""
    overrides = ["--data={workers: 4}", "--output_folder=a b"]
    run = start(
        "hparams/pretrain.yaml",
        *overrides,
        STATUS=str(status),
        SECONDS="3600",  # bash counts from there
    )
    out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (status, "")
    assert requeued(tmp_path) == ("requeue 77\n" if status == 138 else "")
    assert ("saved; job 77 is queued again" in out) == (status == 138)
    words = (tmp_path / "arguments.txt").read_text().splitlines()
    assert words == ["train.py", "hparams/pretrain.yaml", *overrides]


def test_a_standstill_in_the_first_hour_would_come_again(start, tmp_path):
    run = start("a.yaml", STATUS="138")
    _, err = run.communicate(timeout=60)
    assert run.returncode == 138
    assert "first hour: job 77 is not queued again" in err
    assert requeued(tmp_path) == ""


@pytest.mark.parametrize("status", [0, 1, 138, 143])
def test_the_warning_before_the_time_limit_is_passed_on(
    start, tmp_path, status
):
    run = start("a.yaml", STATUS=str(status), WAITS="yes")
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
    run.send_signal(signal.SIGUSR1)
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (status, "")
    again = status in (138, 143)
    assert requeued(tmp_path) == ("requeue 77\n" if again else "")


def test_without_a_yaml_nothing_is_started(start, tmp_path):
    run = start()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 2 and err.startswith("usage: sbatch ")
    assert not (tmp_path / "arguments.txt").exists()
