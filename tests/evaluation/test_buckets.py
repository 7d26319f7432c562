"""Buckets of utterances, and the measures they are made by."""

import logging
import math

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.manifest import Utterance, write_manifest
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.buckets import (
    EDGES,
    bucket_names,
    find_buckets,
    measure_utterances,
)
from nar_asr_lobes.evaluation.snr import estimate_snr
from nar_asr_lobes.evaluation.texts import read_texts


@pytest.mark.parametrize("measure", EDGES)
def test_each_value_is_in_the_bucket_that_names_it(measure):
    edges = EDGES[measure]
    values = [*np.linspace(edges[0] - 3, edges[-1] + 3, 40), *edges]
    names = bucket_names(measure)
    for value, name in zip(values, find_buckets(measure, values), strict=True):
        assert name in names
        if name.startswith("<"):
            assert value < float(name[2:])
        elif name.startswith(">="):
            assert value >= float(name[3:])
        else:
            low, high = name.split(" to < ")
            assert float(low) <= value < float(high)
    assert find_buckets(measure, [math.nan]) == ["unknown"]


@pytest.fixture
def manifest(tmp_path):
    """Two utterances in one file, the second with noise, and a missing one."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 32000) * np.repeat([1, 10], 16000)
    tone = np.sin(np.arange(32000.0)) * (np.arange(32000) % 16000 > 6000)
    soundfile.write(tmp_path / "a.wav", 0.3 * tone + noise, 16000)
    rows = [
        Utterance("u2", "a.wav", 1.0, "b", start=1.0),
        Utterance("u1", "a.wav", 1.0, "a", start=0.0),
        Utterance("u3", "no.wav", 1.0, "c"),
    ]
    path = tmp_path / "test.jsonl"
    write_manifest(path, rows, tmp_path)
    return path


def test_the_snr_is_that_of_the_audio_of_the_utterance(manifest, caplog):
    with caplog.at_level(logging.WARNING):
        found = measure_utterances(read_texts(manifest), "snr")
    wav, _ = soundfile.read(manifest.parent / "a.wav")
    wanted = [estimate_snr(wav[16000:]), estimate_snr(wav[:16000])]
    assert found[:2] == pytest.approx(wanted, abs=1e-3)
    assert found[1] > found[0] + 10
    assert math.isnan(found[2])
    assert "the SNR of 1 utterances is unknown" in caplog.text
    assert "no.wav" not in caplog.text


def test_durations_are_those_of_the_column(manifest):
    assert measure_utterances(read_texts(manifest), "duration") == [1.0] * 3


def test_a_column_goes_before_an_estimate(tmp_path):
    path = tmp_path / "ref.tsv"
    path.write_text("id\ttext\tsnr\nu1\ta\t3.5\nu2\tb\t\n", encoding="utf-8")
    first, second = measure_utterances(read_texts(path), "snr")
    assert first == 3.5 and math.isnan(second)


@pytest.mark.parametrize(
    ("table", "measure", "said"),
    [
        ("id\ttext\nu1\ta\n", "snr", "names no audio to estimate the SNR"),
        ("id\ttext\nu1\ta\n", "duration", "has no column 'duration'"),
        ("id\ttext\tduration\nu1\ta\tlong\n", "duration", "than numbers"),
    ],
)
def test_references_without_the_measure_are_refused(
    tmp_path, table, measure, said
):
    path = tmp_path / "ref.tsv"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        measure_utterances(read_texts(path), measure)
