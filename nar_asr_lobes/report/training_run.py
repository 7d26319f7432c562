"""Results in an output folder that ``train.py`` wrote.

results.json, manifests/SPLIT.jsonl, alignments/SPLIT/MODE.jsonl
    -> figures with intervals and groups, alignments of each mode
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance, read_lines, read_manifest
from nar_asr_lobes.evaluation.buckets import bucket_names, find_buckets
from nar_asr_lobes.evaluation.scoring import (
    score_texts,
    summarize,
    summarize_groups,
)
from nar_asr_lobes.evaluation.text_report import frequent_errors
from nar_asr_lobes.report.alignments import align_texts
from nar_asr_lobes.report.contents import EvaluationSet, Row, System

_KEPT_ERRORS = 50  # of each kind
_MEASURED = ("rtf", "oracle_wer", "oracle_cer")  # of results.json


def read_split_results(
    folder: Path, split: str, modes: dict[str, dict]
) -> EvaluationSet:
    """Read the results of one test split of a run.

    Arguments
    ---------
    folder : Path
        Output folder of the run.
    split : str
        Its name.
    modes : dict
        Numbers of each mode, as ``results.json`` has them.

    Returns
    -------
    EvaluationSet
        Without intervals, groups and utterances where the run has written no
        hypotheses; the notes say so.
    """
    numbers = list(modes.values())[0]
    found = EvaluationSet(split, numbers["headline"] == "wer", [], [], [])
    scored, total = numbers["utterances"], numbers["utterances_in_all"]
    if scored < total:
        found.notes.append(f"{scored} of {total} utterances could be scored.")
    hypotheses = folder / "alignments" / split
    if not all((hypotheses / f"{mode}.jsonl").is_file() for mode in modes):
        found.notes.append(
            "No intervals and no utterances: an earlier version wrote this "
            "folder; evaluate the bundle again."
        )
        found.systems = [System(*mode) for mode in modes.items()]
        return found
    texts = {mode: _read(hypotheses / f"{mode}.jsonl") for mode in modes}
    scored = list(texts.values())[0]
    manifest = read_manifest(folder / "manifests" / f"{split}.jsonl")
    utterances = [u for u in manifest if u.id in scored]
    found.rows = [Row(u.id, u) for u in utterances]
    clusters, unit = _speakers(utterances)
    found.notes.append(f"Intervals from resampled {unit}.")
    found.systems = [
        _score(mode, utterances, texts[mode], clusters, found.has_words)
        for mode in modes
    ]
    for system in found.systems:
        numbers = modes[system.name]
        system.figures |= {x: numbers[x] for x in _MEASURED if x in numbers}
    return found


def _read(path: Path) -> dict[str, dict]:
    return {row["id"]: row for row in map(json.loads, read_lines(path))}


def _speakers(
    utterances: Sequence[Utterance],
) -> tuple[list[str] | None, str]:
    """Give the speakers for the intervals, and the name of the unit."""
    speakers = [u.speaker for u in utterances]
    if None in speakers or len(set(speakers)) < 2:
        return None, "utterances"
    return speakers, f"speakers ({len(set(speakers))})"


def _score(
    mode: str,
    utterances: Sequence[Utterance],
    rows: dict[str, dict],
    clusters: list[str] | None,
    has_words: bool,
) -> System:
    references = [u.text or "" for u in utterances]
    hypotheses = [rows[u.id]["text"] for u in utterances]
    scores = score_texts(references, hypotheses)
    groups = {
        name: summarize_groups(scores, values, clusters)
        for name, values in _columns(utterances).items()
    }
    if lengths := groups.get("duration"):
        names = bucket_names("duration")
        groups["duration"] = {x: lengths[x] for x in names if x in lengths}
    return System(
        mode,
        summarize(scores, clusters),
        groups,
        frequent_errors(scores.errors, _KEPT_ERRORS),
        *align_texts(references, hypotheses, has_words=has_words),
        [rows[u.id]["words"] for u in utterances],
    )


def _columns(utterances: Sequence[Utterance]) -> dict[str, list[str]]:
    """Give the values of each group column, [N], "" where there is none."""
    names = {name for u in utterances for name in u.groups or ()}
    columns = {
        name: [(u.groups or {}).get(name, "") for u in utterances]
        for name in sorted(names)
    }
    seconds = [u.duration for u in utterances]
    columns["duration"] = find_buckets("duration", seconds)
    columns["speaker"] = [u.speaker or "" for u in utterances]
    return {name: v for name, v in columns.items() if len(set(v)) > 1}
