"""Files *.posteriors.safetensors: what a model heard in a set of utterances.

    SavedPosteriors -> write_posteriors -> file -> read_posteriors -> the same

Searches, tunings and comparisons can start from such a file without model and
audio. The numbers are kept as float32, as the searches take them, so that they
find the very hypotheses that recognition finds; a file takes 4 bytes a frame
and piece, 370 MB an hour at 25 frames a second and 1024 pieces.

The file is a safetensors file with one tensor, log_probs [F, V], the frames of
all utterances one after the other, and three entries of metadata: the format,
the facts in JSON, and the SHA-256 of facts and numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import torch

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.validation import (
    require_frames,
    require_log_probs,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import require_number
from nar_asr_lobes.storage import atomic_write

SUFFIX = ".posteriors.safetensors"

_FORMAT = "nar-asr-posteriors-1"
_TENSOR = "log_probs"
_FACTS = ("ids", "references", "tokenizer", "frame_seconds", "audio_seconds")
_REMEDY = "copy it again, or let the run that wrote it write it again"


@dataclass(frozen=True)
class SavedPosteriors:
    """CTC posteriors of a set of utterances, and what was said in them.

    Arguments
    ---------
    ids : list of str
        All different, at least one.
    references : list of str
        What was said, in the form the tokenizer decodes to.
    log_probs : list of torch.Tensor
        Natural log-probabilities, float32 [T, V] of each utterance without
        padding, on the CPU; column 0 is the blank.
    tokenizer : str
        Fingerprint of the tokenizer whose pieces the columns are.
    frame_seconds : float
        From one frame to the next.
    audio_seconds : float
        Of all utterances together.

    Raises
    ------
    UserError
        If the lists differ in length, an id is there twice, or posteriors
        cannot be log-probabilities, such as NaN.
    """

    ids: list[str]
    references: list[str]
    log_probs: list[torch.Tensor]
    tokenizer: str
    frame_seconds: float
    audio_seconds: float

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
        """Refuse what is no [T, V] of log-probabilities, V as the first's."""
        require_frames(values.shape, where)
        pieces = self.log_probs[0].shape[1]
        if values.dtype != torch.float32 or values.shape[1] != pieces:
            raise UserError(
                f"{where}: posteriors of {values.shape[1]} pieces in "
                f"{values.dtype}; all must be of {pieces} in torch.float32"
            )
        require_log_probs(values.amax(dim=1).numpy(), where)


def write_posteriors(path: str | os.PathLike, saved: SavedPosteriors) -> None:
    """Write posteriors; the file appears whole or not at all.

    Arguments
    ---------
    path : str or path
        Where; an older file that is mapped from there stays as it was.
    saved : SavedPosteriors
        Written utterance by utterance, so no second copy is in memory.

    Raises
    ------
    UserError
        If it cannot be written.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> tokenizer = CharTokenizer("ab")
    >>> heard = torch.randn(7, tokenizer.size).log_softmax(-1)
    >>> path = tempfile.mkdtemp() + "/dev" + SUFFIX
    >>> write_posteriors(path, SavedPosteriors(
    ...     ["u1"], ["ab"], [heard], tokenizer.fingerprint, 0.04, 0.28
    ... ))
    >>> saved = read_posteriors(path, tokenizer)
    >>> saved.ids, torch.equal(saved.log_probs[0], heard)
    (['u1'], True)
    """
    rows = [values.contiguous().numpy() for values in saved.log_probs]
    frames = [len(row) for row in rows]
    record = {name: getattr(saved, name) for name in _FACTS}
    facts = json.dumps(record | {"frames": frames})
    header = _header(facts, _sha256(facts, rows), sum(frames), rows[0].shape[1])
    with atomic_write(path) as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.writelines(rows)


def read_posteriors(
    path: str | os.PathLike, tokenizer: Tokenizer
) -> SavedPosteriors:
    """Map a file of posteriors after making sure that it is whole.

    Arguments
    ---------
    path : str or path
        Written by ``write_posteriors``.
    tokenizer : Tokenizer
        The one of the model that heard them.

    Returns
    -------
    SavedPosteriors
        Its ``log_probs`` are views of the file, which need no memory of their
        own; to read only.

    Raises
    ------
    UserError
        For no file or another kind of file, a damaged one, another tokenizer,
        and posteriors that cannot be.
    """
    metadata, values = _open(path)
    facts = metadata.get("facts", "")
    if _sha256(facts, [values.numpy()]) != metadata.get("sha256"):
        raise _damaged(path, "its SHA-256 is not the one it names")
    try:
        record = _record(facts, len(values))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, "it does not say what it holds") from error
    fingerprint = record["tokenizer"]
    if fingerprint != tokenizer.fingerprint:
        raise UserError(
            f"{path}: these posteriors were made with another tokenizer "
            f"(fingerprint {fingerprint[:12]}, not "
            f"{tokenizer.fingerprint[:12]}); give the one of their model"
        )
    if values.shape[1] != tokenizer.size:
        raise _damaged(path, f"it is not for {tokenizer.size} pieces")
    frames = record.pop("frames")
    try:
        return SavedPosteriors(log_probs=list(values.split(frames)), **record)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _open(path: str | os.PathLike) -> tuple[dict[str, str], torch.Tensor]:
    """Return the metadata, and the tensor as a view of the file."""
    if not os.path.isfile(path):
        raise UserError(f"{path}: there are no posteriors; check the path")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise UserError(
                    f"{path}: holds no posteriors in a format that this "
                    f"program reads; name a file *{SUFFIX} that a fine-tuning "
                    "or an evaluation wrote"
                )
            tensor = file.get_slice(_TENSOR)
            if tensor.get_dtype() != "F32" or len(tensor.get_shape()) != 2:
                raise _damaged(path, "its numbers are not as they should be")
            return metadata, file.get_tensor(_TENSOR)
    except OSError as error:
        raise UserError(
            f"{path}: these posteriors cannot be read "
            f"({error.strerror or error}); check the file's permissions"
        ) from error
    except safetensors.SafetensorError as error:
        raise _damaged(path, "it is no whole safetensors file") from error


def _header(facts: str, digest: str, frames: int, pieces: int) -> bytes:
    """Return a safetensors header in JSON, filled up to a multiple of 64."""
    metadata = {"format": _FORMAT, "sha256": digest, "facts": facts}
    tensor = {
        "dtype": "F32",
        "shape": [frames, pieces],
        "data_offsets": [0, 4 * frames * pieces],
    }
    header = json.dumps({"__metadata__": metadata, _TENSOR: tensor}).encode()
    return header + b" " * (-(8 + len(header)) % 64)


def _sha256(facts: str, rows: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256(facts.encode())
    for row in rows:
        digest.update(row)
    return digest.hexdigest()


def _record(facts: str, frames: int) -> dict[str, Any]:
    """Parse the facts; an error where one is missing or of another kind."""
    record = json.loads(facts)
    if set(record) != {*_FACTS, "frames"}:
        raise KeyError("other facts")
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
    return record


def _damaged(path: str | os.PathLike, fault: str) -> UserError:
    return UserError(
        f"{path}: these posteriors are damaged or were changed ({fault}); "
        f"{_REMEDY}"
    )
