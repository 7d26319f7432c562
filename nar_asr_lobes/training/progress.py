"""How far a run is: counters, timers, console and train logs.

step 50 of 2000: loss 2.000 lr 1.0e-03 norm 0.50, 4 steps/s, 0:08:07 left
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import TqdmCompatibleStreamHandler
from speechbrain.utils.train_logger import (
    FileTrainLogger,
    TensorboardLogger,
    TrainLogger,
)
from tqdm import tqdm

from nar_asr_lobes.dataio.checks import format_places
from nar_asr_lobes.distributed import gather_objects
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.objectives.diagnostics import Totals, warn_of_collapse
from nar_asr_lobes.storage import cannot_write
from nar_asr_lobes.training.config import LogConfig
from nar_asr_lobes.training.optim.scheduler import WarmupCosine
from nar_asr_lobes.training.skipping import TooManySkipped

logger = logging.getLogger(__name__)


DAMAGED_FILE = "damaged.txt"
"""In the output folder: utterances that were left out of steps."""


@dataclass
class Progress:
    """Steps and audio trained on; saved in every checkpoint.

    ``norms`` are those of the gradient in the last steps, where spikes are
    looked for.
    """

    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    audio_seconds: float = 0.0
    damaged: int = 0
    roll_backs: int = 0
    norms: list[float] = field(default_factory=list)

    def count_damaged(self, lines: list[str], folder: Path, most: int) -> None:
        """Name the utterances that any rank could not read, and count them."""
        step, path = self.step + 1, folder / DAMAGED_FILE
        found = [x for part in gather_objects(lines) for x in part]
        self.damaged += len(found)
        if if_main_process():
            logger.warning(
                "step %d: left out %d that could not be read; %s names them",
                step,
                len(found),
                path,
            )
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(f"step {step}: {x}\n" for x in found)
        if self.damaged > most:
            raise UserError(
                f"step {step}: {self.damaged} utterances could not be read, "
                f"more than data.max_damaged allows ({most}); {path} names them"
            )

    def count(self, fault: str, places: Sequence[str], most: int) -> None:
        """Count a step, and tell of one that was skipped for a fault."""
        self.step += 1
        self.skipped += bool(fault)
        self.skipped_in_a_row = bool(fault) * (self.skipped_in_a_row + 1)
        if fault:
            logger.warning(
                "step %d: %s; no rank moved its weights; utterances on this "
                "rank%s",
                self.step,
                fault,
                format_places(places, most=16),
            )
        if self.skipped_in_a_row > most:
            raise TooManySkipped(
                f"step {self.step}: {self.skipped_in_a_row} steps in a row "
                f"were skipped, this one because {fault}; lower the learning "
                "rate or look at the utterances named in the log"
            )


class Timer:
    """Time a stage and say when it starts and ends."""

    def __init__(self, name: str, seconds: dict[str, float]):
        self.name, self.seconds = name, seconds

    def __enter__(self):
        """Start the clock."""
        logger.info("%s: start", self.name)
        self.start = time.time()

    def __exit__(self, kind, value, traceback):
        """Stop the clock."""
        taken = time.time() - self.start
        self.seconds[self.name] = round(taken, 1)
        if kind is None:
            logger.info("%s: done in %.1f s", self.name, taken)


class _PlainLines(logging.Formatter):
    """The message alone, with its level where it is a warning or worse."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        return f"{record.levelname.lower()}: {text}"


def quiet_libraries() -> None:
    """Keep internal messages of SpeechBrain and numba out of the log."""
    names = ["numba", *logging.root.manager.loggerDict]
    for name in names:  # SpeechBrain gives each module's logger its own level
        if name.startswith(("speechbrain", "numba")):
            logging.getLogger(name).setLevel(logging.WARNING)


def plain_console() -> None:
    """Show messages without their module; ``log.txt`` has it."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, TqdmCompatibleStreamHandler):
            handler.setFormatter(_PlainLines())


def tell_lost_lines() -> None:
    """Say once that a log file takes no more lines, without a stack."""

    def tell(handler: logging.FileHandler, record: logging.LogRecord) -> None:
        handler.handleError = lambda record: None
        error = cannot_write(handler.baseFilename, sys.exc_info()[1])
        print(f"warning: {error}", file=sys.stderr)

    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = partial(tell, handler)


class TrainLog:
    """Show how a training goes, write its numbers, warn of a collapse."""

    def __init__(
        self,
        progress: Progress,
        scheduler: WarmupCosine,
        writer: TrainLogger | None = None,
        bar: bool = False,
        remedies: Mapping[str, str] | None = None,
    ):
        self.progress, self.scheduler = progress, scheduler
        self.writer, self.wants_bar = writer, bar
        self.remedies = remedies or {}  # of a collapse, by statistic
        self.totals = Totals()  # of the steps since the last line
        self.codes = Totals()  # used on this rank since then

    def __enter__(self) -> TrainLog:
        """Start the clock and the bar."""
        self.first, self.start = replace(self.progress), time.time()
        self.bar = tqdm(
            initial=self.progress.step,
            total=self.scheduler.steps,
            unit="step",
            dynamic_ncols=True,
            disable=not (
                self.wants_bar and sys.stderr.isatty() and if_main_process()
            ),
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        self.bar.close()

    def step(self, averages: dict[str, float]) -> None:
        """Add a step; move the bar."""
        self.totals.add_step(averages)
        self.bar.set_postfix_str(self._describe(averages))
        self.bar.update()

    def _describe(self, averages: dict[str, float]) -> str:
        audio_seconds = self.progress.audio_seconds - self.first.audio_seconds
        return _describe_step(averages, audio_seconds, time.time() - self.start)

    def line(self) -> None:
        """Show and write the averages since the last line; on every rank."""
        if self.bar.disable:
            step, steps = self.progress.step, self.scheduler.steps
            taken = max(1e-9, time.time() - self.start)
            rate = (step - self.first.step) / taken
            logger.info(
                "step %d of %d: %s, %.3g steps/s, %s left",
                step,
                steps,
                self._describe(self.totals.ratios()),
                rate,
                timedelta(seconds=round((steps - step) / rate)),
            )
        self.totals.add_codes(gather_objects(self.codes.cpu()))
        self._write(self.totals)
        self.totals, self.codes = Totals(), Totals()

    def validation(self, totals: Totals) -> None:
        """Show and write the averages of a validation."""
        shown = (f"{n} {value:.3f}" for n, value in totals.ratios().items())
        step = self.progress.step
        logger.info("step %d, dev split: %s", step, ", ".join(shown))
        self._write(totals, valid=True)

    def _write(self, totals: Totals, valid: bool = False) -> None:
        progress, ratios = self.progress, totals.ratios()
        if self.writer is not None:
            meta = {"step": progress.step, "skipped_steps": progress.skipped}
            splits = (None, ratios) if valid else (ratios, None)
            self.writer.log_stats(meta, *splits)
        warmup = self.scheduler.warmup
        warn_of_collapse(totals, self.remedies, progress.step, warmup)


def _describe_step(
    averages: dict[str, float], audio_seconds: float, seconds: float
) -> str:
    """Say how steps went and how fast the run is."""
    nan = float("nan")
    speed = f" {audio_seconds / max(1e-9, seconds):.0f} audio-h/h"
    return (  # text has no hours
        f"loss {averages.get('loss', nan):.3f} lr {averages['lr']:.1e} "
        f"norm {averages.get('grad_norm', nan):.2f}"
        f"{speed if audio_seconds else ''}"
    )


class _StepTensorboard(TensorboardLogger):
    """TensorBoard with the optimiser's step as x-axis, also after a resume."""

    def log_stats(
        self,
        stats_meta: dict[str, float],
        train_stats: dict[str, float] | None = None,
        valid_stats: dict[str, float] | None = None,
        test_stats: dict[str, float] | None = None,
        verbose: bool = False,
    ) -> None:
        """Write numbers, ``stats_meta["step"]`` among them."""
        if self.writer is None:  # not the main process
            return
        found = {"train": train_stats, "valid": valid_stats, "test": test_stats}
        for split, stats in found.items():
            for name, value in (stats or {}).items():
                self.writer.add_scalar(
                    f"{name}/{split}", value, stats_meta["step"]
                )


class _LenientLogger(TrainLogger):
    """A train logger that loses a line rather than the training."""

    def __init__(self, inner: TrainLogger, place: str | os.PathLike):
        self.inner, self.place = inner, place

    def log_stats(self, stats_meta: dict[str, float], *stats, **more) -> None:
        """Write numbers; warn where the disk does not take them."""
        try:
            self.inner.log_stats(stats_meta, *stats, **more)
        except OSError as error:
            what = f"the losses of step {stats_meta['step']} "
            logger.warning("%s", cannot_write(self.place, error, what))


def make_logger(log: LogConfig, output: Path) -> TrainLogger:
    """Choose where losses are written."""
    if not log.tensorboard:
        path = str(output / "train_log.txt")
        return _LenientLogger(FileTrainLogger(path, precision=3), path)
    try:
        path = output / "tensorboard"
        return _LenientLogger(_StepTensorboard(path), path)
    except ImportError as error:
        raise UserError(
            "logging: tensorboard is not installed; run "
            "`pip install tensorboard` or set logging.tensorboard to False"
        ) from error
