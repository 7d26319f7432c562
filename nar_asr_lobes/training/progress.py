"""How far a run is: counters, running averages, random states."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from nar_asr_lobes.distributed import gather_objects, world
from nar_asr_lobes.errors import UserError

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """What was done so far; saved in every checkpoint."""

    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    audio_seconds: float = 0.0

    def count(self, skipped: bool, ids: Sequence[str], most: int) -> None:
        """Count a step, and tell of one that was skipped.

        Arguments
        ---------
        skipped : bool
            Whether its gradient was not finite.
        ids : sequence of str
            Its utterances on this rank.
        most : int
            Skipped steps in a row that are borne.

        Raises
        ------
        UserError
            When there were more.
        """
        self.step += 1
        self.skipped += skipped
        self.skipped_in_a_row = skipped * (self.skipped_in_a_row + 1)
        if skipped:
            logger.warning(
                "step %d: the gradient is not finite; no rank moved its "
                "weights; utterances on this rank: %s",
                self.step,
                ", ".join(ids[:16]),
            )
        if self.skipped_in_a_row > most:
            raise UserError(
                f"step {self.step}: {self.skipped_in_a_row} steps in a row had "
                "no finite gradient; lower the learning rate or look at the "
                "utterances named in the log"
            )


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

    Arguments
    ---------
    counts : torch.Tensor
        How often each code was met, shape [G, V].

    Returns
    -------
    torch.Tensor
        Of each codebook, shape [G].

    Example
    -------
    >>> perplexities(torch.tensor([[5.0, 5.0, 0.0], [9.0, 0.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    shares = counts / counts.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1).exp()


def random_state() -> dict:
    """Collect this process's random states in what weights_only loads."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Take up what ``random_state`` gave."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def take_random_state(states: Sequence[dict], source: object) -> None:
    """Take up this rank's of the states that a checkpoint holds.

    Arguments
    ---------
    states : sequence of dict
        What ``random_state`` gave on each rank.
    source : object
        Named in the warning when they are of another number of processes.
    """
    rank, ranks = world()
    if len(states) == ranks:
        set_random_state(states[rank])
        return
    logger.warning(
        "%s was written by %d processes and is continued by %d: the data order "
        "is the same, dropout draws are new",
        source,
        len(states),
        ranks,
    )
