"""Join the processes of a training, which torchrun or srun started.

torchrun ------> RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT
srun -> SLURM_* -> the same variables
variables -> all processes meet at MASTER_ADDR:MASTER_PORT -> process group
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from datetime import timedelta

import torch
import torch.distributed as dist
from speechbrain.utils.run_opts import RunOptions

from nar_asr_lobes.distributed import gather_objects
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.metadata import code_version
from nar_asr_lobes.training.processes.signals import fatal

_RANKS = {
    "RANK": "SLURM_PROCID",
    "LOCAL_RANK": "SLURM_LOCALID",
    "WORLD_SIZE": "SLURM_STEP_NUM_TASKS",  # SLURM_NTASKS may be the job's
}
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
_FIRST_PORT, _PORTS = 20000, 10000  # below those of outgoing connections
_END_OF_PORTS = 65536
_JOIN = timedelta(minutes=10)  # 64 processes may read torch from one disk
_WAIT = timedelta(hours=2)  # of the others while one prepares the data
_LAUNCH = (
    "start it as torchrun --nproc_per_node=GPUS train.py … or srun python "
    "train.py …"
)


def start_processes(run_opts: RunOptions) -> None:
    """Join the other processes where torchrun or srun started several."""
    tasks = _number("SLURM_STEP_NUM_TASKS", "1")  # srun sets it
    if tasks > 1:
        _check_groups(tasks)
        if not all(name in os.environ for name in _RANKS):
            _translate_slurm()
    if not any(name in os.environ for name in _RANKS):
        return
    missing = [n for n in (*_RANKS, *_ADDRESS) if n not in os.environ]
    if missing:
        given = next(name for name in _RANKS if name in os.environ)
        raise UserError(
            f"{given} is set but {', '.join(missing)} not, and this process "
            f"would train alone; unset it, or {_LAUNCH}"
        )
    rank, local_rank, world, port = map(_number, (*_RANKS, "MASTER_PORT"))
    if not 0 <= local_rank <= rank < world:
        raise UserError(
            f"RANK={rank}, LOCAL_RANK={local_rank} and WORLD_SIZE={world} "
            f"contradict each other; unset them, and {_LAUNCH}"
        )
    if not 0 < port < _END_OF_PORTS:
        raise UserError(
            f"MASTER_PORT={port} is not a port, which is a number from 1 to "
            f"{_END_OF_PORTS - 1}; unset it, and {_LAUNCH}"
        )
    _check_device(run_opts, local_rank)
    with fatal():
        _join(run_opts.distributed_backend)


def require_same_start(yaml: str, run_opts: RunOptions) -> None:
    """Refuse processes with other settings or code than the first one."""
    own = {
        "YAML or option": yaml,
        "option of SpeechBrain": asdict(run_opts) | {"device": None},
        "version of nar_asr_lobes": code_version(),
        "version of torch": torch.__version__,
    }
    first, *others = gather_objects(own)
    for rank, other in enumerate(others, start=1):
        for name, value in first.items():
            if other[name] != value:
                raise UserError(
                    f"process {rank} was started with another {name} than "
                    "process 0; start the same command, of the same code, on "
                    "all nodes"
                )


def _number(name: str, default: str | None = None) -> int:
    value = os.environ.get(name, default)
    try:
        return int(value)
    except ValueError:
        raise UserError(
            f"{name}={value} is not a number; unset it, and {_LAUNCH}"
        ) from None


def _check_groups(tasks: int) -> None:
    """Refuse groups of processes that know nothing of each other."""
    # torchrun counts its own processes, one a task, in GROUP_WORLD_SIZE
    counter = "GROUP_WORLD_SIZE"
    if counter not in os.environ:
        counter = "WORLD_SIZE"
    together = _number(counter, str(tasks))
    if together < tasks:
        raise UserError(
            f"srun started {tasks} tasks but {counter} is {together}, so they "
            "would train apart; start srun python train.py … without torchrun "
            "and WORLD_SIZE, or give torchrun --nnodes and --rdzv_endpoint"
        )


def _translate_slurm() -> None:
    """Set torchrun's variables from those that srun gives each task."""
    needed = (*_RANKS.values(), "SLURM_STEP_NODELIST", "SLURM_JOB_ID")
    missing = [name for name in needed if name not in os.environ]
    if missing:
        raise UserError(
            f"srun started {os.environ['SLURM_STEP_NUM_TASKS']} processes, and "
            f"each would train alone, for {', '.join(missing)} did not come "
            "through; pass srun's variables on (into a container too)"
        )
    for name, source in _RANKS.items():
        value = os.environ[source]
        if os.environ.setdefault(name, value) != value:
            raise UserError(
                f"{name}={os.environ[name]} contradicts srun's "
                f"{source}={value}; unset {name}"
            )
    port = _FIRST_PORT + _number("SLURM_JOB_ID") % _PORTS
    os.environ.setdefault("MASTER_PORT", str(port))
    node = first_node(os.environ["SLURM_STEP_NODELIST"])  # task 0 runs there
    os.environ.setdefault("MASTER_ADDR", node)


def first_node(nodes: str) -> str:
    """Give the first host of SLURM's list of nodes.

    Arguments
    ---------
    nodes : str
        Names with commas between them, ranges in brackets.

    Returns
    -------
    str

    Example
    -------
    >>> first_node("gpu[07-09,12],login1")
    'gpu07'
    """
    first = re.match(r"(\[[^]]*\]|[^],[])*", nodes)[0]
    return re.sub(r"\[(\w+)[^]]*\]", r"\1", first)


def _check_device(run_opts: RunOptions, local_rank: int) -> None:
    """Give this process its own GPU, or refuse in a sentence."""
    if run_opts.distributed_backend != "nccl":
        return
    gpus = torch.cuda.device_count()
    if local_rank >= gpus:
        raise UserError(
            f"process {local_rank + 1} of this machine finds no GPU of its own "
            f"({gpus} visible); start one process per GPU, let srun show each "
            "task all GPUs of its node (no --gpus-per-task, no --gpu-bind), or "
            "add --device=cpu --distributed_backend=gloo"
        )
    index = torch.device(run_opts.device or "cuda").index
    if index not in (None, local_rank):
        raise UserError(
            f"--device={run_opts.device}: all processes would use this GPU; "
            "leave --device out, and each takes one of its own"
        )
    torch.cuda.set_device(local_rank)


def _join(backend: str) -> None:
    """Wait for all processes, and make the group."""
    try:
        # As init_process_group does, which would wait for hours here.
        store, rank, world = next(dist.rendezvous("env://", timeout=_JOIN))
        store.set_timeout(_WAIT)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world, timeout=_WAIT
        )
    except dist.DistError as error:
        address = ":".join(os.environ[name] for name in _ADDRESS)
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{address}: the processes did not meet there ({reason}); look for "
            "an error of one of them, check that their nodes reach each other, "
            "or set MASTER_ADDR and MASTER_PORT"
        ) from error
