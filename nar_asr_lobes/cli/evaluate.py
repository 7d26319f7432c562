"""``nar-asr evaluate REFERENCE HYPOTHESIS``: error rates of two texts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nar_asr_lobes import __version__
from nar_asr_lobes.evaluation.normalizers import NORMALIZERS, get_normalizer
from nar_asr_lobes.storage import write_text

if TYPE_CHECKING:
    from nar_asr_lobes.evaluation.normalizers import Normalizer
    from nar_asr_lobes.evaluation.scoring import Scores
    from nar_asr_lobes.evaluation.terms import TermList
    from nar_asr_lobes.evaluation.texts import PairedTexts, Texts

_CLUSTERS = ("speaker", "recording", "file")  # columns, the first that is there
_KEPT_ERRORS = 50  # of each kind, in the JSON


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_reference(parser)
    parser.add_argument(
        "hypothesis", metavar="HYPOTHESIS", help="the recognised texts"
    )
    add_options(parser)
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="COLUMN",
        help="also for each value of a column of the references; may be given "
        "again",
    )
    parser.add_argument(
        "--show-errors",
        type=int,
        default=0,
        metavar="N",
        help="print the N most frequent errors of each kind; they are words of "
        "the texts (0)",
    )


def add_reference(parser: argparse.ArgumentParser) -> None:
    """Declare the references and their forms."""
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="a folder of .txt files, .jsonl or .tsv with id and text, lines "
        "of 'id<TAB>text' or 'id text' (Kaldi), or plain lines; {a/b} allows "
        "both wordings",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``evaluate`` and ``compare`` share."""
    parser.add_argument(
        "--normalizer",
        choices=NORMALIZERS,
        default="none",
        help="applied to both sides; english and unicode: no case, no "
        "punctuation; whisper: that of most published English figures; "
        "conversation: whisper's, and yeah = yes (none)",
    )
    parser.add_argument(
        "--resample",
        metavar="COLUMN",
        help="column of the references whose values are drawn for the "
        "intervals (speaker, recording or file where there is one, else "
        "utterances are drawn)",
    )
    parser.add_argument(
        "--terms",
        metavar="FILE",
        help="terms with a category, with a tab between them: also M-WER, "
        "recall and insertions of each category",
    )
    parser.add_argument(
        "--canonical",
        metavar="FILE",
        help="spellings that count as equal for terms: side (both, reference, "
        "hypothesis), from, to, with tabs between them",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="gets all figures as JSON"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print and write the error rates."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.evaluation.scoring import summarize, summarize_groups
    from nar_asr_lobes.evaluation.text_report import (
        format_errors,
        format_figures,
        frequent_errors,
    )

    paired, record, systems, clusters = score_systems(
        arguments, [arguments.hypothesis]
    )
    (scores,) = systems
    rows = {"all": summarize(scores, clusters)}
    record["all"] = rows["all"]
    record["groups"] = {}
    for column in arguments.by:
        groups = summarize_groups(
            scores, paired.references.column(column), clusters
        )
        record["groups"][column] = groups
        rows |= {f"{column} {name or '-'}": row for name, row in groups.items()}
    record["errors"] = frequent_errors(scores.errors, _KEPT_ERRORS)
    print(format_figures(rows))
    shown = format_errors(frequent_errors(scores.errors, arguments.show_errors))
    if shown:
        print(f"\n{shown}")
    finish(arguments, record)
    return 0


def score_systems(
    arguments: argparse.Namespace, hypotheses: Sequence[str]
) -> tuple[PairedTexts, dict, list[Scores], list[str] | None]:
    """Read, normalise and score the hypotheses of one or two systems.

    Gives the texts, the head of the JSON record, the scores of each system and
    the clusters of the utterances.
    """
    from nar_asr_lobes.errors import UserError
    from nar_asr_lobes.evaluation.scoring import score_texts
    from nar_asr_lobes.evaluation.terms import read_terms
    from nar_asr_lobes.evaluation.texts import read_paired

    if arguments.canonical and not arguments.terms:
        raise UserError(
            "--canonical is for the scores of terms; give --terms too"
        )
    normalizer = get_normalizer(arguments.normalizer)
    terms = None
    if arguments.terms:
        terms = read_terms(
            arguments.terms, arguments.canonical, normalizer.apply
        )
    paired = read_paired(arguments.reference, *hypotheses)
    unit, clusters = _clusters(paired.references, arguments.resample)
    references = list(paired.references.texts.values())
    scores = [
        score_texts(references, texts, normalizer.apply, terms)
        for texts in paired.hypotheses
    ]
    record = _head(paired, hypotheses, normalizer, terms)
    record["resampled"] = unit
    _print_head(record, clusters)
    return paired, record, scores, clusters


def _clusters(
    references: Texts, column: str | None
) -> tuple[str, list[str] | None]:
    """The unit of the intervals, and that of each utterance."""
    there = {key for row in references.columns.values() for key in row}
    column = column or next((c for c in _CLUSTERS if c in there), None)
    if column is None:
        return "utterance", None
    return column, references.column(column)


def _head(
    paired: PairedTexts,
    hypotheses: Sequence[str],
    normalizer: Normalizer,
    terms: TermList | None,
) -> dict:
    systems = [
        {"path": path, "missing": missing, "unused": unused}
        for path, missing, unused in zip(
            hypotheses, paired.missing, paired.unused, strict=True
        )
    ]
    return {
        "nar_asr_lobes": __version__,
        "normalizer": {"name": normalizer.name, "version": normalizer.version},
        "reference": paired.references.path,
        "matched_by": paired.references.matched_by,
        "hypotheses": systems,
        "term_files_sha256": terms and terms.files,
    }


def _print_head(record: dict, clusters: Sequence[str] | None) -> None:
    name, version = record["normalizer"].values()
    unit = f"{record['resampled']}s"
    if clusters is not None:
        unit = f"{len(set(clusters))} values of {record['resampled']}"
    print(f"normaliser {name}, version {version}")
    print(f"matched by {record['matched_by']}; intervals from resampled {unit}")
    for path, digest in (record["term_files_sha256"] or {}).items():
        print(f"{path} sha256 {digest}")
    for system in record["hypotheses"]:
        missing, unused = len(system["missing"]), len(system["unused"])
        if missing or unused:
            print(
                f"{system['path']}: references without hypothesis: {missing}, "
                f"counted as deletions; hypotheses without reference: {unused},"
                " left out; --output names them"
            )
    print()


def finish(arguments: argparse.Namespace, record: dict) -> None:
    """Write the JSON where it is asked for."""
    if arguments.output:
        text = json.dumps(record, indent=1, ensure_ascii=False)
        write_text(arguments.output, text + "\n")
