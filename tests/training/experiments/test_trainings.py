"""Trainings as child processes: their order, and so many at a time."""

import threading
import time
from unittest import mock

import pytest

from nar_asr_lobes.training.experiments import trainings


def make_training(folder, *after):
    return trainings.Training(folder, "a.yaml", (), "done", after)


def test_trainings_wait_for_those_they_need(tmp_path):
    """Those that need one that failed are not run; the others are."""
    one, bad = (make_training(tmp_path / name) for name in ("one", "bad"))
    two, lost = (
        make_training(tmp_path / name, needed)
        for name, needed in (("two", one), ("lost", bad))
    )
    last = make_training(tmp_path / "last", two, one)
    begun = []

    def run(training):
        assert all(other.folder.name in begun for other in training.after)
        begun.append(training.folder.name)
        return training is not bad

    order = trainings.in_order([last, lost])
    with mock.patch.object(trainings.Training, "run", run):
        done = trainings.run_all(order, 2)
    found = dict(zip((x.folder.name for x in order), done, strict=True))
    assert found == {
        "one": True,
        "two": True,
        "last": True,
        "bad": False,
        "lost": False,
    }
    assert "lost" not in begun and len(begun) == 4


def test_so_many_train_at_a_time(tmp_path):
    running, most = set(), []
    lock = threading.Lock()

    def run(training):
        with lock:
            running.add(training.folder)
            most.append(len(running))
        time.sleep(0.02)
        with lock:
            running.remove(training.folder)
        return True

    order = [make_training(tmp_path / str(number)) for number in range(6)]
    with mock.patch.object(trainings.Training, "run", run):
        assert all(trainings.run_all(order, 2))
    assert max(most) == 2


def test_nothing_is_begun_after_ctrl_c(tmp_path):
    begun = []

    def run(training):
        begun.append(training)
        raise KeyboardInterrupt

    order = [make_training(tmp_path / str(number)) for number in range(4)]
    with (
        mock.patch.object(trainings.Training, "run", run),
        pytest.raises(KeyboardInterrupt),
    ):
        trainings.run_all(order, 1)
    assert len(begun) < 4
