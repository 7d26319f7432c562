"""A checkpoint is there whole or not at all, and damage is noticed."""

import io
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.checkpoint import (
    MAY_CHANGE,
    CheckpointFolder,
    _set_random_state,
    random_state,
    seed_random,
)

SIZE = 30_000


def parts(step):
    """The content of this step's checkpoint: numbers that tell the step."""
    return {
        "model": {"w": torch.full((SIZE,), float(step)), "b": torch.ones(3)},
        "optimizer": {"state": {0: {"step": torch.tensor(float(step))}}},
        "random": [torch.get_rng_state()],
    }


def assert_whole(checkpoint):
    """Its parts are those of its step."""
    model = checkpoint.load("model")
    assert (model["w"] == checkpoint.step).all() and len(model["w"]) == SIZE
    state = checkpoint.load("optimizer")["state"][0]
    assert state["step"] == checkpoint.step
    assert checkpoint.metadata == {"score": 1.0 / checkpoint.step}
    assert torch.is_tensor(checkpoint.load("random")[0])


def save(folder, step):
    return folder.save(step, parts(step), {"score": 1.0 / step})


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "checkpoints")


def names(folder):
    return sorted(path.name for path in folder.folder.iterdir())


def test_what_was_saved_is_loaded(folder):
    assert folder.newest() is None and folder.best() is None
    path = save(folder, 3)
    newest = folder.newest()
    assert newest.path == path and newest.step == 3
    assert_whole(newest)


def test_the_newest_and_the_best_are_kept(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    scores = {1: 0.5, 2: 0.2, 3: 0.4, 4: 0.3, 5: 0.25}
    for step, score in scores.items():
        folder.save(step, parts(step), {"score": score})
    assert names(folder) == ["step_00000002", "step_00000004", "step_00000005"]
    assert folder.best().step == 2
    assert folder.newest().step == 5
    folder.save(6, parts(6), {"score": 0.1})
    assert names(folder) == ["step_00000005", "step_00000006"]


def test_facts_are_read_without_the_other_files(folder):
    assert folder.metadata() is None
    for step in (1, 2):
        folder.save(step, parts(step), {"step": step})
    for file in folder.folder.glob("*/*.pt"):
        file.unlink()
    assert folder.metadata() == {"step": 2}
    (folder.folder / "step_00000002" / "checkpoint.json").write_text("{}")
    assert folder.metadata() == {"step": 1}


def test_a_tie_goes_to_the_newer(folder):
    for step in (1, 2):
        folder.save(step, parts(step), {"score": 0.5})
    assert folder.best().step == 2


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_never_the_best(folder, score):
    folder.save(1, parts(1), {"score": 0.9})
    folder.save(2, parts(2), {"score": score})
    folder.save(3, parts(3), {})  # not validated
    assert folder.best().step == 1


def test_a_step_can_be_saved_again(folder):
    save(folder, 1)
    broken = save(folder, 2)
    (broken / "model.pt").unlink()
    save(folder, 2)
    assert folder.newest().step == 2
    assert_whole(folder.newest())


def flip(path, place=None, bit=3):
    data = bytearray(path.read_bytes())
    place = len(data) // 2 if place is None else place
    data[place] ^= 1 << bit
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "flipped bit": lambda path: flip(path / "model.pt"),
    "flipped bit of the optimiser": lambda path: flip(path / "optimizer.pt"),
    "truncated file": lambda path: cut(path / "model.pt"),
    "empty file": lambda path: (path / "random.pt").write_bytes(b""),
    "missing file": lambda path: (path / "random.pt").unlink(),
    "half of the json": lambda path: cut(path / "checkpoint.json"),
    "no json": lambda path: (path / "checkpoint.json").unlink(),
    "another json": lambda path: (path / "checkpoint.json").write_text("[1]"),
    "not even text": lambda path: (path / "checkpoint.json").write_bytes(
        b"\xff\xfe\x00"
    ),
    "empty directory": lambda path: [f.unlink() for f in path.iterdir()],
    "a file in its place": lambda path: (
        shutil.rmtree(path),
        path.write_text("x"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_passed_over_with_a_warning(folder, damage, caplog):
    for step in (1, 2):
        newest = save(folder, step)
    DAMAGES[damage](newest)
    with caplog.at_level(logging.WARNING):
        checkpoint = folder.newest()
    assert checkpoint.step == 1
    assert_whole(checkpoint)
    assert folder.best().step == 1
    warnings = [r.getMessage() for r in caplog.records]
    assert "step_00000002 is damaged" in warnings[0]
    assert "the one before it is used" in warnings[0]
    save(folder, 3)
    assert folder.newest().step == 3


def test_no_flipped_bit_of_the_json_goes_unnoticed(folder):
    save(folder, 1)
    meta = save(folder, 2) / "checkpoint.json"
    whole = meta.read_bytes()
    for place in range(len(whole)):
        flip(meta, place, bit=place % 7)
        checkpoint = folder.newest()
        assert checkpoint.step == 1, whole[max(0, place - 20) : place + 20]
        meta.write_bytes(whole)
    assert folder.newest().step == 2


def test_nothing_whole_is_nothing(folder, caplog):
    cut(save(folder, 1) / "model.pt")
    assert folder.newest() is None
    assert folder.best() is None
    assert "is damaged" in caplog.text


def child(work, *arguments):
    """Start a process that shares nothing but the disk from here on."""
    process = multiprocessing.get_context("fork").Process(
        target=work, args=arguments
    )
    process.start()
    return process


def save_for_ever(folder, first):
    for step in range(first, 1_000_000):
        save(folder, step)


def test_kill_9_at_random_moments_leaves_a_whole_checkpoint(folder):
    rng = random.Random(0)
    save(folder, 1)
    reached, kills, cut_short, longest = 1, 0, 0, 0.01
    while (kills < 25 or not (reached > 1 and cut_short)) and kills < 100:
        process = child(save_for_ever, folder, reached + 1)
        time.sleep(rng.uniform(0, longest))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        newest = folder.newest()
        assert newest.step >= reached
        assert_whole(newest)
        if newest.step == reached:  # no save came to its end on this disk
            longest *= 1.3
        reached, kills = newest.step, kills + 1
        cut_short += any(name.startswith(".step") for name in names(folder))
    assert reached > 1
    assert cut_short > 0
    save(folder, reached + 1)
    assert len(names(folder)) == 2  # the next save clears what was left


DISK = [(os, "fsync"), (os, "rename"), (os, "open"), (shutil, "rmtree")]
DISK += [(torch, "save"), (json, "dumps")]


def save_until(folder, step, deadline):
    """Save once; die of kill -9 before or after some call to the disk."""
    calls = 0

    def dying(call):
        def counted(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == 2 * deadline + 1:
                os.kill(os.getpid(), signal.SIGKILL)
            value = call(*arguments, **options)
            if calls == 2 * deadline + 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        return counted

    for module, name in DISK:
        setattr(module, name, dying(getattr(module, name)))
    save(folder, step)


def test_kill_9_at_every_call_of_a_save_leaves_a_whole_checkpoint(folder):
    for step in (1, 2, 3):
        save(folder, step)
    killed, step = 0, 4
    while True:
        process = child(save_until, folder, step, killed)
        process.join()
        newest = folder.newest()
        assert_whole(newest)
        assert newest.step in (step - 1, step)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        step = newest.step + 1
    assert killed >= 7
    assert newest.step == step


def test_everything_is_on_disk_before_the_name_is_given(folder, monkeypatch):
    """A power cut would lose the files that fsync was not called for."""
    flushed, rename, fsync = set(), os.rename, os.fsync

    def checked_rename(source, target):
        for path in (source, *source.iterdir()):
            assert path.stat().st_ino in flushed, path
        flushed.clear()
        rename(source, target)

    def noted_fsync(descriptor):
        fsync(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "rename", checked_rename)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    save(folder, 1)
    assert folder.folder.stat().st_ino in flushed


def test_loading_runs_no_code(folder, tmp_path):
    """A checkpoint of somebody else's, with a pickled call in it."""

    class Call:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    folder.save(1, {"model": Call()}, {})
    with pytest.raises(Exception, match="[Ww]eights"):
        folder.newest().load("model")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("[enforce fail at inline_container.cc]"), "a write fail"),
    ],
)
def test_a_failed_save_is_told_and_leaves_nothing(
    folder, monkeypatch, error, reason
):
    def fail(value, file):
        file.write(b"half")
        raise error

    save(folder, 1)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        with pytest.raises(UserError, match=rf"step_0*2: cannot .* \({reason}"):
            save(folder, 2)
    assert names(folder) == ["step_00000001"]
    assert_whole(folder.newest())


def test_the_reason_is_the_systems_though_torch_has_another(
    folder, monkeypatch
):
    class FullFile(io.BytesIO):
        def write(self, content):
            raise OSError(28, "No space left on device")

    save(folder, 1)
    with monkeypatch.context() as patch:
        real = torch.save
        patch.setattr(torch, "save", lambda value, _: real(value, FullFile()))
        with pytest.raises(UserError, match=r"\(No space .* free on that disk"):
            save(folder, 2)
    assert_whole(folder.newest())


def test_a_noted_fact_may_be_another(folder, caplog):
    folder.save(1, parts(1), {MAY_CHANGE: {"precision": "fp32", "clip": 1.0}})
    folder.newest().require({MAY_CHANGE: {"precision": "bf16", "clip": 1.0}})
    [record] = caplog.records
    told = "step_00000001: was made with precision fp32; from here on it is bf"
    assert told in record.getMessage()


def test_a_fact_that_is_another_is_named_and_only_that(folder):
    save_metadata = {
        "seed": 1,
        "model": {"heads": 2, "d_model": 8, "taps": [1]},
    }
    folder.save(1, parts(1), save_metadata)
    newest = folder.newest()
    newest.require({"seed": 1})
    with pytest.raises(UserError, match="made with seed 1, now it is 2; give"):
        newest.require({"seed": 2})
    other = {"model": {"heads": 4, "d_model": 8, "taps": [1]}}
    with pytest.raises(
        UserError, match="with model {'heads': 2}, now it is {'heads': 4}; gi"
    ):
        newest.require(other)
    with pytest.raises(UserError, match="with init_from None, now it is a"):
        newest.require({"init_from": "a"})


def draw():
    return random.random(), np.random.random(), torch.rand(1).item()


def test_a_seed_is_that_of_all_streams():
    """A run that was killed before its first checkpoint begins as before."""
    drawn = []
    for seed in (2**40, 7, 2**40):
        seed_random(seed)
        drawn.append(draw())
    assert drawn[0] == drawn[2]
    assert all(x != y for x, y in zip(*drawn[:2], strict=True))


def test_random_streams_go_on_where_they_were(tmp_path):
    torch.save(random_state(), tmp_path / "random.pt")
    first = draw()
    assert draw() != first
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    _set_random_state(torch.load(tmp_path / "random.pt", weights_only=True))
    assert draw() == first
