"""Work on many audio files: side by side, and again only where one changed.

    work, jobs -> outcomes of before -> threads or processes -> outcomes

A job is a tuple: the path of a file, then the other arguments of the work,
which returns a value that JSON can hold or raises an ``AudioError``.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import (
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from nar_asr_lobes import __version__
from nar_asr_lobes.errors import AudioError, UserError

logger = logging.getLogger(__name__)

Job = tuple
_MAX_BATCH = 16  # jobs handed over at once; a stop waits for their end
_COMMIT_SECONDS = 2.0  # as much work is lost when the process is killed


class AudioJobs:
    """Where the jobs inside a ``with`` run, and what is known of before.

    Arguments
    ---------
    store : str or path
        SQLite file that keeps the outcomes, with size and time of change of
        each audio file; made where it is missing. Errors are not kept: a file
        that could not be read is read again.
    processes : int, optional
        How many run the jobs; where not given, they are threads of this one.

    Example
    -------
    >>> import tempfile
    >>> file = tempfile.mkdtemp() + "/a.wav"
    >>> Path(file).touch()
    >>> for _ in range(2):
    ...     with AudioJobs(file + ".sqlite") as jobs:
    ...         found = run_audio_jobs(os.path.getsize, [(file,)], "")
    >>> found == {(file,): 0}, jobs.done, jobs.reused
    (True, 0, 1)
    """

    def __init__(
        self, store: str | os.PathLike | None, processes: int | None = None
    ):
        self.workers = processes or os.cpu_count() or 1
        self.processes = processes
        self.done = self.reused = 0
        self._store = None if store is None else _Store(Path(store))

    def __enter__(self) -> AudioJobs:
        """Take the jobs from here on."""
        self._executor = start_workers(self.processes, self.workers)
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the jobs that have not begun; keep the outcomes there are."""
        _current.reset(self._token)
        self._executor.shutdown(cancel_futures=True)
        if self._store is not None:
            self._store.close()
            logger.info(
                "audio files: %d readings, and %d known from before",
                self.done,
                self.reused,
            )

    def run(self, work: Callable, jobs: Iterable[Job], title: str) -> dict:
        """Do the jobs; see ``run_audio_jobs``."""
        todo = list(dict.fromkeys(jobs))
        size = max(1, min(_MAX_BATCH, len(todo) // (8 * self.workers)))
        batches = (
            self._with_known(work, todo[first : first + size])
            for first in range(0, len(todo), size)
        )
        found = {}
        with tqdm(
            total=len(todo),
            desc=title,
            unit="file",
            leave=False,
            disable=None,  # where it is no terminal
        ) as bar:
            for batch in self._executor.map(partial(_do_batch, work), batches):
                for job, outcome, stamp in batch:
                    found[job] = self._take(work, job, outcome, stamp)
                bar.update(len(batch))
        return found

    def _with_known(self, work: Callable, jobs: Sequence[Job]) -> list:
        if self._store is None:
            return [(job, None) for job in jobs]
        return [(job, self._store.get(_key(work, job))) for job in jobs]

    def _take(
        self, work: Callable, job: Job, outcome: str, stamp: str | None
    ) -> Any:
        """Count and keep an outcome; give the value, or its AudioError."""
        value, error = json.loads(outcome)
        self.done += stamp is not None
        self.reused += stamp is None
        if error is not None:
            return AudioError(error[0], *error)
        if self._store is not None and stamp is not None:
            self._store.put(_key(work, job), stamp, outcome)
        return value


_current: ContextVar[AudioJobs | None] = ContextVar("_current", default=None)


def run_audio_jobs(work: Callable, jobs: Iterable[Job], title: str) -> dict:
    """Do some work on audio files, as the ``AudioJobs`` around it says.

    Arguments
    ---------
    work : callable
        Of a module; its result depends on the file and the arguments alone.
    jobs : iterable of tuple
        Path and other arguments of each; equal ones are done once.
    title : str
        Of the progress bar, which is shown on a terminal.

    Returns
    -------
    dict
        By job: the value, or the AudioError that was raised.

    Raises
    ------
    UserError
        When a process ends before its work.

    Example
    -------
    >>> run_audio_jobs(os.path.basename, [("a/b.wav",)], "reading")
    {('a/b.wav',): 'b.wav'}
    """
    try:
        if (current := _current.get()) is not None:
            return current.run(work, jobs, title)
        with AudioJobs(None) as alone:
            return alone.run(work, jobs, title)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that reads audio has died, for lack of memory perhaps; "
            "start the same command again with fewer --processes"
        ) from error


def start_workers(processes: int | None, workers: int) -> Executor:
    """Start processes, or, where there is none or one, threads of this one.

    Example
    -------
    >>> with start_workers(processes=1, workers=1) as threads:
    ...     threads.submit(abs, -1).result()
    1
    """
    if processes in (None, 1):
        # Decoding leaves Python's lock alone for most of its time.
        return ThreadPoolExecutor(workers)
    # Not "fork": a copy of a process with threads may wait for ever.
    has_server = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if has_server else None)
    if has_server:  # all workers are copies of one process with the imports
        context.set_forkserver_preload(["nar_asr_lobes.dataio.prepare"])
    return ProcessPoolExecutor(workers, context, _start_worker)


def _start_worker() -> None:
    """Leave signals to the main process, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _key(work: Callable, job: Job) -> str:
    return json.dumps([__version__, work.__name__, *job])


def _do_batch(work: Callable, batch: list) -> list[tuple[Job, str, str | None]]:
    """Do jobs; give each with its outcome, and the stamp of a new one."""
    found = []
    for job, known in batch:
        stamp = file_stamp(job[0])
        if known is not None and known[0] == stamp:
            found.append((job, known[1], None))
        else:
            found.append((job, _outcome(work, job), stamp))
    return found


def file_stamp(path: str) -> str:
    """Give size and time of change of a file; empty where it is missing.

    Example
    -------
    >>> file_stamp("/no.wav")
    ''
    """
    with suppress(OSError):
        found = os.stat(path)
        return f"{found.st_size} {found.st_mtime_ns}"
    return ""


def _outcome(work: Callable, job: Job) -> str:
    """Give value and error of a job as JSON."""
    try:
        return json.dumps([work(*job), None])
    except AudioError as error:
        return json.dumps([None, [error.problem, error.remedy]])


class _Store:
    """Stamps and outcomes by job, in a file; without it, none are known."""

    def __init__(self, path: Path):
        self.path, self.db = path, None
        self.due = time.monotonic() + _COMMIT_SECONDS
        if path.exists():
            self._try(self._open)
        if self.db is None:
            self._try(self._open)

    def _open(self) -> None:
        # The folder has a lock; network disks may have none for SQLite.
        place = f"{self.path.absolute().as_uri()}?nolock=1"
        self.db = sqlite3.connect(place, uri=True)
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS outcomes"
            " (job TEXT PRIMARY KEY, stamp TEXT, outcome TEXT) WITHOUT ROWID"
        )

    def _try(self, do: Callable) -> Any:
        """Do something with the file; remove it where that fails."""
        try:
            return do()
        except sqlite3.Error as error:
            self.db = None
            with suppress(OSError):
                self.path.unlink()
            logger.warning(
                "%s: cannot be used (%s); all files are read anew",
                self.path,
                error,
            )

    def get(self, key: str) -> tuple[str, str] | None:
        if self.db is None:
            return None
        query = "SELECT stamp, outcome FROM outcomes WHERE job = ?"
        return self._try(lambda: self.db.execute(query, [key]).fetchone())

    def put(self, key: str, stamp: str, outcome: str) -> None:
        if self.db is None:
            return
        query = "REPLACE INTO outcomes VALUES (?, ?, ?)"
        self._try(lambda: self.db.execute(query, (key, stamp, outcome)))
        if self.db is not None and time.monotonic() > self.due:
            self._try(self.db.commit)
            self.due = time.monotonic() + _COMMIT_SECONDS

    def close(self) -> None:
        if self.db is not None:
            self._try(self.db.commit)
        if self.db is not None:
            self.db.close()
