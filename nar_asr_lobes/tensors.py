"""Arrays and a JSON record in a safetensors file, opened memory-mapped."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import safetensors
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_write

_DTYPES = {"<f4": "F32", "<i4": "I32", "<i8": "I64"}
_ALIGNMENT = 64


def write_tensors(
    path: str | os.PathLike,
    kind: str,
    record: Mapping[str, Any],
    tensors: Mapping[str, Sequence[np.ndarray]],
) -> None:
    """Write a file of tensors atomically.

    ``record`` goes into the header as JSON; each tensor comes in contiguous
    parts, written one after the other, so that no copy of the whole is made.
    ``kind`` names the file in error messages.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.safetensors"
    >>> parts = [np.zeros((1, 3), "<f4"), np.ones((2, 3), "<f4")]
    >>> write_tensors(path, "numbers", {"a": 1}, {"x": parts})
    >>> record, tensors = open_tensors(path, "numbers", "write it again")
    >>> record, tensors["x"].shape
    ({'a': 1}, torch.Size([3, 3]))
    """
    # Wider numbers first, so that all are aligned.
    tensors = dict(sorted(tensors.items(), key=lambda t: -t[1][0].itemsize))
    metadata = {"kind": kind, "record": json.dumps(record)}
    header, offset = {"__metadata__": metadata}, 0
    for name, parts in tensors.items():
        begin, offset = offset, offset + sum(part.nbytes for part in parts)
        header[name] = {
            "dtype": _DTYPES[parts[0].dtype.str],
            "shape": [sum(map(len, parts)), *parts[0].shape[1:]],
            "data_offsets": [begin, offset],
        }
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    with atomic_write(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for parts in tensors.values():
            file.writelines(parts)


def open_tensors(
    path: str | os.PathLike, kind: str, remedy: str
) -> tuple[Any, dict[str, torch.Tensor]]:
    """Map a file of ``write_tensors`` into memory.

    Returns its record and tensors, views of the file to read only.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no file of {kind}; check the path")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != kind:
                raise damaged(path, kind, "its header names no such", remedy)
            record = json.loads(metadata["record"])
            return record, {name: file.get_tensor(name) for name in file.keys()}
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check the "
            "file's permissions"
        ) from error
    except (safetensors.SafetensorError, KeyError) as error:
        fault = "it is cut off, or not of safetensors"
        raise damaged(path, kind, fault, remedy) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, kind, "its record is not JSON", remedy) from error


def damaged(
    path: str | os.PathLike, kind: str, fault: str, remedy: str
) -> UserError:
    """Return the error of a file that is damaged or of another kind."""
    return UserError(f"{path}: is no whole file of {kind} ({fault}); {remedy}")
