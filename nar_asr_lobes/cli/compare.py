"""``nar-asr compare REFERENCE A B``: which of two systems is better."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from nar_asr_lobes.cli.evaluate import (
    add_options,
    add_reference,
    finish,
    score_systems,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_reference(parser)
    for name in "ab":
        parser.add_argument(
            name,
            metavar=name.upper(),
            help=f"the texts of system {name.upper()}",
        )
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print and write both error rates and their difference."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.evaluation.scoring import compare_scores, summarize
    from nar_asr_lobes.evaluation.text_report import format_comparison

    _, record, systems, clusters = score_systems(
        arguments, [arguments.a, arguments.b]
    )
    figures = [summarize(scores, clusters) for scores in systems]
    comparisons = compare_scores(*systems, clusters)
    record["a"], record["b"] = figures
    record["comparison"] = {
        rate: asdict(found) for rate, found in comparisons.items()
    }
    print(format_comparison(*figures, comparisons))
    finish(arguments, record)
    return 0
