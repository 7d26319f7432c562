"""``nar-asr lm convert``: an n-gram of an ARPA file, made usable."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from nar_asr_lobes.dataio.text.normalization import STYLES

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
    from nar_asr_lobes.lm.ngram.training import NgramReport

UNKNOWN_WORDS = (
    "In an n-gram of words, one that is not in its vocabulary costs the"
    " log-probability of <unk> and that of its spelling, by an n-gram of"
    " pieces (order 3) over the vocabulary."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the task's arguments."""
    parser.add_argument(
        "arpa", metavar="FILE", help="ARPA file of words or of pieces"
    )
    parser.add_argument(
        "--tokenizer",
        required=True,
        metavar="PATH",
        help="a bundle, or a tokenizer file of a fine-tuning",
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="NAME.ngram"
    )
    parser.add_argument(
        "--unit",
        choices=("pieces", "words"),
        help="unit of the n-gram (pieces if one has a ▁, or else words)",
    )
    parser.add_argument(
        "--text-style",
        choices=STYLES,
        help="normalisation of the words (the bundle's, or none)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make NAME.ngram of an ARPA file of words or pieces, for a search."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.lm.words.ngram import convert_arpa

    tokenizer, style = tokenizer_and_style(arguments.tokenizer)
    report = convert_arpa(
        arguments.arpa,
        tokenizer,
        arguments.output,
        arguments.text_style or style,
        arguments.unit,
    )
    print_ngrams(report)
    if report.words_joined:
        print(
            f"{report.words_joined} words are the same as another one in this "
            "text style; their probabilities are added"
        )
    if report.words_left_out:
        shown = " ".join(map(repr, report.words_left_out[:20]))
        print(
            f"{len(report.words_left_out)} words that the tokenizer cannot "
            f"spell ({report.share_left_out:.1%} of running words by the "
            f"file's unigrams) are left out: {shown}"
        )
    return 0


def print_ngrams(report: NgramReport) -> None:
    """Say where a model is and how large."""
    info, counts = report.info, " ".join(map(str, report.ngrams))
    print(f"{report.path}: order {info.order} of {info.unit}, n-grams {counts}")


def tokenizer_and_style(path: str) -> tuple[Tokenizer, str]:
    """Load a tokenizer file, or that of a bundle with its text style."""
    from nar_asr_lobes.dataio.text.tokenizer import load_tokenizer
    from nar_asr_lobes.inference.bundle import load_bundle

    if os.path.isdir(path):
        bundle = load_bundle(path)
        return bundle.tokenizer, bundle.text_style
    return load_tokenizer(path), "none"
