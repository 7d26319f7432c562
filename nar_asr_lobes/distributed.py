"""The few collective operations of a training; no-ops in a single process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from speechbrain.utils.distributed import ddp_broadcast, if_main_process

from nar_asr_lobes.errors import UserError, describe_os_error


def world() -> tuple[int, int]:
    """Return rank and number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_over_ranks(
    values: dict[str, float | torch.Tensor], device: torch.device | str
) -> dict[str, float]:
    """Sum named numbers, the same names on all ranks, in float64.

    Those of the host are Python's, those of ``device`` tensors; the host waits
    for the device once.
    """
    names = sorted(values, key=lambda n: (torch.is_tensor(values[n]), n))
    host = [values[n] for n in names if not torch.is_tensor(values[n])]
    total = torch.tensor(host, dtype=torch.float64)
    total = total.to(device, non_blocking=True)
    there = [values[n].double() for n in names[len(host) :]]
    if there:
        total = torch.cat([total, torch.stack(there)])
    if world()[1] > 1:
        dist.all_reduce(total)
    return dict(zip(names, total.tolist(), strict=True))


def gather_objects(value: Any) -> list[Any]:
    """Collect a picklable value from all ranks, on every rank."""
    ranks = world()[1]
    if ranks == 1:
        return [value]
    gathered: list[Any] = [None] * ranks
    dist.all_gather_object(gathered, value)
    return gathered


def on_main(task: Callable[[], None]) -> None:
    """Run a task on the main process; its error stops all processes.

    Every process gets the UserError, or one for an OSError, such as that of a
    recipe's ``prepare`` in the wrong folder.
    """
    message = None
    if if_main_process():
        try:
            task()
        except UserError as error:
            message = str(error)
        except OSError as error:
            message = describe_os_error(error)
    message = ddp_broadcast(message)
    if message is not None:
        raise UserError(message)
