"""``nar-asr lm train``: an n-gram language model from text.

``nar-asr lm convert`` and ``nar-asr lm tune`` have modules of their own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from nar_asr_lobes.cli import lm_convert, lm_tune
from nar_asr_lobes.cli.lm_convert import print_ngrams, tokenizer_and_style
from nar_asr_lobes.dataio.manifest import read_lines
from nar_asr_lobes.dataio.text.normalization import STYLES, normalize_text
from nar_asr_lobes.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    tasks = parser.add_subparsers(required=True, metavar="TASK")
    train = tasks.add_parser(
        "train",
        help="make an n-gram from text",
        description=f"{_train.__doc__} {lm_convert.UNKNOWN_WORDS}",
    )
    _add_training(train)
    train.set_defaults(task=_train)
    convert = tasks.add_parser(
        "convert",
        help="make an n-gram of an ARPA file (KenLM, SRILM) usable",
        description=f"{lm_convert.run.__doc__} {lm_convert.UNKNOWN_WORDS}",
    )
    lm_convert.add_arguments(convert)
    convert.set_defaults(task=lm_convert.run)
    summary = "find lm_weight and token_bonus on saved posteriors"
    tune = tasks.add_parser("tune", help=summary, description=summary)
    lm_tune.add_arguments(tune)
    tune.set_defaults(task=lm_tune.run)


def _add_training(train: argparse.ArgumentParser) -> None:
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
        "--unit",
        choices=("pieces", "words"),
        default="pieces",
        help="unit of the n-gram; words with look-ahead (pieces)",
    )
    train.add_argument(
        "--order",
        type=int,
        help="longest n-gram; 10 for characters (6 pieces, or 3 words)",
    )
    train.add_argument(
        "--min-count",
        type=int,
        default=1,
        metavar="COUNT",
        help="with words: a word that occurs less often is unknown (1)",
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
        "--lmplz",
        metavar="PROGRAM",
        help="KenLM's estimator, for texts above memory (none: our own)",
    )
    train.add_argument(
        "--text-style",
        choices=STYLES,
        help="normalisation of the text (the bundle's, or none)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Do the task asked for; gives the exit status."""
    return arguments.task(arguments)


def _train(arguments: argparse.Namespace) -> int:
    """Make an n-gram over a tokenizer's pieces: NAME.arpa and NAME.ngram."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.lm.ngram.training import train_ngram
    from nar_asr_lobes.lm.words.ngram import train_word_ngram

    words = arguments.unit == "words"
    if not words and arguments.min_count != 1:
        raise UserError(
            "--min-count is for words; give --unit words too, or leave it out"
        )
    train = train_ngram
    if words:
        train = partial(train_word_ngram, min_count=arguments.min_count)
    tokenizer, style = tokenizer_and_style(arguments.tokenizer)
    style = arguments.text_style or style
    lines = _lines(arguments.texts)
    report = train(
        (normalize_text(line, style) for line in lines),
        tokenizer,
        (3 if words else 6) if arguments.order is None else arguments.order,
        arguments.output,
        arguments.prune,
        arguments.lmplz,
        progress=partial(print, file=sys.stderr, flush=True),
    )
    print_ngrams(report)
    info = report.info
    print(
        f"{info.lines_used} lines of {report.tokens} {info.unit} used, "
        f"{info.lines_left_out} left out"
    )
    if report.unknown_characters:
        shown = " ".join(map(repr, report.unknown_characters[:20]))
        print(f"characters outside the tokenizer: {shown}")
    return 0


def _lines(paths: Sequence[str]) -> Iterator[str]:
    """Yield the lines of text files, with a progress bar over their bytes."""
    from tqdm import tqdm

    total = sum(Path(path).stat().st_size for path in map(_readable, paths))
    with tqdm(total=total, unit="B", unit_scale=True, desc="text") as bar:
        for path in paths:
            yield from read_lines(path, progress=bar.update)


def _readable(path: str) -> str:
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise UserError(f"{path}: is no file that can be read; check the path")
    return path
