"""Collective operations, which do nothing alone, and sums over ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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


@dataclass
class Totals:
    """Sums and counts by name, and how often each code was met.

    ``codes`` by name [G, V], of G codebooks with V codes.
    """

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    codes: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(
        self,
        sums: Mapping[str, float | torch.Tensor],
        counts: Mapping[str, float],
    ) -> None:
        """Add the sums and counts of a batch or step.

        A sum with dimensions is one of codes; it needs no count.
        """
        for name, value in sums.items():
            if getattr(value, "ndim", 0):
                self.codes[name] = self.codes.get(name, 0) + value
                continue
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
            self.counts[name] = self.counts.get(name, 0.0) + counts[name]

    def add_step(self, averages: Mapping[str, float]) -> None:
        """Add a step's averages; of a skipped one what is no NaN anyway."""
        if averages["skipped"]:
            averages = {key: averages[key] for key in ("lr", "skipped")}
        self.add(averages, dict.fromkeys(averages, 1.0))

    def add_codes(self, others: Iterable[Totals]) -> None:
        """Add the codes alone, such as those of all ranks."""
        for other in others:
            self.add(other.codes, {})

    def cpu(self) -> Totals:
        """Give a copy that another rank can read."""
        return replace(self, codes={k: v.cpu() for k, v in self.codes.items()})

    def of_all_ranks(self) -> Totals:
        """Add up what the ranks have."""
        everywhere = Totals()
        for part in gather_objects(self.cpu()):
            everywhere.add({**part.sums, **part.codes}, part.counts)
        return everywhere

    def ratios(self) -> dict[str, float]:
        """Give sum / count of every name that was counted.

        Codes become ``<name>_perplexity``, the number of codes in equal use
        that would be as hard to guess, and ``<name>_used``, the share of codes
        met at all; both are means over the codebooks.
        """
        numbers = {
            name: self.sums[name] / count
            for name, count in self.counts.items()
            if count
        }
        for name, counts in self.codes.items():
            if counts.any():
                numbers[f"{name}_perplexity"] = (
                    perplexities(counts).mean().item()
                )
                numbers[f"{name}_used"] = (counts > 0).float().mean().item()
        return numbers


def perplexities(counts: torch.Tensor) -> torch.Tensor:
    """Tell how many codes in equal use would be as hard to guess.

    Example
    -------
    >>> perplexities(torch.tensor([[5.0, 5.0, 0.0], [9.0, 0.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    shares = counts / counts.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1).exp()
