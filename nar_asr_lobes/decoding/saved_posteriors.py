"""Files *.posteriors.safetensors: a model's posteriors of a set.

    SavedPosteriors -> write_posteriors -> file -> read_posteriors -> the same

Searches, tunings and comparisons can start from such a file without model and
audio. The numbers are kept as float32, as the searches take them, so that they
find the very hypotheses that recognition finds; a file takes 4 bytes a frame
and piece, 370 MB an hour at 25 frames a second and 1024 pieces.

The file is a safetensors file with one tensor, log_probs [F, V], the frames of
all utterances one after the other; all else is JSON in its header.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.encoded import (
    require_frames,
    require_log_probs,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import require_number
from nar_asr_lobes.tensors import damaged, open_tensors, write_tensors

SUFFIX = ".posteriors.safetensors"

_KIND, _TENSOR = "posteriors", "log_probs"
_FACTS = ("ids", "references", "tokenizer", "frame_seconds", "audio_seconds")
_REMEDY = (
    f"name a file *{SUFFIX} that a fine-tuning or an evaluation wrote, or copy "
    "it again"
)


@dataclass(frozen=True)
class SavedPosteriors:
    """CTC posteriors of a set of utterances, and their references."""

    ids: list[str]
    references: list[str]
    log_probs: list[torch.Tensor]  # float32 [T, V] each, on the CPU
    tokenizer: str  # its fingerprint
    frame_seconds: float
    audio_seconds: float  # of all utterances

    def __post_init__(self):
        counts = [len(self.ids), len(self.references), len(self.log_probs)]
        if counts != [counts[0]] * 3 or not counts[0]:
            raise UserError(
                "{} ids, {} references and posteriors of {} utterances; there "
                "must be one of each, and at least one".format(*counts)
            )
        known = set()
        for name in self.ids:
            if name in known:
                raise UserError(
                    f"utterance {name!r} is there twice; give each its own id"
                )
            known.add(name)
        require_number("frame_seconds", self.frame_seconds, minimum=0)
        require_number("audio_seconds", self.audio_seconds, minimum=0)
        for name, values in zip(self.ids, self.log_probs, strict=True):
            self._check(values, f"utterance {name!r}")

    def _check(self, values: torch.Tensor, where: str) -> None:
        """Refuse all but log-probabilities [T, V], with the first one's V."""
        require_frames(values.shape, where)
        pieces = self.log_probs[0].shape[1]
        if values.dtype != torch.float32 or values.shape[1] != pieces:
            raise UserError(
                f"{where}: posteriors of {values.shape[1]} pieces in "
                f"{values.dtype}; all must be of {pieces} in torch.float32"
            )
        require_log_probs(values.amax(dim=1).numpy(), where)


def write_posteriors(path: str | os.PathLike, saved: SavedPosteriors) -> None:
    """Write posteriors, an utterance at a time, atomically."""
    rows = [values.contiguous().numpy() for values in saved.log_probs]
    record = {name: getattr(saved, name) for name in _FACTS}
    record["frames"] = list(map(len, rows))
    write_tensors(path, _KIND, record, {_TENSOR: rows})


def read_posteriors(
    path: str | os.PathLike, tokenizer: Tokenizer
) -> SavedPosteriors:
    """Map a file of posteriors, made with this tokenizer, to read only."""
    record, tensors = open_tensors(path, _KIND, _REMEDY)
    try:
        values = tensors[_TENSOR]
        _check_record(record, len(values))
    except (ValueError, TypeError, KeyError) as error:
        fault = "its header holds impossible values"
        raise damaged(path, _KIND, fault, _REMEDY) from error
    fingerprint = record["tokenizer"]
    if fingerprint != tokenizer.fingerprint:
        raise UserError(
            f"{path}: these posteriors were made with another tokenizer "
            f"(fingerprint {fingerprint[:12]}, not "
            f"{tokenizer.fingerprint[:12]}); give the one of their model"
        )
    if values.shape[1:] != (tokenizer.size,):
        fault = f"it is not for {tokenizer.size} pieces"
        raise damaged(path, _KIND, fault, _REMEDY)
    frames = record.pop("frames")
    try:
        return SavedPosteriors(log_probs=list(values.split(frames)), **record)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _check_record(record: Any, frames: int) -> None:
    """Raise an error where metadata are missing or of another kind."""
    if set(record) != {*_FACTS, "frames"}:
        raise KeyError("other metadata")
    for name, kind in (("ids", str), ("references", str), ("frames", int)):
        values = record[name]
        if type(values) is not list or {type(x) for x in values} - {kind}:
            raise TypeError(name)
    counts, fingerprint = record["frames"], record["tokenizer"]
    if sum(counts) != frames or min(counts, default=0) < 0:
        raise ValueError("frames")
    # An error shows part of it.
    if type(fingerprint) is not str or not fingerprint.isalnum():
        raise ValueError("tokenizer")
