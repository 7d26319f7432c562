"""The plan of a pre-training: from its YAML, a cluster and a throughput.

run, hours -> steps, passes, micro-batches
sizes, throughput -> seconds of a step -> days, energy, price
all of them -> warnings of what does not fit
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nar_asr_lobes.dataio.dealing import deal
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.planning.cluster import Cluster
from nar_asr_lobes.planning.communication import Overlap, overlap
from nar_asr_lobes.planning.cost import PretrainModel, pretrain_model
from nar_asr_lobes.planning.memory import (
    MemoryUse,
    checkpoint_bytes,
    memory_use,
)
from nar_asr_lobes.schema import Checked, number
from nar_asr_lobes.training.config import RunConfig

FLAC_BYTES = 15_750.0
"""Bytes of a second of speech as FLAC: those of Libri-Light."""
_OPTIMIZER_BYTES = 40  # read and written a parameter, for AdamW and clipping
_FORWARD = 1 / 3  # of a micro-batch's time


@dataclass(frozen=True)
class Corpus(Checked):
    """The audio of a run.

    Arguments
    ---------
    hours : float
        All of it, once.
    mean_seconds : float
        Mean length of an utterance.
    decoding : float
        Seconds of audio that a core reads a second, augmentation included;
        see docs/scale.md.
    """

    hours: float = number(100_000.0, above=0)
    mean_seconds: float = number(12.3, above=0)
    decoding: float = number(3700.0, above=0)


@dataclass(frozen=True)
class Throughput:
    """Speed of one GPU.

    ``audio`` seconds of audio a second, forward and backward; ``fixed``
    seconds of a step besides, for clipping and the optimiser.
    """

    audio: float
    fixed: float


def stated_throughput(
    model: PretrainModel, cluster: Cluster, utilisation: float, seconds: float
) -> Throughput:
    """Derive the speed from a share of the GPU's matrix rate.

    ``utilisation`` is counted operations over time, relative to that rate;
    ``seconds`` the length of an utterance.
    """
    operations = model.operations(seconds).total / seconds
    rate = utilisation * cluster.device.flops / operations
    return Throughput(rate, optimizer_seconds(model, cluster))


def optimizer_seconds(model: PretrainModel, cluster: Cluster) -> float:
    """Give the time of clipping and AdamW, which the memory's rate limits."""
    return _OPTIMIZER_BYTES * model.trained / cluster.device.bandwidth


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step of a rank.

    ``compute`` of its micro-batches with the costliest rank's lead, ``fixed``
    for the optimiser, and the sums of gradients.
    """

    compute: float
    fixed: float
    network: Overlap
    straggling: float

    @property
    def alone(self) -> float:
        """Seconds without other ranks."""
        return self.compute + self.fixed

    @property
    def total(self) -> float:
        """Seconds among the others."""
        return self.alone + self.straggling + self.network.added

    @property
    def efficiency(self) -> float:
        """Weak scaling: throughput of a GPU relative to one alone."""
        return self.alone / self.total


@dataclass(frozen=True)
class Plan:
    """All figures of a planned run; see the fields' classes."""

    config: RunConfig
    model: PretrainModel
    cluster: Cluster
    corpus: Corpus
    speed: Throughput
    precision: str
    micro_batches: int
    batch_seconds: float
    memory: MemoryUse
    step: StepTime

    @property
    def step_hours(self) -> float:
        """Hours of audio in a step."""
        return self.config.global_batch * self.corpus.mean_seconds / 3600

    @property
    def hours_heard(self) -> float:
        """Hours of audio in all steps."""
        return self.config.steps * self.step_hours

    @property
    def passes(self) -> float:
        """Passes over the corpus."""
        return self.hours_heard / self.corpus.hours

    @property
    def hours_per_million(self) -> float:
        """Hours of audio in all steps for each million parameters."""
        return self.hours_heard / self.model.parameters * 1e6

    @property
    def warmup(self) -> float:
        """Steps that warm up."""
        return self.config.optim.scheduler(steps=self.config.steps).warmup

    @property
    def utilisation(self) -> float:
        """Counted operations over a GPU's matrix rate, of a whole step."""
        seconds = self.corpus.mean_seconds
        operations = self.model.operations(seconds).total / seconds
        rank_seconds = self.step_hours * 3600 / self.cluster.gpus
        rate = operations * rank_seconds / self.step.total
        return rate / self.cluster.device.flops

    @property
    def checkpoint(self) -> float:
        """Bytes of a checkpoint."""
        return checkpoint_bytes(self.model)

    @property
    def checkpoint_seconds(self) -> float:
        """Seconds to write one."""
        return self.checkpoint / (self.cluster.disk * 1e9)

    @property
    def days(self) -> float:
        """Days of all steps, with their checkpoints written between them."""
        saves = 1 / self.config.logging.checkpoint_interval
        step = self.step.total + self.checkpoint_seconds * saves
        return self.config.steps * step / 86400

    @property
    def gpu_hours(self) -> float:
        """GPUs times hours."""
        return 24 * self.days * self.cluster.gpus

    @property
    def audio_rate(self) -> float:
        """Seconds of audio that a GPU takes a second."""
        rank_seconds = self.step_hours * 3600 / self.cluster.gpus
        return rank_seconds / self.step.total

    @property
    def loader_cores(self) -> float:
        """Processor cores that read for one GPU."""
        return self.audio_rate / self.corpus.decoding


def make_plan(
    config: RunConfig, cluster: Cluster, corpus: Corpus, speed: Throughput
) -> Plan:
    """Plan a run.

    Arguments
    ---------
    config : RunConfig
        Of a pre-training with BEST-RQ.
    cluster : Cluster
        Its machine.
    corpus : Corpus
        Its audio.
    speed : Throughput
        Measured, or of ``stated_throughput``.
    """
    model = pretrain_model(config)
    precision = "fp32" if config.precision == "fp32" else "bf16"  # auto
    count, largest = micro_batches(config, cluster, corpus)
    seconds = config.global_batch * corpus.mean_seconds / cluster.gpus
    return Plan(
        config,
        model,
        cluster,
        corpus,
        speed,
        precision,
        count,
        largest,
        memory_use(model, largest, precision),
        _step_time(model, cluster, speed, seconds, count),
    )


def micro_batches(
    config: RunConfig, cluster: Cluster, corpus: Corpus
) -> tuple[int, float]:
    """Give their number in a step of a rank, and seconds of the largest.

    Raises
    ------
    UserError
        For a step with fewer utterances than GPUs.
    """
    if config.global_batch < cluster.gpus:
        raise UserError(
            f"global_batch {config.global_batch} is smaller than the "
            f"{cluster.gpus} GPUs; raise it or take fewer"
        )
    lengths = np.full(config.global_batch, corpus.mean_seconds)
    dealt = deal(lengths, cluster.gpus, config.data.max_batch_seconds)
    runs = max(dealt, key=len)
    largest = max(run.stop - run.start for run in runs)
    return len(runs), largest * corpus.mean_seconds


def _step_time(
    model: PretrainModel,
    cluster: Cluster,
    speed: Throughput,
    seconds: float,
    micro_batches: int,
) -> StepTime:
    """Give the time of a step with so many seconds of audio on each rank."""
    compute = seconds / speed.audio
    backward = compute / micro_batches * (1 - _FORWARD)
    alone = cluster.gpus == 1
    return StepTime(
        compute,
        speed.fixed,
        overlap(cluster, model.trained_tensors(), backward),
        0.0 if alone else cluster.straggling * compute,
    )
