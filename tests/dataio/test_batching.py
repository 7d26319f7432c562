"""Every rank's plan together is the one plan, whatever their number."""

import itertools
from collections import Counter

import numpy as np
import pytest

from nar_asr_lobes.dataio.batching import StepSampler, validation_batches
from nar_asr_lobes.errors import UserError

SIZE = 103
DURATIONS = np.random.default_rng(0).uniform(0.5, 15.0, SIZE)
STEPS, GLOBAL_BATCH = 30, 24


def plans(rank=0, ranks=1, **changes):
    options = {
        "durations": DURATIONS,
        "global_batch": GLOBAL_BATCH,
        "steps": STEPS,
        "bucket_steps": 4,
        "seed": 3,
    }
    return StepSampler(rank=rank, ranks=ranks, **{**options, **changes})


def samples(plan):
    return list(itertools.chain.from_iterable(plan.micro_batches))


def steps_of(ranks, **changes):
    """The samples of each step, as a list for each rank."""
    shares = [list(plans(rank, ranks, **changes)) for rank in range(ranks)]
    return [[samples(plan) for plan in step] for step in zip(*shares)]  # noqa: B905


@pytest.mark.parametrize("ranks", range(1, 9))
def test_steps_are_exact_and_the_same_for_any_number_of_ranks(ranks):
    alone = [Counter(step[0]) for step in steps_of(1)]
    steps = steps_of(ranks)
    assert len(steps) == STEPS
    for step, expected in zip(steps, alone, strict=True):
        sizes = [len(share) for share in step]
        assert sum(sizes) == GLOBAL_BATCH
        assert min(sizes) >= 1
        assert Counter(itertools.chain.from_iterable(step)) == expected


@pytest.mark.parametrize("bucket_steps", [1, 4, 16, 100])
@pytest.mark.parametrize("size", [7, 24, SIZE])
def test_every_epoch_has_every_utterance_once(size, bucket_steps):
    options = {"durations": DURATIONS[:size], "bucket_steps": bucket_steps}
    drawn = list(
        itertools.chain.from_iterable(
            step[0] for step in steps_of(1, **options)
        )
    )
    whole, rest = divmod(STEPS * GLOBAL_BATCH, size)
    times = Counter(sample.index for sample in drawn)
    assert set(times) == set(range(size))
    assert set(times.values()) <= {whole, whole + bool(rest)}
    # One seed for each utterance in each epoch.
    assert len(set(drawn)) == len({s.seed for s in drawn}) == len(drawn)


def test_an_epoch_is_over_before_the_next_begins():
    """Without buckets, so that the order is that of the epochs."""
    steps = steps_of(1, global_batch=1, bucket_steps=1, steps=3 * SIZE)
    order = [step[0][0].index for step in steps]
    epochs = [order[i * SIZE : (i + 1) * SIZE] for i in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(SIZE))
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != sorted(epochs[0])


def test_sorted_epochs_go_from_short_to_long():
    steps = steps_of(
        1, global_batch=1, bucket_steps=1, steps=3 * SIZE, sorted_epochs=2
    )
    seconds = [DURATIONS[step[0][0].index] for step in steps]
    epochs = [seconds[i * SIZE : (i + 1) * SIZE] for i in range(3)]
    assert epochs[0] == epochs[1] == sorted(DURATIONS) != epochs[2]
    assert sorted(epochs[2]) == sorted(DURATIONS)


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_restart_at_any_step_goes_on_with_the_plan(ranks):
    for rank in range(ranks):
        whole = list(plans(rank, ranks))
        assert [plan.step for plan in whole] == list(range(STEPS))
        for step in range(STEPS + 1):
            sampler = plans(rank, ranks)
            sampler.start_step = step
            assert len(sampler) == STEPS - step
            assert list(sampler) == whole[step:]
        backwards = plans(rank, ranks)
        for plan in reversed(whole):
            assert backwards.plan(plan.step) == plan


def test_the_seed_decides_the_order_and_the_seeds():
    def drawn(seed):
        found = [
            s
            for step in steps_of(1, seed=seed, bucket_steps=1)
            for s in step[0]
        ]
        return [s.index for s in found], {s.seed for s in found}

    (order, seeds), (others, other_seeds) = drawn(3), drawn(4)
    assert drawn(3) == (order, seeds)
    assert order != others
    assert not seeds & other_seeds


def test_ranks_get_equal_work():
    """Padded seconds, also of steps with few utterances for each rank."""
    for ranks in (2, 4, 8):
        changes = {"global_batch": 64, "bucket_steps": 1}
        plans_of = [list(plans(r, ranks, **changes)) for r in range(ranks)]
        costs = np.array(
            [
                [
                    sum(DURATIONS[x[0].index] * len(x) for x in p.micro_batches)
                    for p in share
                ]
                for share in plans_of
            ]
        )
        excess = costs.max(0) / costs.mean(0) - 1
        assert excess.mean() < 0.06
        # Nor is one rank always the slow one.
        assert np.ptp(costs.mean(1)) / costs.mean() < 0.03


def test_micro_batches_keep_to_their_seconds():
    sizes = set()
    for plan in plans(max_batch_seconds=40.0):
        for batch in plan.micro_batches:
            lengths = [DURATIONS[s.index] for s in batch]
            assert lengths == sorted(lengths, reverse=True)
            assert len(batch) == 1 or lengths[0] * len(batch) <= 40.0
            sizes.add(len(batch))
    assert len(sizes) > 3
    for plan in plans(max_batch_seconds=0.1):
        assert all(len(batch) == 1 for batch in plan.micro_batches)
    for plan in plans(max_batch_seconds=1e9):
        assert len(plan.micro_batches) == 1


def test_micro_batches_are_no_more_than_needed():
    for plan in plans(max_batch_seconds=40.0):
        for batch, after in itertools.pairwise(plan.micro_batches):
            longest = DURATIONS[batch[0].index]
            assert longest * (len(batch) + 1) > 40.0
            assert DURATIONS[after[0].index] <= longest


def test_buckets_save_padding_and_are_not_served_in_order():
    def padding(bucket_steps):
        steps = [
            [DURATIONS[s.index] for s in step[0]]
            for step in steps_of(1, bucket_steps=bucket_steps)
        ]
        return 1 - sum(map(sum, steps)) / sum(max(s) * len(s) for s in steps)

    assert padding(10) < 0.5 * padding(1)
    first = [
        max(DURATIONS[s.index] for s in step[0])
        for step in steps_of(1, bucket_steps=10)[:10]
    ]
    assert first not in (sorted(first), sorted(first, reverse=True))


def test_more_ranks_than_utterances_in_a_step_are_refused():
    with pytest.raises(UserError, match="3 is smaller than the 4 processes"):
        plans(0, 4, global_batch=3)


@pytest.mark.parametrize("ranks", range(1, 9))
def test_validation_has_every_utterance_once(ranks):
    batches = [
        batch
        for rank in range(ranks)
        for batch in validation_batches(DURATIONS, 60.0, rank, ranks)
    ]
    assert sorted(itertools.chain.from_iterable(batches)) == list(range(SIZE))
    for batch in batches:
        assert len(batch) == 1 or DURATIONS[batch].max() * len(batch) <= 60.0
    alone = validation_batches(DURATIONS, 60.0)
    assert sorted(batches) == sorted(alone)


def test_a_long_utterance_is_validated_alone():
    assert validation_batches([1.0, 9.0, 1.0], 4.0) == [[1], [0, 2]]


def test_samples_know_how_far_the_run_is():
    sampler = StepSampler([1.0] * 6, global_batch=3, steps=8, bucket_steps=1)
    for plan in sampler:
        known = {s.progress for batch in plan.micro_batches for s in batch}
        assert known == {plan.step / 8}
