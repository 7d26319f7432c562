"""Plans of runs whose figures are known, and the sentences about them."""

import math
from dataclasses import replace

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.planning.cluster import Cluster
from nar_asr_lobes.planning.communication import overlap
from nar_asr_lobes.planning.cost import pretrain_model
from nar_asr_lobes.planning.findings import findings
from nar_asr_lobes.planning.plan import (
    Corpus,
    Throughput,
    make_plan,
    stated_throughput,
)
from nar_asr_lobes.planning.report import describe_plan
from nar_asr_lobes.training.hparams import load_run
from tests.recipes.running import yaml_of

SEED_RUN = ("LibriSpeech", "pretrain", "data_folder: x")
FULL_RUN = ("Pretraining100k", "pretrain", "")
ONE_GPU = ("Pretraining100k", "one_gpu", "")


def plan(run, utilisation=0.4, corpus=None, **cluster):
    """Plan a recipe's run."""
    recipe, task, overrides = run
    config = load_run(yaml_of(recipe, task), overrides)
    model, machine = pretrain_model(config), Cluster(**cluster)
    corpus = corpus or Corpus()
    speed = stated_throughput(model, machine, utilisation, corpus.mean_seconds)
    return make_plan(config, machine, corpus, speed)


def test_the_run_of_400_000_steps_takes_hours_on_64_gpus():
    found = plan(SEED_RUN)
    assert found.hours_heard == pytest.approx(2.8e6, rel=0.01)
    assert found.passes == pytest.approx(28, rel=0.01)
    operations = found.model.operations(12.3).total / 12.3
    # Computation alone, as a hand counts it.
    hours = 2.8e6 * operations / (64 * 0.4 * 790e12)
    assert found.step.compute * 400_000 / 3600 == pytest.approx(hours, rel=0.01)
    assert 7 < 24 * found.days < 12
    assert any(x.startswith("time: ") for x in findings(found, 42))


def test_six_weeks_are_the_budget_of_the_100_000_hours():
    """At a tenth of the GPU's rate, that of published runs; a week at 0.4."""
    slow, fast = plan(FULL_RUN, 0.1), plan(FULL_RUN, 0.4)
    assert 0.5 * 42 < slow.days < 0.75 * 42
    assert fast.days < 10
    assert slow.hours_per_million > 5000  # as wav2vec 2.0 Large
    assert slow.memory.total < slow.cluster.device.memory
    assert [x.split(":")[0] for x in findings(slow, 42)] == ["peak_lr"]


def test_one_gpu_needs_less_than_a_day():
    found = plan(ONE_GPU, 0.1, Corpus(hours=960), gpus=1, gpu="RTX4090")
    assert 0.5 < found.days < 1
    assert found.memory.total < found.cluster.device.memory
    assert found.step.network.added == 0 and found.step.efficiency == 1
    assert not list(findings(found, 1))


def test_micro_batches_are_bounded_by_the_yaml():
    few, many = (plan(FULL_RUN, gpus=x) for x in (64, 1))
    assert few.micro_batches == 5
    assert many.batch_seconds <= many.config.data.max_batch_seconds
    seconds = 2048 * 12.3
    assert many.micro_batches == math.ceil(seconds / many.batch_seconds)


def test_time_adds_up():
    found = plan(FULL_RUN)
    step = found.step
    saving = found.checkpoint_seconds / found.config.logging.checkpoint_interval
    total = found.config.steps * (step.total + saving)
    assert found.days == pytest.approx(total / 86400)
    assert found.gpu_hours == pytest.approx(64 * total / 3600)
    assert step.total == pytest.approx(
        step.compute
        + step.fixed
        + step.straggling
        + step.network.exposed
        + step.network.small
        + step.network.slowed
    )
    assert found.utilisation < 0.4


def test_sums_are_beside_the_last_backward_pass_of_a_step():
    """Two thirds of one micro-batch in five."""
    found = plan(FULL_RUN)
    backward = found.step.compute / 5 * 2 / 3
    tensors = found.model.trained_tensors()
    expected = overlap(found.cluster, tensors, backward)
    assert found.step.network.exposed == pytest.approx(expected.exposed)
    assert expected.exposed > 0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"gpu": "RTX4090"}, "memory"),
        ({"cores": 0.05}, "loader"),
        ({"nic_gbits": 10.0}, "network"),
        ({"disk": 0.5}, "checkpoints"),
    ],
)
def test_a_machine_that_does_not_fit_is_named(change, word):
    plans = plan(FULL_RUN, 0.1), plan(FULL_RUN, 0.1, **change)
    words = [{x.split(":")[0] for x in findings(p, 42)} for p in plans]
    assert word in words[1] - words[0]


@pytest.mark.parametrize(
    ("change", "days", "word"),
    [
        ("steps: 4000", 42, "data"),
        ("steps: 4000", 42, "training"),
        ("steps: 4000", 42, "warm-up"),
        ("steps: 40000000", 42, "data"),
        ("steps: 40000000", 42, "time"),
        ("precision: fp32", 42, "precision fp32"),
    ],
)
def test_a_run_that_does_not_fit_is_named(change, days, word):
    found = plan((*FULL_RUN[:2], change))
    assert word in {x.split(":")[0] for x in findings(found, days)}


def test_measured_throughput_goes_before_a_stated_one():
    base = plan(ONE_GPU, gpus=1)
    measured = Throughput(1000.0, 0.25)
    found = make_plan(base.config, base.cluster, base.corpus, measured)
    assert found.step.total == pytest.approx(64 * 12.3 / 1000 + 0.25)
    assert found.audio_rate == pytest.approx(64 * 12.3 / found.step.total)


def test_more_gpus_than_utterances_are_refused():
    base = plan(ONE_GPU, gpus=1)
    few = replace(base.config, global_batch=2)
    with pytest.raises(UserError, match="global_batch 2 is smaller than the 8"):
        make_plan(few, Cluster(gpus=8), base.corpus, base.speed)


def test_the_text_has_all_parts_and_the_warnings():
    text = describe_plan(plan(SEED_RUN), 42)
    names = [line.split()[0] for line in text.splitlines()]
    assert names[:11] == [
        *("model", "steps", "data", "micro-batch", "memory", "loader"),
        *("checkpoint", "network", "step", "time", "cost"),
    ]
    assert set(names[11:]) == {"warning:"}
