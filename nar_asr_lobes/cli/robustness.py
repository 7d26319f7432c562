"""``nar-asr robustness BUNDLE MANIFEST``: errors under noise and the like."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import lock_folder, sha256, write_text

if TYPE_CHECKING:
    import numpy as np

    from nar_asr_lobes.dataio.manifest import Utterance
    from nar_asr_lobes.inference.transcriber import Transcriber


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="folder with the model"
    )
    parser.add_argument(
        "manifest",
        metavar="MANIFEST",
        help="the test set: a manifest, a table or a corpus, as "
        "recipes/CustomManifest reads it",
    )
    parser.add_argument(
        "--output_folder",
        required=True,
        metavar="DIR",
        help="gets results.json, table.md, robustness.svg and the texts; the "
        "same command continues a run that was stopped",
    )
    parser.add_argument(
        "--split", help="of a corpus with several (test, or the only one)"
    )
    parser.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="NAME",
        help="a kind, such as white, babble, reverb, telephone, speed or "
        "silence, or one level of it, such as white-5dB; may be given again "
        "(all)",
    )
    parser.add_argument(
        "--mode", help="decoding mode, such as nar or beam5_lm (the bundle's)"
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N or auto (auto)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print and write the table, and draw the plot."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.evaluation.robustness.conditions import choose_conditions
    from nar_asr_lobes.evaluation.robustness.measure import measure_robustness
    from nar_asr_lobes.evaluation.robustness.table import (
        format_markdown,
        plot_robustness,
    )
    from nar_asr_lobes.inference.bundle import load_bundle
    from nar_asr_lobes.inference.transcriber import Transcriber

    if find_spec("matplotlib") is None:
        raise UserError(
            "matplotlib, which draws the plot, is not installed; run `pip "
            "install 'nar-asr-lobes[eval]'`"
        )
    conditions = choose_conditions(arguments.condition)
    bundle = load_bundle(arguments.bundle)
    transcriber = Transcriber(bundle, arguments.mode, arguments.device)
    folder = Path(arguments.output_folder)
    with lock_folder(folder):
        utterances, left_out = _read_test_set(arguments, folder)
        results = measure_robustness(
            utterances,
            bundle.text_style,
            conditions,
            partial(_texts, transcriber),
            folder,
            {
                "bundle_sha256": sha256(Path(arguments.bundle, "bundle.json")),
                "mode": transcriber.mode,
                "left_out": left_out,
            },
        )
        table = format_markdown(results)
        write_text(folder / "table.md", table + "\n")
        plot_robustness(results, folder / "robustness.svg")
    print(table)
    if left_out:
        print(
            f"\nutterances that cannot be scored: {left_out}; "
            f"{folder / 'left_out.txt'} names them"
        )
    return 0


def _read_test_set(
    arguments: argparse.Namespace, folder: Path
) -> tuple[list[Utterance], int]:
    """Read the utterances that can be scored; name and count the others."""
    from nar_asr_lobes.dataio.formats.detect import read_corpus
    from nar_asr_lobes.dataio.manifest import collect_faults
    from nar_asr_lobes.dataio.prepare import with_durations
    from nar_asr_lobes.evaluation.evaluate import check_test_set

    source, named = arguments.manifest, folder / "left_out.txt"
    splits = read_corpus(source)
    split = arguments.split or ("test" if len(splits) > 1 else min(splits))
    if split not in splits:
        raise UserError(
            f"{source}: has no split {split!r}; choose one of "
            f"{', '.join(splits)} with --split"
        )
    with collect_faults() as unreadable:
        rows = with_durations(splits[split], source)
    usable, findings = check_test_set(rows)
    lines = ["; ".join(fault) for fault in unreadable] + findings
    write_text(named, "".join(f"{line}\n" for line in lines))
    if not usable:
        raise UserError(
            f"{source}: no utterance can be scored; {named} says why for each"
        )
    return usable, len(splits[split]) - len(usable)


def _texts(
    transcriber: Transcriber, wavs: Iterable[np.ndarray]
) -> Iterator[str]:
    from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE

    for transcript in transcriber.stream(wavs, SAMPLE_RATE):
        if transcript.error:
            raise UserError(transcript.error)
        yield transcript.text
