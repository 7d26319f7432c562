"""A run that stands still is ended, and the rank at fault is named."""

import logging
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from nar_asr_lobes.dataio.datasets import step_loader
from nar_asr_lobes.training.processes.heartbeat import (
    RESTART,
    SAVING,
    TRAINING,
    WAITING,
    Heartbeat,
    Record,
    diagnose,
)
from nar_asr_lobes.training.progress import Progress
from tests.training.ranks import PATIENCE
from tests.training.runs import make_brain, make_loader

STALL = 2.0
LOADER = "is stuck in its loader,"
STOPPED = "is dead or stopped, its last heartbeat came"


def record(rank, step=4, phase=TRAINING, idle=60.0, beats=9):
    return Record(rank, beats, step, phase, idle, f"process {rank} on a")


ALL_AT_WORK = [record(0), record(1), record(2)]
CASES = {
    "loader": (
        {1: {"phase": WAITING}},
        f"rank 1 \\(.*\\) {LOADER} after .* 4",
    ),
    "a step behind": ({2: {"step": 3, "phase": TRAINING}}, "rank 2 .* 3$"),
    "stopped": ({2: {"beats": 6}}, f"rank 2 .* {STOPPED} after step 4"),
    "stopped in its loader": (
        {0: {"beats": 6, "phase": WAITING}},
        f"rank 0 .* {STOPPED}",
    ),
    "ended": (
        {1: {"beats": 6, "phase": "ended by ValueError"}},
        "rank 1 .* ended by ValueError after step 4",
    ),
    "saving": (
        {rank: {"phase": SAVING} for rank in range(3)},
        "^rank 0 .* is stuck writing a checkpoint, after step 4$",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rank_that_others_wait_for_is_named(case):
    changes, expected = CASES[case]
    before = [replace(x, beats=6) for x in ALL_AT_WORK]
    now = [replace(x, **changes.get(x.rank, {})) for x in ALL_AT_WORK]
    sentence, speaker = diagnose(before, now, 60.0)
    assert re.search(expected, sentence)
    assert sentence.count("rank") == 1
    assert speaker == (case == "stopped in its loader")


def test_a_rank_that_never_came_is_named():
    now = [record(0), None]
    assert diagnose([record(0, beats=5), None], now, 60.0) == (
        "rank 1 has not begun to train",
        0,
    )


def test_a_rank_that_works_is_waited_for():
    """The others are idle, for a long step of one rank holds them up."""
    before = [record(0, beats=5), record(1, beats=5)]
    now = [record(0), record(1, idle=1.0)]
    assert diagnose(before, now, 60.0) is None
    now = [record(0), record(1, idle=1.0, beats=5)]  # stopped meanwhile
    assert diagnose(before, now, 60.0) is not None


def test_many_ranks_are_counted():
    before = [record(0, beats=5), *map(record, range(1, 64))]
    now = list(map(record, range(64)))
    sentence, speaker = diagnose(before, now, 60.0)
    assert "rank 8" in sentence and "rank 9" not in sentence
    assert sentence.endswith("and 55 more ranks") and speaker == 0


@pytest.fixture
def ends(monkeypatch):
    """The sentences that would have ended this process."""
    found = []

    def end(heart, sentence, speaks=True):
        assert speaks
        found.append(sentence)
        heart.left.set()

    monkeypatch.setattr(Heartbeat, "_end", end)
    return found


class StuckLoader:
    """Gives its steps until one comes only after the run has been ended."""

    def __init__(self, loader, ends, after):
        self.loader, self.ends, self.after = loader, ends, after
        self.sampler = loader.sampler

    def __iter__(self):
        for number, step in enumerate(self.loader):
            if number == self.after:
                while not self.ends:
                    time.sleep(0.01)
            yield step


def test_a_stuck_loader_ends_a_single_process(tmp_path, tone_clips, ends):
    brain = make_brain("pretrain", tmp_path, 6, stall_seconds=0.4)
    brain.fit(StuckLoader(make_loader("pretrain", tone_clips, 6), ends, 4))
    [told] = ends
    assert re.fullmatch(
        "no rank has made progress for 0 s: rank 0 \\(process \\d+ on .*\\) "
        "is stuck in its loader, after step [2-4]",
        told,
    )


def test_progress_within_a_step_keeps_a_run_alive(ends):
    with Heartbeat(Progress(), 0.4) as heart:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            time.sleep(0.01)
            heart.mark()
    assert not ends


@pytest.mark.parametrize("stall", [0.0, 60.0])
def test_no_thread_is_left(stall):
    before = set(threading.enumerate())
    with Heartbeat(Progress(), stall):
        pass
    assert set(threading.enumerate()) <= before


def test_a_killed_worker_is_told_in_a_sentence(tmp_path, tone_clips, ends):
    brain = make_brain("pretrain", tmp_path, 400)
    loader = make_loader("pretrain", tone_clips, 400)
    loader = step_loader(loader.dataset, loader.sampler, workers=1)
    make_step = brain.make_step

    def killing(*batches):
        if brain.progress.step == 2:
            [worker] = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGKILL)
        return make_step(*batches)

    brain.make_step = killing
    with pytest.raises((RuntimeError, ConnectionError, EOFError)):
        brain.fit(loader)  # would have ended
    [told] = ends
    assert "rank 0 (process " in told
    assert "a process that reads data was killed, as the system" in told


def rank_of(rank, folder, fault, store, faulty=1):
    """Make steps of one collective; after the third a rank has a fault."""
    logging.basicConfig(filename=f"{folder}/log_{rank}", force=True)
    dist.init_process_group(
        "gloo",
        store,
        timeout=PATIENCE,
        rank=rank,
        world_size=2,
    )
    progress = Progress()
    heart = Heartbeat(progress, STALL)

    def loader():
        for step in range(1000):
            if step == 3 and rank == faulty:
                time.sleep(3 * heart.every)
                fault(heart)
            yield step

    with heart:
        backend = dist.group.WORLD._get_backend(torch.device("cpu"))
        assert backend.options._timeout.total_seconds() == STALL + 60
        for _ in heart.watched(loader(), TRAINING):
            dist.all_reduce(torch.ones(1))
            progress.step += 1


def stop(heart):
    os.kill(os.getpid(), signal.SIGSTOP)


def die(heart):
    os.kill(os.getpid(), signal.SIGKILL)


def hang(heart):
    time.sleep(60)


def fail(heart):
    raise ValueError("a fault of one rank")


FAULTS = {
    stop: STOPPED,
    die: STOPPED,
    hang: LOADER,
    fail: "ended by ValueError",
}


def start_ranks(*arguments):
    """Start two processes of ``rank_of``."""
    context = multiprocessing.get_context("fork")
    ranks = [
        context.Process(target=rank_of, args=(rank, *arguments))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    return ranks


@pytest.mark.parametrize("fault", FAULTS, ids=lambda x: x.__name__)
def test_a_real_rank_at_fault_is_named_by_the_other(tmp_path, fault):
    ranks = start_ranks(tmp_path, fault, f"file://{tmp_path}/store")
    try:
        ranks[0].join(timeout=60)
        assert ranks[0].exitcode == RESTART
        [told] = (tmp_path / "log_0").read_text().splitlines()
        pid = ranks[1].pid
        assert f"rank 1 (process {pid} on " in told
        assert f"{FAULTS[fault]} after step 3; the same command" in told
        if fault is hang:
            ranks[1].join(timeout=60)
            assert ranks[1].exitcode == RESTART
            assert not (tmp_path / "log_1").read_text()
    finally:
        ranks[1].kill()
        for process in ranks:
            process.join()


@pytest.mark.parametrize("fault", [stop, die], ids=lambda x: x.__name__)
def test_a_rank_that_keeps_the_store_is_named(tmp_path, fault):
    """As where no launcher keeps it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        store = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    ranks = start_ranks(tmp_path, fault, store, 0)
    try:
        ranks[1].join(timeout=60)
        assert ranks[1].exitcode == RESTART
        [told] = (tmp_path / "log_1").read_text().splitlines()
        assert "or else rank 0, is dead or stopped (" in told
    finally:
        ranks[0].kill()
        for process in ranks:
            process.join()
