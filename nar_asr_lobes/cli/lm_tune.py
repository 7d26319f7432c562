"""``nar-asr lm tune``: weights of a language model from saved posteriors."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_write

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
    from nar_asr_lobes.decoding.grid import Tuning
    from nar_asr_lobes.decoding.hypotheses import BeamOptions
    from nar_asr_lobes.decoding.saved_posteriors import SavedPosteriors
    from nar_asr_lobes.lm.ngram.lookup import NgramLM


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "posteriors",
        metavar="POSTERIORS",
        help="DEV.posteriors.safetensors, which a fine-tuning wrote, or an "
        "evaluation with --save_posteriors=True",
    )
    parser.add_argument(
        "--lm", required=True, metavar="FILE", help="NAME.ngram"
    )
    parser.add_argument(
        "--tokenizer",
        required=True,
        metavar="PATH",
        help="the bundle, or the tokenizer file, of the posteriors' model",
    )
    parser.add_argument(
        "--output",
        default="lm_tuning.json",
        metavar="FILE",
        help="gets all numbers (lm_tuning.json)",
    )
    for name, grid in (
        ("--lm-weights", "8 from 0 to 1.5"),
        ("--token-bonuses", "6 from 0 to 2.5"),
    ):
        parser.add_argument(
            name,
            type=float,
            nargs="+",
            metavar="X",
            help=f"the values to try, each with each of the others ({grid})",
        )
    parser.add_argument(
        "--beam-size", type=int, metavar="N", help="(the bundle's, or 5)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Search with every pair of weights; print and write the word errors."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.decoding.saved_posteriors import read_posteriors
    from nar_asr_lobes.lm.ngram.lookup import NgramLM

    _require_folder(arguments.output)
    tokenizer, options = _tokenizer_and_options(arguments)
    saved = read_posteriors(arguments.posteriors, tokenizer)
    if not any(reference.split() for reference in saved.references):
        raise UserError(
            f"{arguments.posteriors}: its references hold no word, so no word "
            "error can be counted; give those of a transcribed set"
        )
    lm = NgramLM.load(arguments.lm, tokenizer)
    tuning = _tune(arguments, saved, tokenizer, lm, options)
    print("\n".join([*_table(tuning), *_hints(tuning)]))
    print("decoding:\n   beam5_lm:")
    for name in tuning.names:
        print(f"      {name}: {getattr(tuning.best, name)}")
    report = {
        "posteriors": arguments.posteriors,
        "lm": arguments.lm,
        "utterances": len(saved.ids),
        "words": tuning.words,
        "beam5_lm": asdict(tuning.best),
        "surface": tuning.surface,
    }
    with atomic_write(arguments.output) as file:
        file.write(json.dumps(report, indent=1).encode())
    return 0


def _require_folder(output: str) -> None:
    """Refuse, before the search, a file that could not be written after it."""
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        raise UserError(
            f"{output}: its folder does not exist; make it or give another "
            "--output"
        )


def _tokenizer_and_options(
    arguments: argparse.Namespace,
) -> tuple[Tokenizer, BeamOptions]:
    """Load a tokenizer file, or that of a bundle with its search."""
    from nar_asr_lobes.dataio.text.tokenizer import load_tokenizer
    from nar_asr_lobes.decoding.hypotheses import BeamOptions
    from nar_asr_lobes.inference.bundle import load_bundle

    if os.path.isdir(arguments.tokenizer):
        bundle = load_bundle(arguments.tokenizer)
        tokenizer, options = bundle.tokenizer, bundle.options.beam5_lm
    else:
        tokenizer, options = load_tokenizer(arguments.tokenizer), BeamOptions()
    if arguments.beam_size is not None:
        options = replace(options, beam_size=arguments.beam_size)
    return tokenizer, options


def _tune(
    arguments: argparse.Namespace,
    saved: SavedPosteriors,
    tokenizer: Tokenizer,
    lm: NgramLM,
    options: BeamOptions,
) -> Tuning:
    """Search at every point of the grid, with a progress bar."""
    from tqdm import tqdm

    from nar_asr_lobes.decoding.tuning import (
        LM_WEIGHTS,
        TOKEN_BONUSES,
        tune_beam,
    )

    return tune_beam(
        saved.log_probs,
        saved.references,
        tokenizer,
        lm,
        options,
        sorted(set(arguments.lm_weights or LM_WEIGHTS)),
        sorted(set(arguments.token_bonuses or TOKEN_BONUSES)),
        partial(tqdm, desc="grid", unit="point"),
    )


def _table(tuning: Tuning) -> Iterator[str]:
    """Lay out the word error rates, the best one marked."""
    bonuses = sorted({point.token_bonus for point in tuning.grid})
    yield f"error rate in % of {tuning.words} words or characters; * the best"
    yield "lm_weight   token_bonus"
    yield " " * 9 + "".join(f"{bonus:9g}" for bonus in bonuses)
    cells = [
        f"{100 * errors / tuning.words:8.2f}"
        + ("*" if point is tuning.best else " ")
        for point, errors in zip(tuning.grid, tuning.errors, strict=True)
    ]
    for start in range(0, len(cells), len(bonuses)):
        row = "".join(cells[start : start + len(bonuses)])
        yield f"{tuning.grid[start].lm_weight:9g} {row}".rstrip()


def _hints(tuning: Tuning) -> Iterator[str]:
    """Say where the grid is too small, or the language model no help."""
    least = min(tuning.errors)
    best = [p for p in tuning.surface if p["errors"] == least]
    for name, option in (
        ("lm_weight", "--lm-weights"),
        ("token_bonus", "--token-bonuses"),
    ):
        values = sorted({point[name] for point in tuning.surface})
        found = {point[name] for point in best}
        if len(values) == 1:
            continue
        if name == "lm_weight" and tuning.best.lm_weight == 0:
            yield "with the language model it is no better than without"
        elif found in ({values[0]}, {values[-1]}):
            yield (
                f"the best {name} is at an end of the grid; try values beyond "
                f"it with {option}"
            )
