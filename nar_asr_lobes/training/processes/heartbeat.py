"""A heartbeat of each rank; a run that stands still is ended in a sentence.

thread of each rank -> record of step and phase -> store of the process group
no rank makes progress -> the ranks at fault -> one sentence -> status 138

The store needs no file system, for one that hangs is a reason to stand still.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from types import TracebackType
from typing import TypeVar

import torch.distributed as dist
from torch.distributed import distributed_c10d

from nar_asr_lobes.distributed import world
from nar_asr_lobes.training.progress import Progress

logger = logging.getLogger(__name__)
RESTART = 128 + signal.SIGUSR1
"""Exit status that asks the launcher to start the same command again."""

WAITING, VALIDATING, SAVING, TRAINING = "data", "validation", "save", "step"
_STUCK = {  # from the rank that others wait for to one that waits for others
    WAITING: "is stuck in its loader",
    VALIDATING: "is stuck in the validation",
    SAVING: "is stuck writing a checkpoint",  # rank 0, for all others
    TRAINING: "is stuck in the step, in a collective or on its device",
}
_ENDED = "ended by "
_ROUNDS = 3  # beats that a living rank does not miss
_LOST = 10  # beats in a row that the store fails
_MARGIN = 60.0  # s by which a collective outlasts a stall: the sentence first
_LOG_SECONDS = 10.0  # for the sentence, where the log's file system hangs
_MOST = 8  # ranks that are named
Item = TypeVar("Item")


@dataclass(frozen=True)
class Record:
    """State of a rank; ``idle`` is its seconds without progress."""

    rank: int
    beats: int
    step: int
    phase: str
    idle: float
    place: str


class Heartbeat:
    """Beat in a thread while the body trains, and watch all ranks.

    Arguments
    ---------
    progress : Progress
        The run's; its step is told to the other ranks.
    stall_seconds : float
        Time without progress on any rank after which the run is ended; 0
        switches that off. Collective operations then time out a minute later.
    """

    def __init__(self, progress: Progress, stall_seconds: float):
        self.progress, self.stall = progress, stall_seconds
        self.every = min(1.0, stall_seconds / 20)
        self.rank, self.ranks = world()
        self.place = f"process {os.getpid()} on {socket.gethostname()}"
        self.phase, self.idle, self.beats = WAITING, 0.0, 0
        self.seen: list[list[Record | None]] = []  # since no rank moves

    def mark(self, phase: str | None = None) -> None:
        """Note that this rank makes progress, and perhaps its new phase."""
        self.phase, self.idle = phase or self.phase, 0.0

    def watched(self, items: Iterable[Item], phase: str) -> Iterator[Item]:
        """Yield items; note the wait for each, and the phase that uses it."""
        self.mark(WAITING)
        for item in items:
            self.mark(phase)
            yield item
            self.mark(WAITING)
        self.mark(phase)

    def __enter__(self) -> Heartbeat:
        """Start the thread."""
        if not self.stall:
            return self
        if self.ranks > 1:
            limit = timedelta(seconds=self.stall + _MARGIN)
            distributed_c10d._set_pg_timeout(limit)
            # A connection of its own: the main thread may wait on the other.
            store = distributed_c10d._get_default_store().clone()
        else:
            store = dist.HashStore()
        self.store = dist.PrefixStore("heartbeat", store)
        self.mark()
        self.left = threading.Event()
        self._send()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the thread; name the rank or worker whose end is the error."""
        if not self.stall:
            return
        if self.ranks > 1 and _is_collective(error):
            self._explain()
        self.left.set()
        self.thread.join()
        killed = self._is_of_worker(error)
        if isinstance(error, Exception):
            self.phase = f"{_ENDED}{kind.__name__}"
            self._send()
        if killed:  # at once: a collective under way would hold this rank
            self._end(
                f"rank {self.rank} ({self.place}): a process that reads data "
                "was killed, as the system does where memory runs out; lower "
                "data.workers or free memory"
            )

    def _is_of_worker(self, error: BaseException | None) -> bool:
        """Tell whether a process that reads data was killed.

        Its end is told by a signal, or first by its pipe.
        """
        broken = isinstance(error, (ConnectionError, EOFError))
        return "DataLoader worker" in str(error) or (
            broken and self.phase == WAITING
        )

    def _run(self) -> None:
        failures = 0
        while not self.left.wait(self.every):
            try:
                with self._patience() if self.ranks > 1 else nullcontext():
                    self._beat()
                failures = 0
            except RuntimeError as error:
                failures += 1
                if failures >= _LOST and not self.left.is_set():
                    self._end(self._without_store(error))

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """End the process where the store does not answer in the body.

        It waits for one that was stopped, whatever its timeout.
        """
        sentence = self._without_store("no answer")
        timer = threading.Timer(self.stall / 2, self._end, [sentence])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _without_store(self, reason: object) -> str:
        return (
            f"rank {self.rank} ({self.place}): the process that keeps the "
            "store of the ranks, the launcher or else rank 0, is dead or "
            f"stopped ({str(reason).splitlines()[0]})"
        )

    def _beat(self) -> None:
        """Send a record; look at the others' where this rank stands still."""
        # Counts beats, not time: a process that was stopped is none the older.
        self.idle += self.every
        self._send()
        if self.idle < self.stall:
            self.seen = []
            return
        self.seen = [*self.seen[-_ROUNDS:], self._read()]
        if len(self.seen) <= _ROUNDS:
            return
        fault = diagnose(self.seen[0], self.seen[-1], self.stall)
        if fault is not None:
            sentence, speaker = fault
            self._end(
                f"no rank has made progress for {self.stall:.0f} s: {sentence}",
                self.rank == speaker,
            )

    def _send(self) -> None:
        self.beats += 1
        record = Record(
            self.rank,
            self.beats,
            self.progress.step,
            self.phase,
            self.idle,
            self.place,
        )
        try:
            self.store.set(str(self.rank), json.dumps(asdict(record)))
        except RuntimeError:
            if not self.left.is_set():
                raise

    def _read(self) -> list[Record | None]:
        """Read all ranks' records, None for a rank that has none yet."""
        names = map(str, range(self.ranks))
        return [
            Record(**json.loads(self.store.get(name)))
            if self.store.check([name])
            else None
            for name in names
        ]

    def _explain(self) -> None:
        """End the process where a collective failed for a rank that is gone."""
        try:
            with self._patience():
                before = self._read()
                time.sleep((_ROUNDS + 1) * self.every)
                now = self._read()
        except RuntimeError as error:
            self._end(self._without_store(error))
        silent = _silent(before, now)
        if silent:
            self._end(
                _describe(silent, silent=True),
                self.rank == _speaker(now, silent),
            )

    def _end(self, sentence: str, speaks: bool = True) -> None:
        timer = threading.Timer(_LOG_SECONDS, os._exit, [RESTART])
        timer.daemon = True
        timer.start()
        if speaks:
            logger.error("%s; the same command goes on", sentence)
        else:
            time.sleep(_ROUNDS * self.every)  # the launcher ends all with us
        os._exit(RESTART)


def diagnose(
    before: Sequence[Record | None],
    now: Sequence[Record | None],
    stall_seconds: float,
) -> tuple[str, int] | None:
    """Name the ranks that hold all others up, and the rank that tells it.

    Arguments
    ---------
    before, now : sequence of Record or None
        Of each rank, a few beats apart.
    stall_seconds : float
        A rank that is idle for less makes progress.

    Returns
    -------
    tuple of str and int, or None
        None where some rank makes progress.

    Example
    -------
    >>> from dataclasses import replace
    >>> records = [
    ...     Record(0, 9, 4, TRAINING, 60.0, "process 1 on a"),
    ...     Record(1, 9, 4, WAITING, 60.0, "process 2 on a"),
    ... ]
    >>> later = [replace(record, beats=12) for record in records]
    >>> diagnose(records, later, 60.0)
    ('rank 1 (process 2 on a) is stuck in its loader, after step 4', 0)
    """
    silent = _silent(before, now)
    alive = [x for x in now if x is not None and x.rank not in silent]
    if any(x.idle < stall_seconds for x in alive):
        return None
    if silent:
        return _describe(silent, silent=True), _speaker(now, silent)
    order = list(_STUCK)
    places = {x.rank: (x.step, order.index(x.phase)) for x in alive}
    least = min(places.values())
    stuck = {x.rank: x for x in alive if places[x.rank] == least}
    if SAVING in {x.phase for x in stuck.values()}:
        stuck = {0: stuck[0]}  # the others wait for it
    return _describe(stuck), _speaker(now, {})


def _silent(
    before: Sequence[Record | None], now: Sequence[Record | None]
) -> dict[int, Record | None]:
    """Give the ranks that did not beat in between."""
    pairs = zip(before, now, strict=True)
    return {
        rank: new
        for rank, (old, new) in enumerate(pairs)
        if new is None or (old is not None and old.beats == new.beats)
    }


def _speaker(
    now: Sequence[Record | None], silent: dict[int, Record | None]
) -> int:
    """Give the lowest rank that beats."""
    return min(set(range(len(now))) - set(silent), default=0)


def _describe(ranks: dict[int, Record | None], silent: bool = False) -> str:
    """Say of each of some ranks where it is."""
    some = list(ranks.items())[:_MOST]
    told = [_describe_rank(rank, record, silent) for rank, record in some]
    more = len(ranks) - _MOST
    return ", ".join(told) + (f" and {more} more ranks" if more > 0 else "")


def _describe_rank(rank: int, record: Record | None, silent: bool) -> str:
    if record is None:
        return f"rank {rank} has not begun to train"
    fault = (
        "is dead or stopped, its last heartbeat came"
        if silent
        else f"{_STUCK[record.phase]},"
    )
    if record.phase.startswith(_ENDED):
        fault = record.phase
    return f"rank {rank} ({record.place}) {fault} after step {record.step}"


def _is_collective(error: BaseException | None) -> bool:
    """Tell whether a collective operation failed; gloo has no class for it."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )
