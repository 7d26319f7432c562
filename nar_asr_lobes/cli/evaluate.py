"""``nar-asr evaluate REFERENCE HYPOTHESIS``: error rates of two texts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nar_asr_lobes import __version__
from nar_asr_lobes.evaluation.normalizers import (
    NORMALIZERS,
    get_normalizer,
    with_spellings,
)
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
        help="also for each value of a column of the references; words, "
        "duration and snr come in buckets, and snr is estimated from the audio "
        "of a manifest where it is no column; may be given again",
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
        "--spellings",
        metavar="FILE",
        help="spellings that count as equal everywhere: from, to, with a tab "
        "between them",
    )
    parser.add_argument(
        "--negations",
        nargs="?",
        const="english",
        metavar="FILE",
        help="also the error rate of negations; words of a file, one a line, "
        "else the English ones",
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
    from nar_asr_lobes.evaluation.scoring import summarize
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
        groups = _groups(column, paired.references, scores, clusters)
        record["groups"][column] = groups
        rows |= {f"{column} {name or '-'}": row for name, row in groups.items()}
    if "snr" in record["groups"]:
        record["snr"] = _snr_source(paired.references)
    record["errors"] = frequent_errors(scores.errors, _KEPT_ERRORS)
    print(format_figures(rows))
    shown = format_errors(frequent_errors(scores.errors, arguments.show_errors))
    if shown:
        print(f"\n{shown}")
    finish(arguments, record)
    return 0


def _groups(
    column: str,
    references: Texts,
    scores: Scores,
    clusters: Sequence[str] | None,
) -> dict[str, dict]:
    """The figures of each value or bucket of a column, in order."""
    from nar_asr_lobes.evaluation.buckets import (
        EDGES,
        bucket_names,
        find_buckets,
        measure_utterances,
    )
    from nar_asr_lobes.evaluation.scoring import summarize_groups

    if column not in EDGES:
        return summarize_groups(scores, references.column(column), clusters)
    if column == "words":
        values = scores.counts["words"].tolist()
    else:
        values = measure_utterances(references, column)
    groups = summarize_groups(scores, find_buckets(column, values), clusters)
    return {x: groups[x] for x in bucket_names(column) if x in groups}


def _snr_source(references: Texts) -> str:
    if "snr" in references.column_names:
        return "column of the references"
    from nar_asr_lobes.evaluation.snr import ESTIMATOR

    return ESTIMATOR


def score_systems(
    arguments: argparse.Namespace, hypotheses: Sequence[str]
) -> tuple[PairedTexts, dict, list[Scores], list[str] | None]:
    """Read, normalise and score the hypotheses of one or two systems.

    Gives the texts, the head of the JSON record, the scores of each system and
    the clusters of the utterances.
    """
    from nar_asr_lobes.errors import UserError
    from nar_asr_lobes.evaluation.negations import read_negations
    from nar_asr_lobes.evaluation.scoring import score_texts
    from nar_asr_lobes.evaluation.terms import read_terms
    from nar_asr_lobes.evaluation.texts import read_paired

    if arguments.canonical and not arguments.terms:
        raise UserError(
            "--canonical is for the scores of terms; give --terms too"
        )
    normalizer = get_normalizer(arguments.normalizer)
    if arguments.spellings:
        normalizer = with_spellings(normalizer, arguments.spellings)
    negations = arguments.negations and read_negations(arguments.negations)
    terms = None
    if arguments.terms:
        terms = read_terms(
            arguments.terms, arguments.canonical, normalizer.apply
        )
    paired = read_paired(arguments.reference, *hypotheses)
    unit, clusters = _clusters(paired.references, arguments.resample)
    references = list(paired.references.texts.values())
    scores = [
        score_texts(references, texts, normalizer.apply, terms, negations)
        for texts in paired.hypotheses
    ]
    record = _head(paired, hypotheses, normalizer, terms)
    if negations:
        record["negations"] = {
            "list": negations.name,
            "version": negations.version,
        }
    record["resampled"] = unit
    record["spellings"] = arguments.spellings
    _print_head(record, clusters)
    return paired, record, scores, clusters


def _clusters(
    references: Texts, column: str | None
) -> tuple[str, list[str] | None]:
    """The unit of the intervals, and that of each utterance."""
    there = references.column_names
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
    if "negations" in record:
        name, version = record["negations"].values()
        print(f"negations {name}, version {version}")
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
