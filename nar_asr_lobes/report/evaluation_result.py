"""Results that ``nar-asr evaluate`` or ``nar-asr compare`` wrote.

The figures are those of the file; the texts are read again from where they
were, for the alignments.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance, read_lines, read_manifest
from nar_asr_lobes.dataio.text.normalization import mostly_without_words
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.normalizers import get_normalizer, with_spellings
from nar_asr_lobes.evaluation.texts import Texts, read_paired
from nar_asr_lobes.report.alignments import align_texts
from nar_asr_lobes.report.contents import EvaluationSet, Row, System


def read_evaluation(path: Path, record: dict) -> EvaluationSet:
    """Read the result of an evaluation or a comparison.

    Arguments
    ---------
    path : Path
        The file of ``--output``.
    record : dict
        Its contents.

    Returns
    -------
    EvaluationSet
        Without utterances where the texts cannot be read or are no longer
        those of the figures; the notes say so.
    """
    systems = _systems(record)
    found = EvaluationSet(
        Path(record["reference"]).name, True, _notes(record), [], systems
    )
    try:
        _add_texts(found, path.parent, record)
    except UserError as error:
        found.notes.append(f"No utterances: {error}.")
    return found


def _systems(record: dict) -> list[System]:
    paths = [Path(system["path"]) for system in record["hypotheses"]]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = list(map(str, paths))
    if "all" not in record:
        figures = record["a"], record["b"]
        return [System(*pair) for pair in zip(names, figures, strict=True)]
    groups, errors = record["groups"], record["errors"]
    return [System(names[0], record["all"], groups, errors)]


def _notes(record: dict) -> list[str]:
    name, version = record["normalizer"].values()
    notes = [
        f"Normaliser {name}, version {version}; matched by "
        f"{record['matched_by']}; intervals from resampled "
        f"{record['resampled']}s."
    ]
    for system in record["hypotheses"]:
        missing, unused = len(system["missing"]), len(system["unused"])
        if missing or unused:
            notes.append(
                f"{system['path']}: {missing} references without hypothesis, "
                f"counted as deletions; {unused} hypotheses without reference, "
                "left out."
            )
    for rate, row in record.get("comparison", {}).items():
        value, low, high = row["difference"].values()
        ends = "" if low is None else f" ({100 * low:.2f} to {100 * high:.2f})"
        notes.append(
            f"{rate.upper().replace('M_', 'M-')} of B minus A: "
            f"{100 * value:.2f}{ends} points; probability that B is better: "
            f"{row['probability']:.3f}."
        )
    return notes


def _add_texts(found: EvaluationSet, folder: Path, record: dict) -> None:
    """Add utterances and alignments, or raise UserError."""
    reference, *hypotheses = (
        _find(path, folder)
        for path in (
            record["reference"],
            *(system["path"] for system in record["hypotheses"]),
        )
    )
    paired = read_paired(reference, *hypotheses)
    normalizer = get_normalizer(record["normalizer"]["name"])
    if record.get("spellings"):
        spellings = _find(record["spellings"], folder)
        normalizer = with_spellings(normalizer, spellings)
    references = list(paired.references.texts.values())
    found.has_words = not mostly_without_words(references)
    for system, texts in zip(found.systems, paired.hypotheses, strict=True):
        system.texts, system.counts = align_texts(
            references, texts, normalizer.apply, found.has_words
        )
        _check_errors(system, found.has_words)
    utterances = _utterances(paired.references)
    ids = paired.references.texts
    found.rows = [Row(name, utterances.get(name)) for name in ids]
    for system, path in zip(found.systems, hypotheses, strict=True):
        times = _word_times(path)
        system.words = [times.get(name) for name in ids]


def _check_errors(system: System, has_words: bool) -> None:
    """Refuse texts that do not have the errors of the figures."""
    unit = "word_errors" if has_words else "character_errors"
    errors = sum(sum(row[1:]) for row in system.counts)
    if errors != system.figures[unit]:
        system.texts, system.counts = [], []
        raise UserError(
            f"the texts of {system.name} have {errors} errors, the figures "
            f"{system.figures[unit]}; they or their normaliser have changed"
        )


def _find(path: str, folder: Path) -> Path:
    """Look where the evaluation was run, then beside its result."""
    beside = folder / path
    return beside if beside.exists() and not Path(path).exists() else Path(path)


def _utterances(references: Texts) -> dict[str, Utterance]:
    """Give the audio of the references where their file names it."""
    path = Path(references.path)
    try:
        return {u.id: u for u in read_manifest(path)}
    except UserError:
        pass  # not a manifest; perhaps a table with paths
    found = {}
    for name, row in references.columns.items():
        audio = row.get("audio")
        with suppress(ValueError):  # of another table, with other columns
            start, seconds = (
                float(row.get(key) or 0) for key in ("start", "duration")
            )
            if audio:
                found[name] = Utterance(
                    name,
                    str(path.parent / audio),
                    seconds,
                    speaker=row.get("speaker"),
                    start=start or None,
                )
    return found


def _word_times(path: Path) -> dict[str, list]:
    """Read the words of hypotheses that were recognised here."""
    if path.suffix != ".jsonl":
        return {}
    rows = [json.loads(line) for line in read_lines(path) if line.strip()]
    return {row["id"]: row.get("words") for row in rows if _has_times(row)}


def _has_times(row: dict) -> bool:
    """Tell our words, [start, end, word], from those of other programs."""
    words = row.get("words")
    return isinstance(words, list) and all(
        isinstance(word, list) and len(word) == 3 for word in words
    )
