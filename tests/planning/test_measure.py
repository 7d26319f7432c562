"""The steps on noise that ``nar-asr plan --measure`` times."""

import pytest

from nar_asr_lobes.planning.cluster import Cluster
from nar_asr_lobes.planning.measure import NoiseSteps
from nar_asr_lobes.training.hparams import load_run, parse_arguments
from tests.recipes.running import yaml_of


@pytest.fixture
def steps(tmp_path):
    """Steps of a run of 6 utterances of 2 s, at most 8 s a micro-batch."""
    words = [
        str(yaml_of("Pretraining100k", "pretrain")),
        "--model=!include:../../../hparams/model/tiny.yaml",
        "--objective={codes: 16}",
        "--global_batch=6",
        '--data={"max_batch_seconds": 8}',
        f"--output_folder={tmp_path}",
        "--device=cpu",
    ]
    path, run_opts, overrides = parse_arguments(words)
    config = load_run(path, overrides)
    return NoiseSteps(config, Cluster(gpus=1), 2.0, run_opts)


def test_micro_batches_are_those_of_the_run(steps, monkeypatch):
    made = []
    fit_batch = steps.brain.fit_batch
    monkeypatch.setattr(
        steps.brain, "fit_batch", lambda x: (made.append(x), fit_batch(x))
    )
    for _ in range(12):
        steps.time()
    assert {len(step) for step in made} == {1, 3}
    batches = [batch for step in made for batch in step]
    assert all(batch.seconds <= 8 for batch in batches)
    # 6 of up to 1.3 s fit into one, of up to 2.7 s into two, longer into three.
    assert {len(batch.ids) for batch in batches} == {2, 3, 6}
    lengths = [batch.seconds / len(batch.ids) for batch in batches]
    assert min(lengths) < 1.4 < 2.6 < max(lengths)


def test_time_that_grows_with_audio_is_the_throughput(steps, monkeypatch):
    """A step of 0.25 s, and 0.5 s for a second of audio."""
    now = 0.0

    def step(batches):
        nonlocal now
        now += 0.25 + 0.5 * sum(batch.seconds for batch in batches)

    monkeypatch.setattr(steps.brain, "fit_batch", step)
    monkeypatch.setattr(
        "nar_asr_lobes.planning.measure._clock", lambda brain: now
    )
    steps.audio.clear()
    steps.times.clear()
    for _ in range(3):
        steps.time()
    found = steps.throughput()
    assert found.audio == pytest.approx(2.0)
    assert found.fixed == pytest.approx(0.25)
