"""``nar-asr index YAML``: an index of a large corpus, before its trainings."""

from __future__ import annotations

import argparse
from functools import partial

from nar_asr_lobes.cli.prepare import add_recipe_arguments, run_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = (
        "nar-asr index YAML --output_folder=DIR [--KEY=VALUE ...] [--shards] "
        "[--processes N]"
    )
    add_recipe_arguments(parser)
    parser.add_argument(
        "--shards",
        action="store_true",
        help="store the audio too, in tar shards of FLAC; otherwise the index "
        "refers to the files where they lie",
    )


def run(arguments: argparse.Namespace) -> int:
    """Index the training split of a recipe."""
    from nar_asr_lobes.training.data.make_index import make_index

    return run_recipe(arguments, partial(make_index, shards=arguments.shards))
