"""Named, timed stages of a run."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)


class Stage:
    """Time a stage and say when it starts and ends.

    Arguments
    ---------
    name : str
        Of the stage.
    seconds : dict
        Gets the time under that name.

    Example
    -------
    >>> seconds = {}
    >>> with Stage("nothing", seconds):
    ...     pass
    >>> seconds["nothing"] < 1
    True
    """

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
