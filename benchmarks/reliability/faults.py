"""Faults of a training of two processes, and the time until each is named.

python benchmarks/reliability/faults.py --folder=DIR [--stall_seconds=180]
    [FAULT ...]

Prints a row of a table for each fault: seconds from the fault to the sentence
and to the end of all processes, and the sentence. ``disk`` mounts a small disk,
which needs the right to.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from kill_jobs import Job, make_corpus, processes_below, signal_all, training

TINY = "!include:../../../hparams/model/tiny.yaml"
DISK_MB = 40


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("faults", nargs="*", metavar="FAULT")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--stall_seconds", type=float, default=180)
    return parser.parse_args()


class Trial:
    """A training that makes steps, to which a fault is done."""

    def __init__(self, folder: Path, stall_seconds: float, every: int = 10**6):
        self.folder, self.stall, self.every = folder, stall_seconds, every
        self.data, self.output = folder / "data", folder / "out"
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.output, ignore_errors=True)
        make_corpus(self.data, 24)

    def start(self, name: str = "job") -> Job:
        """Start the training."""
        logging = (
            f"{{log_interval: 1, checkpoint_interval: {self.every}, "
            f"valid_interval: 1000000, stall_seconds: {self.stall}}}"
        )
        command = training(
            self.data, self.output, 10**6, 1, model=TINY, logging=logging
        )
        return Job(command, self.folder / f"{name}.log")

    def started(self) -> Job:
        """Start it and wait for its first steps."""
        job = self.start()
        job.wait_for("step 3 of")
        return job


def stop(trial: Trial) -> tuple[Job, str]:
    """SIGSTOP of rank 1."""
    job = trial.started()
    signal_all(rank_1(job)[:1], signal.SIGSTOP)
    return job, "is dead or stopped"


def kill(trial: Trial) -> tuple[Job, str]:
    """SIGKILL of rank 1."""
    job = trial.started()
    signal_all(rank_1(job)[:1], signal.SIGKILL)
    return job, "is dead or stopped"


def launcher(trial: Trial) -> tuple[Job, str]:
    """SIGKILL of torchrun, whose ranks go on."""
    job = trial.started()
    signal_all([job.process.pid], signal.SIGKILL)
    return job, "the launcher or else rank 0, is dead"


def loader(trial: Trial) -> tuple[Job, str]:
    """SIGSTOP of the process that reads for rank 1, as if its disk hung."""
    job = trial.started()
    signal_all(rank_1(job)[1:], signal.SIGSTOP)
    return job, "is stuck in its loader"


def worker(trial: Trial) -> tuple[Job, str]:
    """SIGKILL of the process that reads for rank 1."""
    job = trial.started()
    signal_all(rank_1(job)[1:], signal.SIGKILL)
    return job, "a process that reads data was killed"


def disk(trial: Trial) -> tuple[Job, str]:
    """Fill the disk, with a save after each ten steps."""
    trial.every = 10
    trial.output.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs"]
    subprocess.run([*mount, trial.output], check=True)
    try:
        job = trial.started()
        with open(trial.output / "filler", "wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
    except OSError:
        return job, "cannot be written"


def twice(trial: Trial) -> tuple[Job, str]:
    """Start a second run in the folder of a first."""
    first = trial.started()
    second = trial.start("second")
    second.wait_for("another run writes there")
    first.kill()
    return second, "another run writes there"


def usr1(trial: Trial) -> tuple[Job, str]:
    """SIGUSR1 to both ranks and their workers, as SLURM sends it."""
    job = trial.started()
    signal_all(processes_below(job.process.pid)[1:], signal.SIGUSR1)
    return job, "stopped by SIGUSR1, saved at step"


FAULTS: dict[str, Callable[[Trial], tuple[Job, str]]] = {
    x.__name__: x
    for x in (stop, kill, launcher, loader, worker, disk, twice, usr1)
}


def rank_1(job: Job) -> list[int]:
    """Give the processes of the last rank."""
    return processes_below(job.ranks()[-1])


def run(name: str, trial: Trial) -> str:
    """Do one fault; give its row."""
    pids: list[int] = []
    try:
        job, text = FAULTS[name](trial)
        # Of a second run it is the time from its start, imports included.
        start = job.start if name == "twice" else time.monotonic()
        pids = processes_below(job.process.pid)
        while text not in job.text():
            time.sleep(0.05)
        told = time.monotonic() - start
        job.process.wait()
        ended = time.monotonic() - start
        [line, *_] = [x for x in job.text().splitlines() if text in x]
        codes = re.findall(r"exitcode\s*: (-?\d+)", job.text())
        return (
            f"| {name} | {told:.1f} | {ended:.1f} | "
            f"{', '.join(sorted(set(codes)))}, torchrun "
            f"{job.process.returncode} | {line} |"
        )
    finally:
        signal_all(pids, signal.SIGKILL)
        if name == "disk":
            subprocess.run(["umount", "-l", trial.output], check=False)


def main() -> None:
    """Do the faults one after the other."""
    options = parse()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| fault | named after s | ended after s | status | sentence |")
    print("|---|---|---|---|---|")
    for name in options.faults or FAULTS:
        trial = Trial(options.folder, options.stall_seconds)
        print(run(name, trial), flush=True)


if __name__ == "__main__":
    main()
