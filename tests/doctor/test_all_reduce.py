"""Two processes that sum, or do not."""

import subprocess
import sys
from pathlib import Path

import pytest

from nar_asr_lobes.doctor import all_reduce

ROOT = Path(__file__).parents[2]


def test_two_processes_sum(monkeypatch):
    monkeypatch.chdir(ROOT)
    [found] = all_reduce.check_all_reduce()  # without GPUs
    assert str(found).startswith("ok    all-reduce of two processes, gloo: ")


def test_with_two_gpus_nccl_is_tried_too(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(all_reduce, "_check_backend", lambda backend: backend)
    assert list(all_reduce.check_all_reduce()) == ["gloo", "nccl"]


@pytest.mark.parametrize(
    ("codes", "fault"),
    [
        (["import sys; sys.exit(3)", "input()"], "status 3"),
        (["import time; time.sleep(60)", "raise OSError('no host')"], "OSErr"),
        (["import time; time.sleep(60)", ""], "no answer in 1 s"),
    ],
)
def test_processes_that_fail_or_hang_are_told(monkeypatch, codes, fault):
    """The first that fails, and none is left."""
    waiting, started, popen = list(codes), [], subprocess.Popen

    def start(command, **options):
        command = [sys.executable, "-c", waiting.pop(0)]
        started.append(popen(command, stdin=subprocess.PIPE, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(all_reduce, "_SECONDS", 1 if "1 s" in fault else 60)
    found = str(all_reduce._check_backend("gloo"))
    assert found.startswith(f"mend  all-reduce of two processes, gloo: {fault}")
    assert "; export GLOO_SOCKET_IFNAME=lo" in found
    assert all(process.poll() is not None for process in started)
