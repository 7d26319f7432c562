"""Throughput of this machine's device, by steps of a run's own trainer."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from speechbrain.utils.run_opts import RunOptions

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.lobes.stems import SAMPLE_RATE
from nar_asr_lobes.planning.cluster import Cluster
from nar_asr_lobes.planning.plan import Corpus, Throughput, micro_batches
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.build import wrap_brain
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.init_from import freeze_parts, without_idle_keys

_MICRO_BATCHES = 1, 3  # of the two kinds of steps whose times are compared
_SPREAD = 0.6  # of utterances' lengths, relative to their mean
_PADDING = 0.1  # as far as lengths within a micro-batch differ from their mean


def measure_throughput(
    config: RunConfig,
    cluster: Cluster,
    seconds: float,
    run_opts: RunOptions,
    rounds: int = 16,
) -> Throughput:
    """Time steps on noise, with random weights.

    Arguments
    ---------
    config : RunConfig
        Of a pre-training.
    cluster : Cluster
        Of the run; a rank's micro-batches there are measured.
    seconds : float
        Mean length of an utterance.
    run_opts : RunOptions
        Its ``device`` is measured.
    rounds : int
        Steps of each kind. All are of other lengths, as those of a run, which
        costs new kernels and memory. Means count, as for a run.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = replace(config, output_folder=folder)
        steps = NoiseSteps(config, cluster, seconds, run_opts)
        for _ in range(rounds):
            steps.time()
    return steps.throughput()


class NoiseSteps:
    """Steps on noise that ``measure_throughput`` times, whose arguments it has.

    The first ones, which allocate, do not count.
    """

    def __init__(
        self,
        config: RunConfig,
        cluster: Cluster,
        seconds: float,
        run_opts: RunOptions,
    ):
        self.brain = _make_brain(config, run_opts)
        self.config, self.cluster, self.seconds = config, cluster, seconds
        self.rng = np.random.default_rng(0)
        self.audio, self.times = [], []  # of the two kinds of steps
        self.time()
        self.audio.clear()
        self.times.clear()

    def time(self) -> None:
        """Make a step of each kind."""
        audio, times = [], []
        mean = self.seconds * self.rng.uniform(1 - _SPREAD, 1 + _SPREAD)
        count = self._utterances(mean)
        for number in _MICRO_BATCHES:
            batches = [_noise(count, mean, self.rng) for _ in range(number)]
            audio.append(sum(batch.seconds for batch in batches))
            start = _clock(self.brain)
            self.brain.fit_batch(batches)
            times.append(_clock(self.brain) - start)
        self.audio.append(audio)
        self.times.append(times)

    def throughput(self) -> Throughput:
        """Give that of all steps so far."""
        few, many = np.mean(self.audio, axis=0)
        short, long = np.mean(self.times, axis=0)
        rate = float((many - few) / (long - short))
        return Throughput(rate, max(0.0, float(short) - few / rate))

    def _utterances(self, seconds: float) -> int:
        """Give the number in a micro-batch of utterances of that length."""
        longest = Corpus(mean_seconds=seconds * (1 + _PADDING))
        number, _ = micro_batches(self.config, self.cluster, longest)
        of_rank = self.config.global_batch / self.cluster.gpus
        return max(1, int(of_rank / number))


def _make_brain(config: RunConfig, run_opts: RunOptions) -> NarBrain:
    config = without_idle_keys(replace(config, init_from=None))
    Path(config.output_folder, "checkpoints").mkdir()
    model = config.objective.build_model(config.model)
    freeze_parts(model, config.objective, config)
    brain = wrap_brain(config, model, config.objective, {}, run_opts)
    brain.on_fit_start()
    brain.modules.train()
    return brain


def _noise(count: int, seconds: float, rng: np.random.Generator) -> Batch:
    """Make utterances of about a length; ``seconds`` of it with padding."""
    samples = rng.uniform(1 - _PADDING, 1 + _PADDING, count)
    samples *= seconds * SAMPLE_RATE
    longest = round(samples.max())
    names = [str(i) for i in range(count)]
    return Batch(
        ids=names,
        texts=[""] * count,
        seeds=list(range(count)),
        wavs=torch.randn(count, longest),
        wav_lens=torch.tensor(samples / longest, dtype=torch.float32),
        samples=torch.tensor(samples).long(),
        tokens=torch.zeros(count, 0, dtype=torch.int64),
        token_lens=torch.zeros(count, dtype=torch.int64),
        seconds=count * longest / SAMPLE_RATE,
        places=names,
    )


def _clock(brain: NarBrain) -> float:
    if torch.device(brain.device).type != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()
