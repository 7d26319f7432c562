"""The plans of random trainings: nothing lost, nothing twice, any restart.

    SAMPLER_CASES=10000 pytest tests/dataio/test_sampler_cases.py

runs as many cases.
"""

import os
from collections import Counter

import numpy as np
import pytest

from nar_asr_lobes.dataio.batching import StepSampler
from nar_asr_lobes.dataio.stream import UtteranceStream

CASES = int(os.environ.get("SAMPLER_CASES", "100"))
GROUPS = 20


class Case:
    """A random training: corpora, weights, batch, worlds, stop point."""

    def __init__(self, number):
        rng = np.random.default_rng([7, number])
        self.sizes = rng.integers(1, 120, rng.integers(1, 5)).tolist()
        mixed = rng.random() < 0.6
        self.weights = (
            rng.uniform(0.1, 5, len(self.sizes)).tolist() if mixed else None
        )
        self.seconds = rng.exponential(6, sum(self.sizes)) + 0.1
        worlds = np.exp(rng.uniform(0, np.log(64), 2)).round().astype(int)
        self.worlds = [int(ranks) for ranks in worlds]
        self.batch = max(self.worlds) + int(rng.integers(0, 60))
        self.steps = int(rng.integers(2, 7))
        self.stop = int(rng.integers(1, self.steps))
        self.options = {
            "max_batch_seconds": float(rng.uniform(5, 200)),
            "bucket_steps": int(rng.choice([1, 1, 2, 3])),
            "seed": int(rng.integers(1000)),
        }

    def plans(self, ranks, start=0):
        """Give the micro-batches of each rank in each step from a start on."""
        seed = self.options["seed"]
        sampler = StepSampler(
            self.seconds,
            self.batch,
            self.steps,
            ranks=ranks,
            stream=UtteranceStream(self.sizes, self.weights, seed),
            **self.options,
        )
        return [
            [plan_of(sampler, step, rank) for rank in range(ranks)]
            for step in range(start, self.steps)
        ]


def plan_of(sampler, step, rank):
    """Give a rank's micro-batches; a rank differs from others in that alone."""
    sampler.rank = rank
    return sampler.plan(step).micro_batches


def samples(plans):
    """Give a sorted list of (index, seed) for each step, over its ranks."""
    return [
        sorted(
            (sample.index, sample.seed)
            for batches in ranks
            for batch in batches
            for sample in batch
        )
        for ranks in plans
    ]


@pytest.mark.parametrize("group", range(GROUPS))
def test_random_trainings(group):
    for number in range(group, CASES, GROUPS):
        check(Case(number))


def check(case):
    first, other = case.worlds
    plans = case.plans(first)
    steps = samples(plans)
    assert [len(step) for step in steps] == [case.batch] * case.steps
    assert all(batches for ranks in plans for batches in ranks)
    # on another world, from the middle on
    assert samples(case.plans(other, case.stop)) == steps[case.stop :]
    assert case.plans(first, case.stop) == plans[case.stop :]
    drawn = [sample for step in steps for sample in step]
    assert max(Counter(drawn).values()) == 1  # a seed is of one epoch
    counts = Counter(index for index, _ in drawn)
    sizes = case.sizes if case.weights else [sum(case.sizes)]
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        passes = [counts[index] for index in range(end - size, end)]
        assert max(passes) - min(passes) <= 1
