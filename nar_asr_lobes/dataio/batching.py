"""Which utterances make a step, on which rank, in which micro-batches.

A step is exactly ``global_batch`` utterances over all ranks, whatever their
number. The epochs' random orders are joined end to end, so no utterance is left
over and a position in training is one number: the step.

    stream -> a step's utterances -> micro-batches of equal cost -> ranks
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from nar_asr_lobes.dataio.dealing import deal
from nar_asr_lobes.dataio.seeds import Stream, derived_seed, generator
from nar_asr_lobes.dataio.stream import UtteranceStream
from nar_asr_lobes.errors import UserError


@dataclass(frozen=True)
class Sample:
    """One utterance in one epoch: ``index`` into the data set, its ``seed``.

    ``progress`` is the share of the run's steps made before.
    """

    index: int
    seed: int
    progress: float = 1.0


@dataclass(frozen=True)
class StepPlan:
    """The work of one rank in one step: micro-batches of samples."""

    step: int
    micro_batches: tuple[tuple[Sample, ...], ...]


class Lengths(Protocol):
    """Lengths of all utterances, as an array, or computed when asked for."""

    def __len__(self) -> int:
        """Count the utterances."""

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Give the lengths of some utterances [N]."""


class _Draws(NamedTuple):
    """The utterances of a step [global_batch]: place in the stream, and what
    is drawn there."""

    positions: np.ndarray
    epochs: np.ndarray
    indices: np.ndarray


class StepSampler:
    """Plan the steps of a training run.

    Arguments
    ---------
    durations : sequence of float, or Lengths
        Seconds of each utterance.
    global_batch : int
        Utterances of a step over all ranks.
    steps : int
        Steps of the run.
    max_batch_seconds : float
        Most padded seconds in a micro-batch; bounds the memory. A longer
        utterance gets a micro-batch of its own.
    bucket_steps : int
        Steps that are filled together from a window of the shuffled data,
        each with utterances of similar length: less padding, less randomness.
    rank, ranks : int
        This process and the number of processes.
    seed : int
        Of the shuffling and of the samples' own seeds.
    sorted_epochs : int
        First epochs that go from short to long utterances instead of being
        shuffled: CTC finds its alignment sooner on short ones (SortaGrad,
        Amodei et al., https://arxiv.org/abs/1512.02595).
    stream : UtteranceStream, optional
        The order, such as that of corpora mixed by weights; epochs of the
        whole set where not given.

    Example
    -------
    >>> sampler = StepSampler([1.0, 2.0, 3.0], global_batch=2, steps=3)
    >>> plans = list(sampler)
    >>> [len(p.micro_batches[0]) for p in plans]
    [2, 2, 2]
    >>> sampler.start_step = 2
    >>> list(sampler) == plans[2:]
    True
    """

    def __init__(
        self,
        durations: Sequence[float] | Lengths,
        global_batch: int,
        steps: int,
        max_batch_seconds: float = 240.0,
        bucket_steps: int = 16,
        rank: int = 0,
        ranks: int = 1,
        seed: int = 0,
        sorted_epochs: int = 0,
        stream: UtteranceStream | None = None,
    ):
        if global_batch < ranks:
            raise UserError(
                f"global_batch {global_batch} is smaller than the {ranks} "
                f"processes; raise it to at least {ranks}"
            )
        if isinstance(durations, list | tuple):
            durations = np.array(durations)
        self.durations = durations
        self.global_batch = global_batch
        self.steps = steps
        self.max_batch_seconds = max_batch_seconds
        self.bucket_steps = bucket_steps
        self.rank, self.ranks, self.seed = rank, ranks, seed
        self.start_step = 0
        self.stream = stream or UtteranceStream([len(durations)], seed=seed)
        self.sorted_draws = sorted_epochs * len(durations)
        self._window = lru_cache(maxsize=1)(self._plan_window)
        self._dealt = lru_cache(maxsize=1)(self._deal)

    def __len__(self) -> int:
        """Count the steps that are left."""
        return self.steps - self.start_step

    def _draw(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give (epochs, indices) of draws, sorted ones first."""
        epochs, indices = self.stream.draw(positions)
        early = positions < self.sorted_draws
        if early.any():
            order = np.argsort(self.durations, kind="stable")
            indices[early] = order[positions[early] % len(order)]
        return epochs, indices

    def _plan_window(self, window: int) -> list[_Draws]:
        """Give the steps of a window, each sorted from long to short."""
        first = window * self.bucket_steps
        count = min(self.bucket_steps, self.steps - first)
        size = count * self.global_batch
        positions = first * self.global_batch + np.arange(size)
        epochs, indices = self._draw(positions)
        ordered = np.argsort(self.durations[indices], kind="stable")
        batches = ordered.reshape(count, self.global_batch)[:, ::-1]
        rng = generator(self.seed, Stream.BATCH_ORDER, window)
        return [
            _Draws(positions[batch], epochs[batch], indices[batch])
            for batch in batches[rng.permutation(count)]
        ]

    def _sample(self, draws: _Draws, place: int) -> Sample:
        epoch, index = int(draws.epochs[place]), int(draws.indices[place])
        seed = derived_seed(self.seed, Stream.SAMPLE_SEED, epoch, index)
        step = int(draws.positions[place]) // self.global_batch
        return Sample(index, seed, step / self.steps)

    def _deal(self, step: int) -> tuple[_Draws, list[list[slice]]]:
        """Give the draws of a step and the micro-batches of all ranks."""
        window, place = divmod(step, self.bucket_steps)
        draws = self._window(window)[place]
        seconds = self.durations[draws.indices]
        return draws, deal(seconds, self.ranks, self.max_batch_seconds)

    def plan(self, step: int) -> StepPlan:
        """Plan one step for this rank, without the steps before it."""
        draws, dealt = self._dealt(step)
        # Not always the same rank has the longest utterances.
        mine = dealt[(self.rank + step) % self.ranks]
        return StepPlan(
            step,
            tuple(
                tuple(
                    self._sample(draws, i) for i in range(run.start, run.stop)
                )
                for run in mine
            ),
        )

    def __iter__(self) -> Iterator[StepPlan]:
        """Go through the steps from ``start_step`` on."""
        for step in range(self.start_step, self.steps):
            yield self.plan(step)


def validation_batches(
    durations: Sequence[float],
    max_batch_seconds: float,
    rank: int = 0,
    ranks: int = 1,
) -> list[list[int]]:
    """Split a data set into batches of similar length, shared by the ranks.

    Arguments
    ---------
    durations : sequence of float
        Seconds of each utterance.
    max_batch_seconds : float
        Most padded seconds in a batch.
    rank, ranks : int
        This process and the number of processes.

    Returns
    -------
    list of list of int
        Indices of this rank's batches, longest utterances first; over all
        ranks every utterance stands in exactly one batch.

    Example
    -------
    >>> validation_batches([1.0, 5.0, 4.0], 10.0)
    [[1, 2], [0]]
    """
    order = np.argsort(-np.asarray(durations), kind="stable")
    batches: list[list[int]] = []
    for index in order:
        longest = durations[batches[-1][0]] if batches else 0.0
        if batches and longest * (len(batches[-1]) + 1) <= max_batch_seconds:
            batches[-1].append(int(index))
        else:
            batches.append([int(index)])
    return batches[rank::ranks]
