"""Differences between checkpoints and between indexes, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nar_asr_lobes.storage import sha256
from nar_asr_lobes.training.checkpoint import Checkpoint

PARTS = ("model", "optimizer", "scheduler", "progress", "random")


def different_parts(one: Checkpoint, two: Checkpoint) -> list[str]:
    """Name the parts of two checkpoints that differ in any bit."""
    return [x for x in PARTS if not is_same(one.load(x), two.load(x))]


def is_same(one: Any, two: Any) -> bool:
    """Compare nested values, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        same = one.dtype == two.dtype and one.shape == two.shape
        return same and torch.equal(
            one.contiguous().flatten().view(torch.uint8),
            two.contiguous().flatten().view(torch.uint8),
        )
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(
            is_same(one[key], two[key]) for key in one
        )
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(is_same, one, two))
    return one == two


def different_files(one: Path, two: Path) -> list[str]:
    """Name the files of an index that differ; logs and paths do."""
    found = [
        {path.name: sha256(path) for path in folder.iterdir() if is_kept(path)}
        for folder in (one, two)
    ]
    names = found[0].keys() | found[1].keys()
    return sorted(x for x in names if found[0].get(x) != found[1].get(x))


def is_kept(path: Path) -> bool:
    """Tell whether a file belongs to the index."""
    return path.suffix in (".tar", ".rows", ".jsonl") or path.name in (
        "index.json",
        "left_out.txt",
    )
