"""``nar-asr lm train``: an n-gram language model from text.

``nar-asr lm tune`` has a module of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nar_asr_lobes.cli import lm_tune
from nar_asr_lobes.dataio.text import STYLES, normalize_text
from nar_asr_lobes.errors import UserError

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.tokenizer import Tokenizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    tasks = parser.add_subparsers(required=True, metavar="TASK")
    train = tasks.add_parser(
        "train", help="make an n-gram from text", description=_train.__doc__
    )
    train.add_argument(
        "texts", nargs="+", metavar="TEXT", help="UTF-8, a sentence a line"
    )
    train.add_argument(
        "--tokenizer",
        required=True,
        metavar="PATH",
        help="a bundle, or a tokenizer file of a fine-tuning",
    )
    train.add_argument(
        "--output", required=True, metavar="FILE", help="NAME.arpa"
    )
    train.add_argument(
        "--order",
        type=int,
        default=6,
        help="longest n-gram, in pieces; 10 for characters (6)",
    )
    train.add_argument(
        "--prune",
        type=int,
        nargs="+",
        default=[],
        metavar="COUNT",
        help="drop n-grams that occur at most so often, for order 1, 2, …; "
        "'0 0 1' keeps files of large texts small",
    )
    train.add_argument(
        "--text-style",
        choices=STYLES,
        help="normalisation of the text (the bundle's, or none)",
    )
    train.set_defaults(task=_train)
    summary = "find lm_weight and token_bonus on saved posteriors"
    tune = tasks.add_parser("tune", help=summary, description=summary)
    lm_tune.add_arguments(tune)
    tune.set_defaults(task=lm_tune.run)


def run(arguments: argparse.Namespace) -> int:
    """Do the task asked for; gives the exit status."""
    return arguments.task(arguments)


def _train(arguments: argparse.Namespace) -> int:
    """Make an n-gram over a tokenizer's pieces: NAME.arpa and NAME.ngram."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.lm.ngram import train_ngram

    tokenizer, style = _tokenizer_and_style(arguments.tokenizer)
    style = arguments.text_style or style
    lines = _lines(arguments.texts)
    report = train_ngram(
        (normalize_text(line, style) for line in lines),
        tokenizer,
        arguments.order,
        arguments.output,
        arguments.prune,
        progress=partial(print, file=sys.stderr, flush=True),
    )
    info = report.info
    counts = " ".join(map(str, report.ngrams))
    print(f"{report.path}: order {info.order}, n-grams {counts}")
    print(
        f"{info.lines_used} lines of {report.tokens} pieces used, "
        f"{info.lines_left_out} left out"
    )
    if report.unknown_characters:
        shown = " ".join(map(repr, report.unknown_characters[:20]))
        print(f"characters outside the tokenizer: {shown}")
    return 0


def _tokenizer_and_style(path: str) -> tuple[Tokenizer, str]:
    """Load a tokenizer file, or that of a bundle with its text style."""
    from nar_asr_lobes.dataio.tokenizer import load_tokenizer
    from nar_asr_lobes.inference.bundle import load_bundle

    if os.path.isdir(path):
        bundle = load_bundle(path)
        return bundle.tokenizer, bundle.text_style
    return load_tokenizer(path), "none"


def _lines(paths: Sequence[str]) -> Iterator[str]:
    """Yield the lines of text files, with a progress bar over their bytes."""
    from tqdm import tqdm

    total = sum(Path(path).stat().st_size for path in map(_readable, paths))
    with tqdm(total=total, unit="B", unit_scale=True, desc="text") as bar:
        for path in paths:
            with open(path, "rb") as file:
                for number, line in enumerate(file, start=1):
                    bar.update(len(line))
                    yield _decode(line, path, number)


def _readable(path: str) -> str:
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise UserError(f"{path}: is no file that can be read; check the path")
    return path


def _decode(line: bytes, path: str, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: is not UTF-8 (byte {error.start + 1} of the "
            "line); convert the file"
        ) from error
