"""``nar-asr prepare YAML``: the data of a recipe's run, before its training."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from nar_asr_lobes.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = "nar-asr prepare YAML [--KEY=VALUE ...] [--processes N]"
    add_recipe_arguments(parser)


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the YAML, its overrides and the number of processes."""
    parser.add_argument(
        "yaml",
        metavar="YAML",
        help="of a recipe; --KEY=VALUE overrides its keys as for its train.py, "
        "which then uses what is prepared",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=_processors(),
        metavar="N",
        help="that read audio files at once (one for each processor)",
    )
    parser.set_defaults(overrides=[])


def _processors() -> int:
    """Count those that this process may use, of which a cluster gives few."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(arguments: argparse.Namespace) -> int:
    """Prepare the data in the run's output folder."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.training.run import prepare_run

    return run_recipe(arguments, prepare_run)


def run_recipe(arguments: argparse.Namespace, work: Callable) -> int:
    """Work on the data of a recipe's run, with ``processes``."""
    from nar_asr_lobes.schema import require_count
    from nar_asr_lobes.training.run import main

    require_count("--processes", arguments.processes, 1)
    prepare = load_prepare(require_yaml(arguments.yaml))
    words = [arguments.yaml, *arguments.overrides]
    return main(words, prepare, partial(work, processes=arguments.processes))


def require_yaml(path: str) -> Path:
    """Refuse the name of a YAML that is not there.

    Example
    -------
    >>> require_yaml("/no/hparams/a.yaml")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: /no/hparams/a.yaml: no such file; name \
one of the recipe's YAMLs
    """
    yaml = Path(path)
    if not yaml.is_file():
        raise UserError(f"{yaml}: no such file; name one of the recipe's YAMLs")
    return yaml


def load_prepare(yaml: Path) -> Callable:
    """Import the parser of a recipe, as its train.py does.

    Example
    -------
    >>> load_prepare(Path("/no/hparams/a.yaml"))
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: /no: has no no_prepare.py; name a \
recipe's folder or YAML
    """
    folder = yaml.absolute().parent.parent
    module = f"{folder.name.lower()}_prepare"
    if not (folder / f"{module}.py").is_file():
        raise UserError(
            f"{folder}: has no {module}.py; name a recipe's folder or YAML"
        )
    sys.path.insert(0, str(folder))  # a parser may import files beside it
    return importlib.import_module(module).prepare
