"""How far a run is: counters, running averages, random states."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nar_asr_lobes.distributed import world
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
