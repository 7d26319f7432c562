"""Curves of a training, from the lines of its ``train_log.txt``.

step: 50, skipped_steps: 0 - train loss: 3.338, train lr: 1.020e-04
step: 50, skipped_steps: 0 - valid loss: 3.101, valid wer: 0.987
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import fmean

from nar_asr_lobes.report.contents import Curve

_ENTRY = re.compile(r"(?:(train|valid) )?([^\s:,]+): ([-+]?\d[\d.e+-]*)")
_MOST_POINTS = 1000


def read_curves(lines: Iterable[str]) -> list[Curve]:
    """Read the curves of a log.

    Arguments
    ---------
    lines : iterable of str
        Of the file, in order. Where a step stands twice, as after a resume,
        the last one counts; other lines and values that are no number are
        left out.

    Returns
    -------
    list of Curve
        In the order of their first lines, those of one value throughout left
        out. At most 1,000 points each: beyond that, means of neighbours.

    Example
    -------
    >>> line = "step: {0}, skipped_steps: 0 - train loss: {0}.5, train lr: 1.0"
    >>> read_curves(line.format(step) for step in (1, 2))
    [Curve(name='loss', train=[[1, 1.5], [2, 2.5]], valid=[])]
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for line in lines:
        entries = _ENTRY.findall(line)
        if not entries or entries[0][1] != "step":
            continue
        step = int(entries[0][2])
        for split, name, value in entries[1:]:
            if split:
                splits = found.setdefault(name, {"train": {}, "valid": {}})
                splits[split][step] = float(value)
    curves = [
        Curve(name, _points(splits["train"]), _points(splits["valid"]))
        for name, splits in found.items()
    ]
    return [curve for curve in curves if _varies(curve)]


def _varies(curve: Curve) -> bool:
    return len({value for _, value in curve.train + curve.valid}) > 1


def _points(values: dict[int, float]) -> list[list[float]]:
    """Order by step; take means of neighbours where there are too many."""
    points = sorted(values.items())
    size = -(-len(points) // _MOST_POINTS) or 1
    return [
        [_mean(column) for column in zip(*points[i : i + size], strict=True)]
        for i in range(0, len(points), size)
    ]


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else round(fmean(values), 6)
