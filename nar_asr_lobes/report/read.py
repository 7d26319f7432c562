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
from nar_asr_lobes.report.train_log import read_curves
from nar_asr_lobes.report.training_run import read_split_results

_RESULTS, _TRAIN_LOG = "results.json", "train_log.txt"
_REMEDY = (
    "give an output folder of train.py, or the file that --output of `nar-asr "
    "evaluate` or `nar-asr compare` wrote"
)


def read_report(path: str | os.PathLike) -> Report:
    """Read everything that there is to report.

    Arguments
    ---------
    path : str or path
        An output folder of ``train.py``; a file that ``nar-asr evaluate`` or
        ``nar-asr compare`` wrote, or a folder with it as ``results.json``.

    Returns
    -------
    Report

    Raises
    ------
    UserError
        Where nothing to report is there, or a file is damaged.
    """
    path = Path(path)
    results, log = path, None
    if path.is_dir():
        results, log = path / _RESULTS, path / _TRAIN_LOG
    found = Report(str(path), __version__)
    if log is not None and log.is_file():
        found.curves = read_curves(read_lines(log))
    if results.is_file():
        _read_results(found, results)
    if not found.curves and not found.sets:
        raise UserError(f"{path}: holds neither results nor losses; {_REMEDY}")
    return found


def _read_results(found: Report, path: Path) -> None:
    try:
        record = json.loads("\n".join(read_lines(path)))
        if "hypotheses" in record:
            found.sets = [read_evaluation(path, record)]
        else:
            found.sets = [
                read_split_results(path.parent, split, modes)
                for split, modes in record.items()
            ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: holds no results that this version knows; {_REMEDY}"
        ) from error
