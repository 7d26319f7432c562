"""Throughput of this machine's device, by steps of a run's own trainer."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from speechbrain.utils.run_opts import RunOptions

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.lobes.stems import SAMPLE_RATE
from nar_asr_lobes.planning.plan import Throughput
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.build import wrap_brain
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.init_from import freeze_parts, without_idle_keys

_MICRO_BATCHES = 1, 3  # of the two kinds of steps whose times are compared


def measure_throughput(
    config: RunConfig,
    seconds: float,
    batch_seconds: float,
    run_opts: RunOptions,
    rounds: int = 5,
) -> Throughput:
    """Time steps on noise, with random weights.

    Processor time on a CPU, where other programs may run beside; on a GPU the
    clock's.

    Arguments
    ---------
    config : RunConfig
        Of a pre-training.
    seconds : float
        Length of an utterance.
    batch_seconds : float
        Audio of a micro-batch, as far as whole utterances fit.
    run_opts : RunOptions
        Its ``device`` is measured.
    rounds : int
        Steps of each kind; the fastest counts, for others are disturbed.
    """
    count = max(1, round(batch_seconds / seconds))
    batch = _noise(count, seconds)
    with tempfile.TemporaryDirectory() as folder:
        brain = _make_brain(replace(config, output_folder=folder), run_opts)
        times: dict[int, list[float]] = {n: [] for n in _MICRO_BATCHES}
        for turn in range(rounds + 1):
            for number, found in times.items():
                start = _clock(brain)
                brain.fit_batch([batch] * number)
                if turn > 0:  # the first ones allocate
                    found.append(_clock(brain) - start)
    few, many = (min(times[n]) for n in _MICRO_BATCHES)
    each = (many - few) / (_MICRO_BATCHES[1] - _MICRO_BATCHES[0])
    fixed = max(0.0, few - each)
    return Throughput(count * seconds / each, fixed)


def _make_brain(config: RunConfig, run_opts: RunOptions) -> NarBrain:
    config = without_idle_keys(replace(config, init_from=None))
    Path(config.output_folder, "checkpoints").mkdir()
    model = config.objective.build_model(config.model)
    freeze_parts(model, config.objective, config)
    brain = wrap_brain(config, model, config.objective, {}, run_opts)
    brain.on_fit_start()
    brain.modules.train()
    return brain


def _noise(count: int, seconds: float) -> Batch:
    samples = round(seconds * SAMPLE_RATE)
    names = [str(i) for i in range(count)]
    return Batch(
        ids=names,
        texts=[""] * count,
        seeds=list(range(count)),
        wavs=torch.randn(count, samples),
        wav_lens=torch.ones(count),
        samples=torch.full((count,), samples),
        tokens=torch.zeros(count, 0, dtype=torch.int64),
        token_lens=torch.zeros(count, dtype=torch.int64),
        seconds=count * seconds,
        places=names,
    )


def _clock(brain: NarBrain) -> float:
    if torch.device(brain.device).type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
