"""The command ``nar-asr``.

A sub-command is a module of this package (with _ for -) that has
``add_arguments(parser)`` and ``run(arguments) -> exit status``. Slow imports
are inside ``run``, so that ``nar-asr --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from nar_asr_lobes import __version__
from nar_asr_lobes.errors import UserError, escape_unprintable

COMMANDS = {
    "transcribe": "turn audio files into text, JSON or subtitles",
    "import-encoder": "make published weights ready to train from",
    "prepare": "the data of a recipe's run, before its training",
    "index": "a large corpus as shards, which every run opens at once",
    "plan": "time, memory, network and cost of a pre-training on many GPUs",
    "validate": "all faults of a corpus, by file and line",
    "segment": "long recordings and their transcript to utterances with times",
    "evaluate": "error rates of recognised texts, with intervals",
    "compare": "two systems on the same utterances: which is better",
    "robustness": "error rates under noise, reverberation, codecs and the like",
    "report": "a training or an evaluation as one HTML file",
    "learning-curve": "the error rate by hours of labels: how many are needed",
    "lm": "train a language model, or tune its weight",
    "doctor": "whether this machine is ready to train: ok, or the remedy",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0: all went well; 1: some inputs failed or have faults; 2: a mistake of the
    user, printed as one line.

    Example
    -------
    >>> main(["transcribe", "a.wav", "--bundle", "nowhere"])
    2
    """
    escape_unprintable()
    arguments = _parse(argv)
    try:
        return arguments.run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130  # as a shell reports it
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell reports it


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; keys of a YAML go to commands that have them."""
    parser = _parser()
    arguments, others = parser.parse_known_args(argv)
    if others and "overrides" not in arguments:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    arguments.overrides = others
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nar-asr", description="Non-autoregressive speech recognition."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        module = import_module(f"nar_asr_lobes.cli.{name.replace('-', '_')}")
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
