"""The trainings of an experiment: calls of train.py, and their order.

A finished one is not run again, one that was stopped goes on, and two
processes never train in one folder.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_write
from nar_asr_lobes.training.hparams import load_run, parse_arguments

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """One call of a recipe's train.py.

    Arguments
    ---------
    folder : Path
        Its output folder.
    yaml : str
        One of the recipe's YAMLs, ``RECIPE/hparams/NAME.yaml``.
    options : tuple of str
        Of the command line.
    proof : str
        The file that a finished run has in its folder.
    after : tuple of Training
        Whose files it reads.
    """

    folder: Path
    yaml: str
    options: tuple[str, ...]
    proof: str
    after: tuple[Training, ...] = ()

    @property
    def done(self) -> bool:
        """Whether it came to its end."""
        return (self.folder / self.proof).is_file()

    def begin(self) -> None:
        """Note the options; refuse to mix those of two experiments."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note, options = self.folder / "options.json", list(self.options)
        begun = (self.folder / "checkpoints").exists() or self.done
        old = (
            json.loads(note.read_text(encoding="utf-8"))
            if note.is_file()
            else options
        )
        if begun and old != options:
            lost = [option for option in old if option not in options]
            new = [option for option in options if option not in old]
            raise UserError(
                f"{self.folder}: was begun with {' '.join(lost) or 'fewer'}, "
                f"now it is {' '.join(new) or 'left out'}; give the old "
                "options or another output_folder"
            )
        with atomic_write(note) as file:
            file.write(json.dumps(options).encode())

    def run(self) -> bool:
        """Train, unless it is done; say whether it is."""
        if not self.done:
            # A training whose parent was killed lives on, and keeps the lock.
            with (self.folder / "lock").open("w", encoding="utf-8") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    logger.error("%s: trains already; wait", self.folder)
                    return False
                self._train(lock.fileno())
        if self.done:
            logger.info("%s: done", self.folder)
        else:
            logger.error("%s: failed; output.txt says why", self.folder)
        return self.done

    def check(self) -> None:
        """Read the YAML with the options; UserError for a mistake there."""
        path, _, overrides = parse_arguments([self.yaml, *self.options])
        load_run(path, overrides)

    def command(self) -> list[str]:
        """Give the command line."""
        return [
            sys.executable,
            str(Path(self.yaml).parent.parent / "train.py"),
            self.yaml,
            f"--output_folder={self.folder}",
            "--noprogressbar",
            *self.options,
        ]

    def _train(self, lock: int) -> None:
        with (self.folder / "output.txt").open("a", encoding="utf-8") as output:
            training = subprocess.Popen(
                self.command(),
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
            )
            try:
                training.wait()
            finally:
                training.wait()  # it got Ctrl-C too, and saves its step


class Ngram(Training):
    """A call of ``nar-asr lm train``; its options are the command's."""

    def command(self) -> list[str]:
        """Give the command line."""
        return [
            sys.executable,
            *("-m", "nar_asr_lobes.cli.main", "lm", "train"),
            *self.options,
            f"--output={(self.folder / self.proof).with_suffix('.arpa')}",
        ]

    def check(self) -> None:
        """Have no YAML to read."""


def in_order(trainings: Iterable[Training]) -> list[Training]:
    """List trainings and all that they need, each once and behind those.

    Example
    -------
    >>> one = Training(Path("one"), "a.yaml", (), "x")
    >>> two = Training(Path("two"), "a.yaml", (), "x", after=(one,))
    >>> [training.folder.name for training in in_order([two, one])]
    ['one', 'two']
    """
    found: dict[Path, Training] = {}
    for training in trainings:
        for other in (*in_order(training.after), training):
            found.setdefault(other.folder, other)
    return list(found.values())


def run_all(trainings: Sequence[Training], jobs: int) -> list[bool]:
    """Run trainings, so many at a time; say of each whether it is done.

    They are in the order of ``in_order``. One waits for those that it needs,
    and is left out where one of them failed.
    """
    slots, stopped = threading.Semaphore(jobs), threading.Event()
    begun: dict[Path, Future[bool]] = {}

    def run(training: Training) -> bool:
        needed = [begun[other.folder].result() for other in training.after]
        with slots:
            if stopped.is_set():
                return False
            if not all(needed):
                logger.error("%s: not run, as one failed", training.folder)
                return False
            return training.run()

    with ThreadPoolExecutor(max(1, len(trainings))) as pool:
        try:
            for training in trainings:
                begun[training.folder] = pool.submit(run, training)
            return [begun[x.folder].result() for x in trainings]
        finally:
            stopped.set()  # by Ctrl-C: those that wait are not begun
