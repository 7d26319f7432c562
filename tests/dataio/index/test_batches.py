"""Batches from shards are those from the files, bit for bit."""

import numpy as np
import pytest
import soundfile
import torch

from nar_asr_lobes.dataio.augment import WaveAugment
from nar_asr_lobes.dataio.batching import Sample, StepPlan
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.index.build import build_index
from nar_asr_lobes.dataio.index.dataset import IndexedDataset
from nar_asr_lobes.dataio.index.parts import PartRules
from nar_asr_lobes.dataio.index.rows import Corpora
from nar_asr_lobes.dataio.manifest import Utterance

SECONDS = [1.2, 0.3, 2.0, 0.9, 0.2, 1.5]  # 0.3 and 0.2 get silence
ORDERS = [[0, 2, 5], [2, 1, 4, 3], [4], [1, 4]]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    rows = []
    for number, seconds in enumerate(SECONDS):
        path = str(folder / f"{number}.wav")
        wav = rng.uniform(-0.5, 0.5, round(seconds * 16000))
        soundfile.write(path, wav, 16000, subtype="PCM_16")
        rows.append(Utterance(str(number), path, seconds))
    return rows


@pytest.fixture
def index(clips, tmp_path):
    build_index(clips, tmp_path, PartRules("/", shards=True))
    return tmp_path


def plan(orders):
    return StepPlan(0, tuple(tuple(Sample(i, i) for i in x) for x in orders))


def assert_equal(found, expected):
    assert [batch.ids for batch in found] == [batch.ids for batch in expected]
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one.wavs, two.wavs)
        assert torch.equal(one.samples, two.samples)
        assert one.seconds == two.seconds


@pytest.mark.parametrize("augment", [None, WaveAugment(noise_prob=0.5)])
def test_a_step_is_that_of_the_files(clips, index, augment):
    dataset = IndexedDataset(Corpora({"a": index}), augment=augment)
    files = SpeechDataset(clips, augment=augment)
    assert_equal(dataset[plan(ORDERS)], files[plan(ORDERS)])
    samples = plan(ORDERS).micro_batches[1]
    assert_equal([dataset.batch(samples)], [files.batch(samples)])


@pytest.mark.parametrize("damaged", [0, 2, 5])
def test_others_do_not_change_where_one_is_damaged(clips, index, damaged):
    corpora = Corpora({"a": index})
    row = corpora.parts["a"].rows[damaged]
    place = int(row["place"]) + int(row["size"]) // 2
    with open(index / "train-00000.tar", "r+b") as shard:
        shard.seek(place)
        shard.write(bytes(500))
    step = IndexedDataset(corpora)[plan(ORDERS)]
    orders = [[i for i in order if i != damaged] for order in ORDERS]
    assert_equal(step, SpeechDataset(clips)[plan(orders)])
    assert len(step.damaged) == sum(damaged in order for order in ORDERS)
