"""Calling a recipe in this process, as its train.py does.

arguments -> main(arguments, prepare) -> exit status and both streams
"""

import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    contextmanager,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from nar_asr_lobes.cli.main import main as command
from nar_asr_lobes.training.run import main

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = "--model=!include:../../../hparams/model/tiny.yaml"


@dataclass(frozen=True)
class Outcome:
    """The result of a call: its exit status, output and files."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line with which a mistake is told."""
        assert self.code == 2, f"exit status {self.code}: {self.err}"
        assert "Traceback" not in self.err + self.out
        lines = [x for x in self.err.splitlines() if x.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.endswith(f"{lines[0]}\n")
        return lines[0]

    @property
    def losses(self) -> list[float]:
        """The losses of the log intervals."""
        return [float(x) for x in re.findall(r"loss ([^\s,\]]+)", self.out)]


def call(arguments: Sequence[str], prepare: Callable) -> Outcome:
    """Run a recipe's command line and put the process back as it was."""
    return _captured(lambda: main(list(map(str, arguments)), prepare))


def nar_asr(*arguments: str | Path) -> Outcome:
    """Run a command of ``nar-asr``."""
    return _captured(lambda: command(list(map(str, arguments))))


def _captured(work: Callable[[], int]) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with _own_process(), redirect_stdout(out), redirect_stderr(err):
        code = work()
    return Outcome(code, out.getvalue(), err.getvalue())


def run(recipe: str, task: str, *options: str) -> Outcome:
    """Run one YAML of a recipe."""
    return call([yaml_of(recipe, task), *options], parser(recipe))


def yaml_of(recipe: str, task: str) -> Path:
    """Give the path of a recipe's YAML."""
    return RECIPES / recipe / "hparams" / f"{task}.yaml"


def parser(recipe: str) -> Callable:
    """Import a recipe's ``prepare``."""
    folder = str(RECIPES / recipe)
    with mock.patch.object(sys, "path", [folder, *sys.path]):
        return importlib.import_module(f"{recipe.lower()}_prepare").prepare


@contextmanager
def _own_process() -> Iterator[None]:
    """Undo what a run changes for good: the logging and the exception hook.

    Without a PATH, SpeechBrain does not list the installed packages, which
    would take most of a short run's time.
    """
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    try:
        with mock.patch.dict(os.environ, {"PATH": ""}):
            yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                with suppress(OSError):  # of a full disk
                    handler.close()
        root.handlers[:], sys.excepthook = handlers, hook
        root.setLevel(level)
