"""Ctrl-C, SIGTERM, SIGUSR1: a training saves its step, all else ends at once.

signal -> deferred(): noted, agreed on by all processes, saved -> Interrupted
       -> elsewhere: Interrupted

SLURM sends SIGUSR1 before the time limit (``--signal=USR1@90``). The exit
status is 128 + the signal's number: 130, 143 or 138.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from speechbrain.utils.distributed import if_main_process

from nar_asr_lobes.errors import UserError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
# A launcher passes on a signal that the processes may have got themselves.
_SAME_SIGNAL_SECONDS = 1.0


class Interrupted(KeyboardInterrupt):
    """A signal ends the run; ``status`` is the exit status a shell gives it.

    ``step``: at which a training was saved.
    """

    def __init__(self, number: int, step: int | None = None):
        name = signal.Signals(number).name
        self.saved = step is not None
        saved = f", saved at step {step}" if self.saved else ""
        super().__init__(f"stopped by {name}{saved}; the same command goes on")
        self.status = 128 + number


class _State:
    """Signal received: number (0: none), time, and whether it can wait."""

    number, since, waits = 0, 0.0, False
    process = 0


def pending() -> int:
    """Give the number of the signal that came, 0 for none."""
    return _State.number


@contextmanager
def handled() -> Iterator[None]:
    """Let a signal end the body by an ``Interrupted``.

    Processes other than the main one wait for it in code that no handler can
    interrupt.
    """
    _State.number = 0
    try:
        with _installed(_handle) if if_main_process() else fatal():
            yield
    except UserError:
        raise
    except Exception as error:
        if pending():  # the other processes ended first
            raise Interrupted(pending()) from error
        raise


def fatal() -> AbstractContextManager[None]:
    """Let a signal end the process, in code that no handler can interrupt."""
    return _installed(signal.SIG_DFL)


@contextmanager
def deferred() -> Iterator[None]:
    """Let the body look at ``pending`` and end by itself.

    A second signal ends the process at once.
    """
    _State.number, _State.waits = 0, True
    try:
        with _installed(_handle):
            yield
    finally:
        _State.waits = False
    if pending():  # it came too late to be looked at
        raise Interrupted(pending())


@contextmanager
def _installed(handler: Callable | signal.Handlers) -> Iterator[None]:
    """Set a handler for the signals, unless the user has them ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may
        return
    _State.process = os.getpid()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [n for n in _SIGNALS if before[n] is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _handle(number: int, frame: object) -> None:
    if number == signal.SIGUSR1 and os.getpid() != _State.process:
        return  # SLURM signals the processes that load data, too
    again = _State.number and (
        time.monotonic() - _State.since > _SAME_SIGNAL_SECONDS
    )
    if again or os.getpid() != _State.process:  # a child has our handlers
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif not _State.number:
        _State.number, _State.since = number, time.monotonic()
        if not _State.waits:
            raise Interrupted(number)
