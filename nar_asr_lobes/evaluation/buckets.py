"""Utterances by their length and their signal-to-noise ratio.

references, with durations or audio -> a measure of each utterance [N]
    -> the name of its bucket [N] -> groups of the error rates
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from nar_asr_lobes.dataio.manifest import Utterance, read_manifest
from nar_asr_lobes.errors import AudioError, UserError
from nar_asr_lobes.evaluation.texts import Texts

logger = logging.getLogger(__name__)

EDGES = {
    "words": (6, 11, 21, 41),
    "duration": (2, 5, 10, 20),  # s
    "snr": (0, 5, 10, 15, 20, 30),  # dB
}
"""Borders between the buckets; a value on one belongs to the upper bucket."""
UNKNOWN = "unknown"


def bucket_names(measure: str) -> list[str]:
    """Name the buckets of a measure, in order.

    Example
    -------
    >>> bucket_names("duration")
    ['< 2', '2 to < 5', '5 to < 10', '10 to < 20', '>= 20', 'unknown']
    """
    edges = EDGES[measure]
    inner = [f"{a} to < {b}" for a, b in zip(edges, edges[1:], strict=False)]
    return [f"< {edges[0]}", *inner, f">= {edges[-1]}", UNKNOWN]


def find_buckets(measure: str, values: Sequence[float]) -> list[str]:
    """Give the name of each value's bucket.

    Arguments
    ---------
    measure : str
        "words", "duration" (s) or "snr" (dB).
    values : sequence of float
        NaN where unknown, [N].

    Returns
    -------
    list of str
        [N]

    Example
    -------
    >>> find_buckets("duration", [1.9, 2.0, 99.0, math.nan])
    ['< 2', '2 to < 5', '>= 20', 'unknown']
    """
    names = bucket_names(measure)
    places = np.searchsorted(EDGES[measure], values, side="right")
    return [
        UNKNOWN if math.isnan(value) else names[place]
        for value, place in zip(values, places, strict=True)
    ]


def measure_utterances(references: Texts, measure: str) -> list[float]:
    """Look up or estimate the duration or the SNR of each utterance.

    Arguments
    ---------
    references : Texts
        With the measure as a column; where "snr" is none, a manifest.
    measure : str
        "duration" or "snr".

    Returns
    -------
    list of float
        [N], in s or dB; NaN where there is none, and where the audio cannot
        be read, which is counted in a warning.

    Raises
    ------
    UserError
        For a column that is missing or holds something else than numbers, and
        references without audio.
    """
    if measure == "snr" and measure not in references.column_names:
        return _estimate(references)
    return [
        _number(references.path, measure, cell)
        for cell in references.column(measure)
    ]


def _number(path: str, measure: str, cell: str) -> float:
    try:
        return float(cell or "nan")
    except ValueError as error:
        raise UserError(
            f"{path}: column {measure!r} holds something else than numbers; "
            "correct it"
        ) from error


def _estimate(references: Texts) -> list[float]:
    named = "audio" in references.column_names
    if not (references.path.endswith(".jsonl") and named):
        raise UserError(
            f"{references.path}: names no audio to estimate the SNR from; give "
            "a manifest (.jsonl), or the SNR in dB as a column 'snr'"
        )
    rows = {row.id: row for row in read_manifest(references.path)}
    # Decoding leaves Python's lock alone, so threads share the processors.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(
            tqdm(
                pool.map(_read_snr, (rows[key] for key in references.texts)),
                "signal-to-noise ratios",
                len(rows),
                leave=False,
                disable=None,  # where it is no terminal
            )
        )
    problems = [problem for _, problem in found if problem]
    if problems:
        logger.warning(
            "%s: the SNR of %d utterances is unknown, for their audio cannot "
            "be read (the first %s); nar-asr validate names them",
            *(references.path, len(problems), problems[0]),
        )
    return [snr for snr, _ in found]


def _read_snr(row: Utterance) -> tuple[float, str]:
    """The SNR of an utterance, or the fault of its audio."""
    # Seconds of imports, which lengths do not need.
    from nar_asr_lobes.dataio.audio.reading import read_audio
    from nar_asr_lobes.evaluation.snr import estimate_snr

    try:
        return estimate_snr(read_audio(row.audio, **row.stretch)), ""
    except AudioError as error:
        return math.nan, error.problem
