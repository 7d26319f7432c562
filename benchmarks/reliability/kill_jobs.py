"""The training that kills.py and faults.py disturb: two processes, 500 MB.

``make_corpus`` writes noise; ``Job`` is a torchrun with all its processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "CustomManifest"
RATE = 16000
# 42 million weights: 168 MB, and twice that of the optimiser.
MODEL = (
    "{stem_channels: 48, d_model: 512, heads: 4, ffn_dim: 10240, "
    "encoder_layers: 2, inter_ctc_layers: [], conv_kernel: 5}"
)


def make_corpus(folder: Path, train: int) -> Path:
    """Write noise of about half a second an utterance, and a table of it."""
    rng = np.random.default_rng(0)
    lines = ["id\tpath\ttext\tsplit\tspeaker\n"]
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("dev", 2), ("test", 2)):
        for number in range(count):
            name = f"{split}{number}"
            wav = rng.normal(0, 0.05, int(RATE * rng.uniform(0.4, 0.7)))
            soundfile.write(folder / "audio" / f"{name}.flac", wav, RATE)
            row = (name, f"audio/{name}.flac", "a", split, f"s-{split}")
            lines.append("\t".join(row) + "\n")
    (folder / "table.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def training(
    data: Path, output: Path, steps: int, every: int, **changes: str
) -> list[str]:
    """Give the command of a training that saves ``every`` so many steps."""
    values = {
        "data_folder": str(data),
        "output_folder": str(output),
        "steps": str(steps),
        "global_batch": "4",
        "peak_lr": "1.0e-4",
        "model": MODEL,
        "data": "{workers: 1, cache: False}",
        "logging": f"{{log_interval: 1, checkpoint_interval: {every}, "
        "valid_interval: 100000}",
        "device": "cpu",
        "distributed_backend": "gloo",
        "precision": "fp32",
    } | changes
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node=2", "train.py", "hparams/pretrain.yaml"),
        *(f"--{name}={value}" for name, value in values.items()),
    ]


def processes_below(pid: int) -> list[int]:
    """Give a process and all that it has started, directly or not."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                children = (task / "children").read_text(encoding="utf-8")
                found += map(int, children.split())
    return found


def signal_all(pids: Sequence[int], number: int) -> None:
    """Send a signal to processes that may be gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Job:
    """A command in a session of its own, with its output in a file."""

    def __init__(self, command: Sequence[str], log: Path):
        self.log, self.start = log, time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": ""}
        environment |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=RECIPE,
                env=environment,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def seconds(self) -> float:
        """Count from the start."""
        return time.monotonic() - self.start

    def is_over(self) -> bool:
        """Tell whether it has ended by itself."""
        return self.process.poll() is not None

    def text(self) -> str:
        """Give what it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str, seconds: float = 600) -> float:
        """Wait until it prints a text; give the seconds of the wait."""
        start = time.monotonic()
        while text not in self.text():
            if self.is_over() or time.monotonic() - start > seconds:
                raise RuntimeError(f"{self.log}: never says {text!r}")
            time.sleep(0.05)
        return time.monotonic() - start

    def ranks(self) -> list[int]:
        """Give the processes of the ranks."""
        return [
            pid
            for pid in processes_below(self.process.pid)
            if _parent(pid) == self.process.pid
        ]

    def kill(self, known: Sequence[int] = ()) -> None:
        """SIGKILL all its processes, first the known; see them gone."""
        signal_all(known, signal.SIGKILL)
        signal_all([self.process.pid], signal.SIGSTOP)  # it starts no more
        pids = processes_below(self.process.pid)
        signal_all(pids, signal.SIGKILL)
        self.process.wait()
        while any(map(_is_there, pids)):
            time.sleep(0.01)


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        return int(stat.rpartition(")")[2].split()[1])
    return None


def _is_there(pid: int) -> bool:
    """Tell whether a process runs; one that nobody waits for does not."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
    return False
