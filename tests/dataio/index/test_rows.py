"""Rows find their utterances; files stay open within the system's limit."""

import os
import pickle
import resource

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.index import build, parts
from nar_asr_lobes.dataio.index.build import build_index
from nar_asr_lobes.dataio.index.parts import PartRules
from nar_asr_lobes.dataio.index.rows import (
    Corpora,
    SpeechIndex,
    make_rows,
    split_place,
)
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.errors import AudioError, UserError

SECONDS = [0.5, 0.75, 0.25, 1.0, 0.125]


@pytest.fixture
def rows(tmp_path):
    """Five utterances: one a stretch of its file, one with a transcript."""
    rng = np.random.default_rng(0)
    found = []
    for i, seconds in enumerate(SECONDS):
        path = tmp_path / "corpus" / f"{i}.wav"
        path.parent.mkdir(exist_ok=True)
        wav = rng.uniform(-0.5, 0.5, round(16000 * seconds) + 1600)
        soundfile.write(path, wav, 16000, "PCM_16")
        found.append(Utterance(f"u{i}", str(path), seconds + 0.1, text=None))
    found[1] = Utterance(
        "u1", found[1].audio, 0.75, start=0.05, groups={"a": "b"}
    )
    found[2] = Utterance("u2", found[2].audio, 0.35, text="ab", speaker="s")
    return found


def make(tmp_path, rows, name="index", **rules):
    rules = {"read": True, "shards": True} | rules
    folder = tmp_path / name
    root = str(tmp_path / "corpus")
    assert build_index(rows, folder, PartRules(root, **rules)) == []
    return folder


@pytest.mark.parametrize("shards", [True, False])
@pytest.mark.parametrize("per_part", [65536, 2])
def test_every_row_is_its_utterance(
    tmp_path, rows, shards, per_part, monkeypatch
):
    monkeypatch.setattr(build, "_MOST_ROWS", per_part)
    index = SpeechIndex(make(tmp_path, rows, shards=shards))
    assert len(index) == len(rows)
    assert len(index.header.files) == (1 if per_part > 2 else 3)
    index.require_files()
    for i, row in enumerate(rows):
        found, wav = index.read(i)
        for name in ("id", "text", "speaker", "groups", "duration"):
            assert getattr(found, name) == getattr(row, name)
        assert index.utterance(i).text == row.text
        audio, _ = soundfile.read(row.audio, dtype="float32")
        first = round((row.start or 0) * 16000)
        expected = audio[first : first + round(row.duration * 16000)]
        np.testing.assert_array_equal(wav, expected)
        assert index.seconds(np.array([i])) == len(wav) / 16000


def test_corpora_follow_one_another(tmp_path, rows):
    a = make(tmp_path, rows[:2], "a")
    b = make(tmp_path, rows, "b", shards=False)
    corpora = Corpora({"a": a, "b": b})
    assert len(corpora) == 7 and corpora.sizes == [2, 5]
    ids = [corpora.read(i)[0].id for i in range(7)]
    assert ids == ["u0", "u1", "u0", "u1", "u2", "u3", "u4"]
    order = np.array([6, 0, 2, 1])
    expected = [rows[i].duration for i in (4, 0, 0, 1)]
    np.testing.assert_allclose(corpora[order], expected)


def test_places_reach_a_terabyte_and_millions_of_files():
    rows = make_rows(np.array([5]), np.array([9]), 2**23 - 1, 2**40 - 10)
    number, offset = split_place(rows["place"])
    assert (number[0], offset[0]) == (2**23 - 1, 2**40 - 10)


def test_few_files_are_open_where_the_system_allows_few(
    tmp_path, rows, monkeypatch
):
    monkeypatch.setattr(build, "_MOST_ROWS", 1)
    limits = (130, 130)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    index = SpeechIndex(make(tmp_path, rows))
    before = len(os.listdir("/proc/self/fd"))
    for i in (0, 1, 2, 3, 4, 0, 4):
        assert index.read(i)[0].id == f"u{i}"
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_it_can_be_sent_to_another_process(tmp_path, rows):
    index = SpeechIndex(make(tmp_path, rows))
    index.read(0)
    copy = pickle.loads(pickle.dumps(index))
    assert copy.read(3)[0].id == "u3"


def test_another_utterance_at_its_place_is_refused(tmp_path, rows):
    """Where a shard was made again beside an old file of rows."""
    index = SpeechIndex(make(tmp_path, rows))
    changed = np.array(index.rows)
    changed["place"][[0, 1]] = changed["place"][[1, 0]]
    changed["size"][[0, 1]] = changed["size"][[1, 0]]
    changed.tofile(tmp_path / "index" / "train.rows")
    with pytest.raises(AudioError, match="byte .* is damaged"):
        SpeechIndex(tmp_path / "index").read(0)


def test_a_file_that_goes_away_is_an_audio_error(tmp_path, rows):
    index = SpeechIndex(make(tmp_path, rows))
    (tmp_path / "index" / "train-00000.tar").unlink()
    with pytest.raises(AudioError, match="cannot be read"):
        index.read(0)


def test_no_usable_utterance_is_refused(tmp_path):
    rules = PartRules(str(tmp_path), max_seconds=1.0, read=False)
    with pytest.raises(UserError, match="no utterance .* is usable"):
        build_index([Utterance("u", "u.wav", 2.0)], tmp_path / "x", rules)


def test_two_processes_make_what_one_makes(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(build, "_MOST_ROWS", 2)
    one = make(tmp_path, rows, "one")
    rules = PartRules(str(tmp_path / "corpus"), shards=True)
    build_index(rows, tmp_path / "two", rules, processes=2)
    for path in one.glob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_stopped_work_goes_on(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(build, "_MOST_ROWS", 2)
    made, write = [], parts._write

    def failing(job, *arguments):
        if job.number == 2 and len(made) == 2:
            made.append("stop")
            raise KeyboardInterrupt
        made.append(job.number)
        return write(job, *arguments)

    monkeypatch.setattr(parts, "_write", failing)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, rows)
    with pytest.raises(UserError, match="there is no index"):
        SpeechIndex(tmp_path / "index")
    index = SpeechIndex(make(tmp_path, rows))
    assert made == [0, 1, "stop", 2]
    assert [index.read(i)[0].id for i in range(5)] == [x.id for x in rows]
