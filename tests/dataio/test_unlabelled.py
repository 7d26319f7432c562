"""Folders of recordings of any length: nothing lost, nothing copied."""

import os

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.batching import Sample
from nar_asr_lobes.dataio.checks import check_utterances
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.manifest import Utterance, read_manifest
from nar_asr_lobes.dataio.prepare import prepare_manifests
from nar_asr_lobes.dataio.unlabelled import (
    cut_long,
    measure_files,
    visible_files,
)
from tests.recipes.running import call
from tests.training.tiny_recipe import make_corpus, prepare, write_yamls

RATE = 16000


def record(path, seconds, rate=RATE, channels=1):
    """Write syllables of noise with pauses between them."""
    rng = np.random.default_rng(int(seconds * 10))
    wav = 0.1 * rng.standard_normal((round(seconds * rate), channels))
    wav *= np.sin(np.arange(len(wav)) / rate * 4)[:, None] > -0.7
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, rate)
    return path


@pytest.fixture
def books(tmp_path):
    """Two books with equal names, hidden files, one damaged file."""
    record(tmp_path / "one" / "01.flac", 7.3)
    record(tmp_path / "deep" / "er" / "one" / "01.WAV", 1.5, 8000, 2)
    record(tmp_path / "two" / "01.flac", 6.7, 22050)
    cut = tmp_path / "two" / "02.flac"
    record(cut, 9)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (tmp_path / "two" / "03.flac").write_bytes(b"no sound" * 50)
    (tmp_path / "one" / "._01.flac").write_bytes(b"\0\5\26\7" * 50)
    record(tmp_path / ".Trashes" / "09.flac", 1)
    (tmp_path / "one" / "notes.txt").write_text("not audio")
    return tmp_path


def test_hidden_files_and_folders_are_passed_over(books):
    found = [p.relative_to(books).as_posix() for p in visible_files(books)]
    assert found == [
        "deep/er/one/01.WAV",
        "one/01.flac",
        "two/01.flac",
        "two/02.flac",
        "two/03.flac",
    ]
    assert [p.name for p in visible_files(books, [".txt"])] == ["notes.txt"]


def test_ids_are_paths_and_what_cannot_be_read_is_named(books, caplog):
    rows = measure_files(visible_files(books), books)
    assert [(u.id, u.duration) for u in rows] == [
        ("deep/er/one/01", 1.5),
        ("one/01", 7.3),
        ("two/01", 6.7),
        ("two/02", 9.0),  # its header is whole
    ]
    assert "1 utterance has faults" in caplog.text
    assert "(two/03)" in caplog.text


def test_a_name_that_is_no_text_is_named(tmp_path, caplog):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system takes names of UTF-8 only")
    assert measure_files(visible_files(tmp_path), tmp_path) == []
    assert "has a name that is not UTF-8 ('caf\\udce9')" in caplog.text


def test_stretches_cover_a_long_file_and_do_not_overlap(books, caplog):
    rows = measure_files(visible_files(books), books)
    files = os.listdir(books / "one")
    cut = cut_long(rows, 3, books)
    assert os.listdir(books / "one") == files
    assert cut[0] == rows[0]  # short enough
    assert "two/02" in caplog.text  # damaged behind its header: left out
    for whole in rows[1:3]:
        pieces = [u for u in cut if u.audio == whole.audio]
        assert len(pieces) >= 3
        assert {u.id for u in pieces} == {
            f"{whole.id}-{u.start:.2f}" for u in pieces
        }
        wavs = [read_audio(u.audio, **u.stretch) for u in pieces]
        assert [len(wav) / RATE for wav in wavs] == [u.duration for u in pieces]
        assert all(0.3 <= u.duration <= 3 for u in pieces)
        np.testing.assert_allclose(
            np.concatenate(wavs), read_audio(whole.audio), atol=1e-4
        )
    assert check_utterances(cut, max_seconds=3, read=True) == (cut, [])


def test_a_dataset_reads_the_stretch_only(books):
    row = Utterance("a", str(books / "one" / "01.flac"), 1.5, start=2.25)
    whole = read_audio(row.audio)
    for cache in (False, True):
        dataset = SpeechDataset([row], cache=cache)
        batch = dataset.batch([Sample(0, 0)])
        np.testing.assert_allclose(
            batch.wavs[0], whole[36000:60000], atol=1 / 32767
        )


def test_only_splits_without_transcripts_are_cut(books):
    audio = "one/01.flac"
    splits = {
        "pool": [Utterance("a", audio, 7.3), Utterance("b", "b.flac", 1.0)],
        "dev": [Utterance("a", audio, 7.3, "x"), Utterance("b", audio, 7.3)],
    }
    paths = prepare_manifests(splits, books / "save", books, max_seconds=3)
    pool = read_manifest(paths["pool"])
    assert len(pool) >= 4 and pool[-1].start is None
    assert {u.audio for u in pool[:-1]} == {str(books / audio)}
    assert [u.start for u in read_manifest(paths["dev"])] == [None, None]


def test_nothing_is_cut_into_stretches_below_two_seconds(books):
    rows = [Utterance("a", "one/01.flac", 7.3)]
    assert cut_long(rows, 1.5, books) == rows


def test_one_long_recording_is_a_pool_to_train_on(tmp_path, monkeypatch):
    monkeypatch.chdir(write_yamls(tmp_path))
    data = make_corpus(tmp_path / "data")
    record(data / "chapter.flac", 14.5)

    def pool_of_one(data_folder):
        files = [data / "chapter.flac"]
        pool = measure_files(files, data_folder)
        return {"train": pool, "dev": prepare(data_folder)["dev"]}

    outcome = call(
        [
            tmp_path / "pretrain.yaml",
            f"--data_folder={data}",
            f"--output_folder={tmp_path / 'out'}",
        ],
        pool_of_one,
    )
    assert outcome.code == 0, outcome.err
    rows = read_manifest(tmp_path / "out" / "checked" / "train.jsonl")
    assert sum(u.duration for u in rows) == 14.5
    assert (tmp_path / "out" / "left_out.txt").read_text() == ""
