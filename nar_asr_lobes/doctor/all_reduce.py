"""Two processes sum a number, as those of a training do.

check_all_reduce() -> python -m nar_asr_lobes.doctor.all_reduce BACKEND STORE
RANK, twice -> their statuses and errors
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta

from nar_asr_lobes.doctor.finding import Finding

_SECONDS = 120  # for all; importing torch is most of it
_REMEDIES = {
    "gloo": "export GLOO_SOCKET_IFNAME=lo on one machine, else the name of the "
    "interface between the nodes (ip address lists them)",
    "nccl": "NCCL_DEBUG=INFO nar-asr doctor for its reasons; in a container, "
    "docker run --gpus all --ipc=host",
}


def check_all_reduce() -> Iterator[Finding]:
    """Let two processes sum over gloo, and NCCL where two GPUs are."""
    import torch
    import torch.distributed as dist

    yield _check_backend("gloo")
    if torch.cuda.device_count() > 1 and dist.is_nccl_available():
        yield _check_backend("nccl")


def _check_backend(backend: str) -> Finding:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", __name__, backend, f"{folder}/store"]
        ranks = [
            subprocess.Popen(
                [*command, str(rank)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        fault = _first_fault(ranks, begin + _SECONDS)
    text = f"all-reduce of two processes, {backend}"
    if fault:
        return Finding(f"{text}: {fault}", _REMEDIES[backend])
    return Finding(f"{text}: {time.monotonic() - begin:.1f} s with start")


def _first_fault(ranks: list[subprocess.Popen], deadline: float) -> str:
    """Wait for the processes; give the fault of one, empty where none had."""
    while (
        any(rank.poll() is None for rank in ranks)
        and not any(rank.poll() for rank in ranks)
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    failed = [rank for rank in ranks if rank.poll()]
    late = [rank for rank in ranks if rank.poll() is None]
    for rank in late:
        rank.kill()
    errors = [rank.communicate()[1] for rank in failed + late]
    if failed:
        last = errors[0].strip().splitlines()[-1:]
        return last[0] if last else f"status {failed[0].returncode}"
    return f"no answer in {_SECONDS} s" if late else ""


def _work(backend: str, store: str, rank: int) -> None:
    """Be one of the two processes."""
    import torch
    import torch.distributed as dist

    device = f"cuda:{rank}" if backend == "nccl" else "cpu"
    dist.init_process_group(
        backend,
        f"file://{store}",
        timedelta(seconds=_SECONDS),
        world_size=2,
        rank=rank,
    )
    total = torch.full((1 << 20,), rank + 1.0, device=device)
    dist.all_reduce(total)
    if not (total == 3).all():
        raise ArithmeticError(f"1 + 2 gave {total.max().item():g}")
    dist.destroy_process_group()


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2], int(sys.argv[3]))
