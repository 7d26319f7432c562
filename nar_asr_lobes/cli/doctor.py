"""``nar-asr doctor``: whether a machine is ready to train."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nar_asr_lobes.doctor.finding import Finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--folder",
        default=".",
        metavar="DIR",
        help="where outputs or data shall lie; 64 MB are written there and "
        "removed (the present folder)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each check; give 1 where something is to mend."""
    to_mend = 0
    for finding in _findings(arguments.folder):
        print(finding, flush=True)
        to_mend += finding.to_mend
    return int(to_mend > 0)


def _findings(folder: str) -> Iterator[Finding]:
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.doctor import all_reduce, machine, software

    broken = False
    for finding in software.check_packages():
        yield finding
        broken |= finding.to_mend and finding.text.startswith("torch")
    if not broken:
        yield software.check_pair()
        yield from software.check_gpus()
        yield from all_reduce.check_all_reduce()
    yield from machine.check_folder(folder)
    yield from machine.check_limits()
    yield from machine.check_memory()
