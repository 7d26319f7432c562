"""The few collective operations that training needs; no-ops alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from speechbrain.utils.distributed import ddp_broadcast, if_main_process

from nar_asr_lobes.errors import UserError, describe_os_error


def world() -> tuple[int, int]:
    """Give (rank, number of processes)."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_over_ranks(
    values: dict[str, float], device: torch.device | str
) -> dict[str, float]:
    """Sum named numbers over all ranks, in float64.

    Every rank must give the same names.
    """
    if world()[1] == 1:
        return dict(values)
    names = sorted(values)
    total = torch.tensor(
        [values[n] for n in names], dtype=torch.float64, device=device
    )
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


def on_main(work: Callable[[], None]) -> None:
    """Do something on the main process; a mistake there stops all of them."""
    message = None
    if if_main_process():
        try:
            work()
        except UserError as error:
            message = str(error)
        except OSError as error:
            message = describe_os_error(error)
    message = ddp_broadcast(message)
    if message is not None:
        raise UserError(message)
