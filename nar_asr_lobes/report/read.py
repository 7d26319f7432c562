"""From a folder or a result file to the contents of its report."""

from __future__ import annotations

import json
import os
from pathlib import Path

from nar_asr_lobes import __version__
from nar_asr_lobes.dataio.manifest import read_lines
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.report.contents import Report
from nar_asr_lobes.report.evaluation_result import read_evaluation
from nar_asr_lobes.report.robustness_result import read_robustness
from nar_asr_lobes.report.train_log import read_curves
from nar_asr_lobes.report.training_run import read_split_results

_RESULTS, _TRAIN_LOG = "results.json", "train_log.txt"
_OVERLAP = "overlap.json"
_REMEDY = (
    "give an output folder of train.py or of `nar-asr robustness`, or the file "
    "that --output of `nar-asr evaluate` or `nar-asr compare` wrote"
)


def read_report(path: str | os.PathLike) -> Report:
    """Read everything that there is to report.

    Arguments
    ---------
    path : str or path
        An output folder of ``train.py`` or of ``nar-asr robustness``; a file
        that ``nar-asr evaluate`` or ``nar-asr compare`` wrote, or a folder
        with it as ``results.json``.

    Returns
    -------
    Report

    Raises
    ------
    UserError
        Where nothing to report is there, or a file is damaged.
    """
    path = Path(path)
    found = Report(str(path), __version__)
    if (log := path / _TRAIN_LOG).is_file():
        found.curves = read_curves(read_lines(log))
    results = path / _RESULTS if path.is_dir() else path
    if results.is_file():
        _read_results(found, results)
    if (overlap := path / _OVERLAP).is_file():
        found.notes = _describe_overlap(json.loads(overlap.read_bytes()))
    if not found.curves and not found.sets:
        raise UserError(f"{path}: holds neither results nor losses; {_REMEDY}")
    return found


def _read_results(found: Report, path: Path) -> None:
    try:
        record = json.loads("\n".join(read_lines(path)))
        if "hypotheses" in record:
            found.sets = [read_evaluation(path, record)]
        elif "conditions" in record:
            found.sets = [read_robustness(record)]
        else:
            found.sets = [
                read_split_results(path.parent, split, modes)
                for split, modes in record.items()
            ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: holds no results that this version knows; {_REMEDY}"
        ) from error


def _describe_overlap(rows: list[dict]) -> list[str]:
    return [
        f"Overlap of {' and '.join(row['splits'])}: speakers "
        f"{row['speakers']}, texts {row['texts']}."
        for row in rows
    ]
