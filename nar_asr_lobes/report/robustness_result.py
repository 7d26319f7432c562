"""Results that ``nar-asr robustness`` wrote: a row for each condition."""

from __future__ import annotations

from nar_asr_lobes.report.contents import EvaluationSet, System


def read_robustness(record: dict) -> EvaluationSet:
    """Read the result of a test of robustness.

    Arguments
    ---------
    record : dict
        Contents of its results.json: figures by condition, and the words that
        were made up where nobody speaks.

    Returns
    -------
    EvaluationSet
        A system for each condition, without utterances.
    """
    notes = [f"Intervals from resampled {record['resampled']}s."]
    for name, found in record.get("without_speech", {}).items():
        notes.append(
            f"{name} alone, {found['seconds']:g} s: {found['words']} words "
            f"made up, {found['words_per_hour']:g} an hour."
        )
    systems = [System(*row) for row in record["conditions"].items()]
    has_words = record["headline"] == "wer"
    return EvaluationSet("distorted audio", has_words, notes, [], systems)
