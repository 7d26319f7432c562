"""Checkpoints that a crash cannot damage, and that notice damage.

A checkpoint is a directory ``step_N`` with files and ``checkpoint.json``,
which holds their SHA-256, some metadata and a digest of itself. It is written
under a temporary name, flushed to disk and renamed, so it is there whole or
not at all; a damaged one is passed over with a warning, and the one before it
is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nar_asr_lobes.distributed import world
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import (
    atomic_folder,
    cannot_write,
    sha256,
    write_text,
)
from nar_asr_lobes.training.optim.scheduler import load_optimizer

logger = logging.getLogger(__name__)
_META = "checkpoint.json"
MAY_CHANGE = "may_change"  # metadata that may change from one start to the next


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose files were verified."""

    path: Path
    step: int
    metadata: dict[str, Any]

    def load(self, name: str, device: str = "cpu") -> Any:
        """Load one of its parts; no code from the file is run."""
        return torch.load(
            self.path / f"{name}.pt", map_location=device, weights_only=True
        )

    def restore(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        stretch: bool = False,
    ) -> None:
        """Load the states of a run, and this rank's random state.

        With ``stretch`` the scheduler keeps its own number of steps.
        """
        self.restore_weights(model, optimizer)
        own = {"steps": scheduler.steps} if stretch else {}
        scheduler.load_state_dict(self.load("scheduler") | own)
        _take_random_state(self.load("random"), self.path)

    def restore_weights(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Load the states of model and optimiser alone."""
        device = next(model.parameters()).device
        try:
            model.load_state_dict(self.load("model", device))
            state = self.load("optimizer", device)
            load_optimizer(optimizer, state, str(self.path))
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.path}: was made with another objective; "
                "give the old one or a new output_folder"
            ) from error

    def require(self, metadata: Mapping[str, Any]) -> None:
        """Refuse to go on where metadata differ now (``UserError``).

        Those below ``MAY_CHANGE`` may change; that is told in the log.
        """
        for key, value in metadata.items():
            saved = self.metadata.get(key)
            if saved == value:
                continue
            if key == MAY_CHANGE:
                self._warn(saved or {}, value)
                continue
            if isinstance(saved, dict) and isinstance(value, dict):
                saved, value = _without_common(saved, value)
            raise UserError(
                f"{self.path}: was made with {key} {saved}, now it is "
                f"{value}; give the old one or a new output_folder"
            )

    def _warn(self, saved: dict, current: dict) -> None:
        saved, current = _without_common(saved, current)
        for key, value in current.items():
            logger.warning(
                "%s: was made with %s %s; from here on it is %s",
                self.path,
                key,
                saved.get(key),
                value,
            )


def _without_common(one: dict, two: dict) -> tuple[dict, dict]:
    """Leave out the keys with equal values."""
    common = [key for key in one if key in two and one[key] == two[key]]
    return tuple(
        {key: value for key, value in each.items() if key not in common}
        for each in (one, two)
    )


def _digest(meta: Mapping[str, Any]) -> str:
    """Hash the content of a ``checkpoint.json``."""
    text = json.dumps(meta, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_meta(path: Path) -> dict[str, Any]:
    """Read a ``checkpoint.json``; ValueError where it is not as written."""
    meta = json.loads((path / _META).read_text(encoding="utf-8"))
    if not isinstance(meta, dict) or meta.pop("digest", "") != _digest(meta):
        raise ValueError(f"{_META} does not match its digest")
    return meta


def _write(
    folder: Path,
    step: int,
    parts: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    hashes = {}
    for name, value in parts.items():
        path = folder / f"{name}.pt"
        with open(path, "wb") as file:  # a path would hide the reason
            torch.save(value, file)
        hashes[path.name] = sha256(path)
    meta = {"step": step, "metadata": dict(metadata), "sha256": hashes}
    meta["digest"] = _digest(meta)
    write_text(folder / _META, json.dumps(meta, indent=1))


class CheckpointFolder:
    """The checkpoints of one run: the newest ``keep``, and the best."""

    def __init__(self, folder: str | os.PathLike, keep: int = 2):
        self.folder = Path(folder)
        self.keep = keep

    def save(
        self, step: int, parts: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> Path:
        """Write a checkpoint, then remove those no longer needed."""
        final = self.folder / self._name(step)
        for stale in self.folder.glob(".step_*"):  # of a crashed run
            shutil.rmtree(stale, ignore_errors=True)
        with atomic_folder(final) as temporary:
            try:
                _write(temporary, step, parts, metadata)
            except RuntimeError as error:  # torch's own, of a full disk
                raise cannot_write(final, error) from error
        self._remove_old()
        return final

    @staticmethod
    def _name(step: int) -> str:
        return f"step_{step:08d}"

    def _paths(self) -> list[Path]:
        """List the checkpoints, newest first."""
        return sorted(self.folder.glob("step_*"), reverse=True)

    def _remove_old(self) -> None:
        best = self.best()
        for path in self._paths()[self.keep :]:
            if best is None or path != best.path:
                shutil.rmtree(path)

    def _verify(self, path: Path) -> Checkpoint | None:
        """Check every file of a checkpoint; warn when one is damaged."""
        try:
            meta = _read_meta(path)
            for name, digest in meta["sha256"].items():
                if sha256(path / name) != digest:
                    raise ValueError(f"{name} does not match its SHA-256")
            return Checkpoint(path, meta["step"], meta["metadata"])
        except (OSError, ValueError) as error:
            logger.warning(
                "checkpoint %s is damaged (%s); the one before it is used",
                path,
                error,
            )
            return None

    def metadata(self) -> dict[str, Any] | None:
        """Read the newest readable metadata; no other file is looked at."""
        for path in self._paths():
            try:
                return _read_meta(path)["metadata"]
            except (OSError, ValueError, KeyError):
                continue
        return None

    def newest(self, last: int | None = None) -> Checkpoint | None:
        """Give the newest whole checkpoint, if any, up to a ``last`` step."""
        for path in self._paths():
            if last is not None and path.name > self._name(last):
                continue
            checkpoint = self._verify(path)
            if checkpoint is not None:
                return checkpoint
        return None

    def best(self) -> Checkpoint | None:
        """Give the whole checkpoint with the lowest score; ties to newer."""
        scored = []
        for path in self._paths():
            try:
                score = _read_meta(path)["metadata"].get("score")
            except (OSError, ValueError):
                continue
            # A NaN would sort anywhere.
            if score is not None and math.isfinite(score):
                scored.append((score, path))
        for _, path in sorted(scored, key=lambda pair: pair[0]):
            checkpoint = self._verify(path)
            if checkpoint is not None:
                return checkpoint
        return None


def seed_random(seed: int) -> None:
    """Seed the streams of ``random_state``."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict:
    """Collect this process's random states in types that weights_only loads."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict) -> None:
    """Restore the states of ``random_state``."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _take_random_state(states: Sequence[dict], source: object) -> None:
    """Take up this rank's of the states that a checkpoint holds."""
    rank, ranks = world()
    if len(states) == ranks:
        _set_random_state(states[rank])
        return
    logger.warning(
        "%s was written by %d processes and is continued by %d: the data order "
        "is the same, dropout draws are new",
        source,
        len(states),
        ranks,
    )
