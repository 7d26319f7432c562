"""A run on an index is that on the data folder; faults of indexes are named."""

import errno
import json
import os
import tempfile
from functools import partial

import pytest
import torch

from nar_asr_lobes.dataio.index import parts
from nar_asr_lobes.dataio.index.rows import INDEX_FILE, ROWS_FILE
from nar_asr_lobes.training.data.make_index import make_index
from nar_asr_lobes.training.run import main
from tests.training.tiny_recipe import (
    copy_of,
    edit_row,
    prepare,
    run_tiny,
)

SHARD = "train-00000.tar"


def index(folder, task="pretrain", name="index", shards=True, options=()):
    """Run ``nar-asr index``; give the exit status."""
    arguments = [
        str(folder / f"{task}.yaml"),
        f"--data_folder={folder / 'data'}",
        f"--output_folder={folder / name}",
        "--device=cpu",
        *options,
    ]
    work = partial(make_index, processes=1, shards=shards)
    return main(arguments, prepare, work)


def run_on(folder, task="pretrain", data="", options=()):
    """Run a task on the index."""
    text = f"--data={{index: {{tiny: {folder / 'index'}}}{data}}}"
    return run_tiny(folder, task, text, *options)


@pytest.fixture
def place(finished, tmp_path):
    """A folder with YAMLs, ``data`` and ``index``."""
    folder = copy_of(finished, tmp_path)
    assert index(folder) == 0
    return folder


def last_weights(output):
    (path,) = sorted((output / "checkpoints").glob("step_*"))[-1:]
    return torch.load(path / "model.pt", weights_only=True)


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
@pytest.mark.parametrize("shards", [True, False])
def test_a_run_on_an_index_equals_that_on_the_folder(
    finished, tmp_path, task, shards
):
    folder = copy_of(finished, tmp_path)
    assert index(folder, task, shards=shards) == 0
    for name in ("train-00000.tar", "train-00000.jsonl"):
        assert (folder / "index" / name).is_file() == (
            shards == (".tar" in name)
        )
    outcome = run_on(folder, task)
    assert outcome.code == 0, outcome.err
    expected = last_weights(finished / task)
    found = last_weights(folder / "out")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_url_is_read_like_a_folder(finished, place, monkeypatch):
    import fsspec

    system = fsspec.filesystem("memory")
    system.put(str(place / "index"), "/bucket/index", recursive=True)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    outcome = run_tiny(
        place, "pretrain", "--data={index: {tiny: memory://bucket/index}}"
    )
    assert outcome.code == 0, outcome.err
    expected, found = map(last_weights, (finished / "pretrain", place / "out"))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    system.rm(f"/bucket/index/{SHARD}")
    outcome = run_tiny(
        place, "pretrain", "--data={index: {tiny: memory://bucket/index}}"
    )
    assert f"memory://bucket/index/{SHARD}: is missing" in outcome.err


def test_corpora_are_mixed_by_weights(place):
    assert index(place, name="second", shards=False) == 0
    both = f"--data={{index: {{a: {place / 'index'}, b: {place / 'second'}}}"
    outcome = run_tiny(place, "pretrain", both + ", weights: {a: 1, b: 3}}")
    assert outcome.code == 0, outcome.err
    dev = (place / "out" / "manifests" / "dev.jsonl").read_text()
    assert dev.count('"id": "a-dev') == dev.count('"id": "b-dev') == 3
    outcome = run_tiny(place, "pretrain", both + ", weights: {a: 1, c: 3}}")
    assert outcome.code == 2
    assert "data.weights are for a, c, but data.index has a, b" in outcome.err


def test_only_what_changed_is_indexed_again(place):
    shard = place / "index" / SHARD
    before, content = os.stat(shard).st_mtime_ns, shard.read_bytes()
    assert index(place) == 0
    assert os.stat(shard).st_mtime_ns == before
    (wav,) = place.glob("data/**/train3.*")
    os.utime(wav, ns=(1, 1))
    assert index(place) == 0
    assert os.stat(shard).st_mtime_ns != before
    assert shard.read_bytes() == content


def test_other_data_are_refused_on_resume(place):
    assert run_on(place, options=["--steps=2"]).code == 0
    edit_row(place / "data", "train3", 4, "0.9")
    assert index(place) == 0
    outcome = run_on(place)
    assert outcome.code == 2
    assert "split 'train' is not what this run was started with" in outcome.err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x: (x / SHARD).unlink(), f"{SHARD}: is missing; copy it"),
        (lambda x: os.truncate(x / SHARD, 5000), "has 5000 bytes instead of"),
        (lambda x: os.truncate(x / ROWS_FILE, 17), "has 17 bytes instead of"),
        (
            lambda x: (x / INDEX_FILE).unlink(),
            "there is no index; make it again",
        ),
        (
            lambda x: (x / INDEX_FILE).write_text('{"version": 7}'),
            "is of version 7, not 1; make it again with nar-asr index",
        ),
        (lambda x: (x / INDEX_FILE).write_text("{"), "cannot be read; make it"),
        (
            lambda x: (x / "manifests" / "dev.jsonl").unlink(),
            "was made without the split 'dev'",
        ),
    ],
)
def test_a_faulty_index_gets_a_sentence(place, damage, message):
    damage(place / "index")
    outcome = run_on(place)
    assert outcome.code == 2
    assert message in outcome.err and "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("task", "data", "option", "message"),
    [
        ("pretrain", ", sorted_epochs: 1", "--seed=1", "data.sorted_epochs is"),
        ("pretrain", "", "--train_share=0.5", "train_share is for sets that"),
        ("evaluate", "", "--seed=1", "data.index is for training, not for"),
    ],
)
def test_options_that_need_a_list_are_refused(
    finished, place, task, data, option, message
):
    bundle = f"--bundle={finished / 'finetune' / 'bundle'}"
    options = [option, *[bundle] * (task == "evaluate")]
    outcome = run_on(place, task, data, options)
    assert outcome.code == 2
    assert message in outcome.err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{index: x}", "data: index is 'x'; give keys with values"),
        ("{index: {a: 5}}", "data: index: a is 5; give a folder"),
        ("{weights: {a: x}}", "data: weights: a is 'x'; it must be a finite"),
        ("{weights: {a: -1}}", "data: weights: a is -1; it must be a finite"),
        ("{index: {a: foo://x}}", "foo://x: cannot be read (Protocol not"),
    ],
)
def test_values_of_other_kinds_are_refused(place, data, message):
    outcome = run_tiny(place, "pretrain", f"--data={data}")
    assert outcome.code == 2
    assert message in outcome.err and "Traceback" not in outcome.err


def test_a_file_of_another_length_is_left_out(place):
    edit_row(place / "data", "train3", 4, "0.4")
    assert index(place, options=["--data={check_audio: False}"]) == 0
    lines = (place / "index" / "left_out.txt").read_text()
    assert "is not as long as its manifest says" in lines


def test_fewer_utterances_than_a_step_are_refused(place):
    outcome = run_on(place, options=["--global_batch=11"])
    assert outcome.code == 2
    assert "has 10 utterances, fewer than a step (11)" in outcome.err


def test_a_full_disk_gets_a_sentence(place, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(parts, "pack", full)
    assert index(place, name="other") == 2
    message = capsys.readouterr().err
    assert f"{SHARD}: cannot be written (No space left on device" in message
    assert "free on that disk" in message and "Traceback" not in message


def flip(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 255]))


def test_a_damaged_utterance_is_left_out_and_named(place):
    shard = place / "index" / SHARD
    flip(shard, shard.stat().st_size // 2)
    outcome = run_on(place, options=["--steps=6"])
    assert outcome.code == 0, outcome.err
    lines = (place / "out" / "damaged.txt").read_text().splitlines()
    assert 1 <= len(lines) <= 6
    assert all(f"{SHARD}: byte " in line for line in lines)
    (place / "out" / "damaged.txt").unlink()
    outcome = run_on(place, data=", max_damaged: 0", options=["--steps=6"])
    assert outcome.code == 0  # the run is over
    outcome = run_on(
        place,
        data=", max_damaged: 0",
        options=["--steps=6", f"--output_folder={place / 'new'}"],
    )
    assert outcome.code == 2
    assert "more than data.max_damaged allows (0)" in outcome.err


def test_only_data_to_train_on_are_indexed(finished, place, capsys):
    bundle = f"--bundle={finished / 'finetune' / 'bundle'}"
    assert index(place, "evaluate", options=[bundle]) == 2
    message = capsys.readouterr().err
    assert "an index is for training, not for evaluate" in message


def test_a_repeated_id_is_refused(place, capsys):
    table = place / "data" / "utterances.tsv"
    table.write_text(table.read_text().replace("train4\t", "train3\t"))
    assert index(place) == 2
    message = capsys.readouterr().err
    assert f"{SHARD}: utterance 4 has an id that stands twice" in message
    assert f"{SHARD}: utterance 5 has an id that stands twice" in message
    assert not (place / "index" / INDEX_FILE).exists()


def test_what_is_left_out_is_named(place):
    (wav,) = place.glob("data/**/train3.*")
    os.truncate(wav, 60)
    assert index(place) == 0
    header = json.loads((place / "index" / INDEX_FILE).read_text())
    assert header["rows"] == 9
    assert "train3" in (place / "index" / "left_out.txt").read_text()
