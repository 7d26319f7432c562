"""Display of a training: a bar on a terminal, else lines.

step 50 of 2000: loss 2.000 lr 1.0e-03 norm 0.50, 4 steps/s, 0:08:07 left
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import fields
from datetime import timedelta
from functools import partial

from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import TqdmCompatibleStreamHandler
from tqdm import tqdm

from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.storage import cannot_write
from nar_asr_lobes.training.progress import Progress

logger = logging.getLogger(__name__)


class _PlainLines(logging.Formatter):
    """The message alone, with its level where it is a warning or worse."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        return f"{record.levelname.lower()}: {text}"


def quiet_libraries() -> None:
    """Keep what SpeechBrain and numba tell of themselves out of the log."""
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


class StepDisplay:
    """Show how a training goes on, in the main process alone.

    Arguments
    ---------
    progress : Progress
        Of the run; its steps are counted elsewhere.
    total : int
        Steps in all.
    bar : bool
        Whether a bar is wanted where there is a terminal for it.
    """

    def __init__(self, progress: Progress, total: int, bar: bool):
        self.progress, self.total, self.start = progress, total, time.time()
        self.done, self.heard = progress.step, progress.audio_seconds
        bar = bar and sys.stderr.isatty() and if_main_process()
        self.bar = tqdm(
            initial=self.done,
            total=total,
            unit="step",
            dynamic_ncols=True,
            disable=not bar,
        )

    def __enter__(self) -> StepDisplay:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        self.bar.close()

    def step(self, averages: dict[str, float]) -> None:
        """Move the bar by a step."""
        self.bar.set_postfix_str(self._describe(averages))
        self.bar.update()

    def _describe(self, averages: dict[str, float]) -> str:
        audio_seconds = self.progress.audio_seconds - self.heard
        return describe_step(averages, audio_seconds, time.time() - self.start)

    def line(self, averages: dict[str, float]) -> None:
        """Say the same of the last steps, where there is no bar."""
        if not self.bar.disable:
            return
        step = self.progress.step
        rate = (step - self.done) / max(1e-9, time.time() - self.start)
        logger.info(
            "step %d of %d: %s, %.3g steps/s, %s left",
            step,
            self.total,
            self._describe(averages),
            rate,
            timedelta(seconds=round((self.total - step) / rate)),
        )


def describe_step(
    averages: dict[str, float], audio_seconds: float, seconds: float
) -> str:
    """Say how steps went and how fast the run is.

    Arguments
    ---------
    averages : dict
        Of the steps: ``loss``, ``lr`` and ``grad_norm``; those of steps that
        were all skipped have ``lr`` alone.
    audio_seconds, seconds : float
        Audio trained on since the start, and the time it took.

    Returns
    -------
    str

    Example
    -------
    >>> step = {"loss": 2.0, "lr": 1e-3, "grad_norm": 0.5}
    >>> describe_step(step, 3600.0, 60.0)
    'loss 2.000 lr 1.0e-03 norm 0.50 60 audio-h/h'
    """
    nan = float("nan")
    speed = f" {audio_seconds / max(1e-9, seconds):.0f} audio-h/h"
    return (  # text has no hours
        f"loss {averages.get('loss', nan):.3f} lr {averages['lr']:.1e} "
        f"norm {averages.get('grad_norm', nan):.2f}"
        f"{speed if audio_seconds else ''}"
    )


def log_validation(step: int, numbers: dict[str, float]) -> None:
    """Say in a line what a validation gave."""
    shown = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
    logger.info("step %d, dev split: %s", step, shown)


def describe_tuning(before: DecodingOptions, after: DecodingOptions) -> str:
    """Write the options that a tuning changed, one a line.

    Example
    -------
    >>> tuned = DecodingOptions().updated({"beam5_lm": {"lm_weight": 0.25}})
    >>> describe_tuning(DecodingOptions(), tuned)
    '  beam5_lm.lm_weight  0.5 -> 0.25'
    """
    changes = {}
    for part in fields(before):
        old, new = getattr(before, part.name), getattr(after, part.name)
        for option in fields(old):
            values = getattr(old, option.name), getattr(new, option.name)
            if values[0] != values[1]:
                changes[f"{part.name}.{option.name}"] = values
    width = max(map(len, changes), default=0)
    return (
        "\n".join(
            f"  {name:{width}}  {old} -> {new}"
            for name, (old, new) in changes.items()
        )
        or "  nothing is better than what was set"
    )
