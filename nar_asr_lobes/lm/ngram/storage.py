"""Files *.ngram: the tables of a language model, mapped into memory.

    bytes   what
    16      "nar-asr-ngram-2", end of line; 3 if a chain is among the arrays
    32      SHA-256 of all that follows
    8       H, length of the header
    H       header in JSON, filled up with spaces to a multiple of 64
    ...     the arrays of NgramTables one after the other, little-endian,
            each filled up with zeros to a multiple of 64; without the last,
            chain, where it is empty

The arrays of a file that fits its SHA-256 are checked as well: a look-up
checks nothing, and whoever changes a file can change its SHA-256 too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.tables import (
    DTYPES,
    STORED,
    NgramTables,
    find_fault,
)
from nar_asr_lobes.storage import atomic_write

_FAMILY = b"nar-asr-ngram-"
_FORMATS = _FAMILY + b"2\n", _FAMILY + b"3\n"  # without chain, with it
_HEAD = struct.Struct("<16s32sQ")
_HASHED = 48  # where the SHA-256 starts to count
_ALIGNMENT = 64
_LONGEST_HEADER = 1 << 16


@dataclass(frozen=True)
class NgramInfo:
    """What is known of a language model beside its tables.

    Arguments
    ---------
    tokenizer : str
        Fingerprint of the tokenizer whose pieces it predicts.
    order : int
        Longest n-gram it was trained for, in its units.
    lines_used : int
        Lines of text it was estimated on.
    lines_left_out : int
        Lines that were empty or had characters outside the tokenizer.
    estimator : str
        "lmplz" or "numpy"; "arpa" for a model that was read from a file.
    unit : str
        "pieces", or "words" whose n-gram was made one over pieces.

    Example
    -------
    >>> NgramInfo("ab", 3, 10, 0, "numpy").order
    3
    """

    tokenizer: str
    order: int
    lines_used: int
    lines_left_out: int
    estimator: str
    unit: str = "pieces"


_TYPES = NgramInfo(str, int, int, int, str, str)


def write_ngram(
    path: str | os.PathLike, tables: NgramTables, info: NgramInfo
) -> None:
    """Write a model; the file appears whole or not at all.

    Arguments
    ---------
    path : str or path
        Where; an older model that is mapped from there stays as it was.
    tables : NgramTables
    info : NgramInfo

    Raises
    ------
    UserError
        If it cannot be written.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> from nar_asr_lobes.lm.ngram.kneser_ney import estimate
    >>> from nar_asr_lobes.lm.ngram.states import build_tables
    >>> model = estimate(np.array([1, 2]), np.array([2]), order=2)
    >>> tokenizer = CharTokenizer("ab")
    >>> info = NgramInfo(tokenizer.fingerprint, 2, 1, 0, "numpy")
    >>> path = tempfile.mkdtemp() + "/lm.ngram"
    >>> write_ngram(path, build_tables(model, tokenizer.size), info)
    >>> read_ngram(path, tokenizer)[1] == info
    True
    """
    lengths = {name: len(getattr(tables, name)) for name in STORED}
    if not lengths["chain"]:
        del lengths["chain"]
    record = dataclasses.asdict(info) | {"arrays": _arrays(lengths)}
    header = json.dumps(record).encode("ascii")
    header += b" " * _padding(_HEAD.size + len(header))
    digest = hashlib.sha256()
    for part in _parts(header, tables):
        digest.update(part)
    with atomic_write(path) as file:
        file.write(_FORMATS["chain" in lengths] + digest.digest())
        file.writelines(_parts(header, tables))


def read_ngram(
    path: str | os.PathLike, tokenizer: Tokenizer
) -> tuple[NgramTables, NgramInfo]:
    """Map a model into memory after making sure that it is whole.

    Arguments
    ---------
    path : str or path
        Written by `write_ngram`.
    tokenizer : Tokenizer
        The one it was trained with.

    Returns
    -------
    tuple
        NgramTables, which need no memory of their own, and NgramInfo.

    Raises
    ------
    UserError
        For no file or another kind of file, a damaged one, or another
        tokenizer.
    """
    content = _map(path)
    header_length = _check_head(path, content)
    try:
        header = content[_HEAD.size : _HEAD.size + header_length].tobytes()
        record = json.loads(header)
        arrays, info = record.pop("arrays"), _info(record)
        tables = _tables(arrays, content[_HEAD.size + header_length :])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, "its header says what cannot be") from error
    except RecursionError as error:
        raise _damaged(path, "its header is nested too deeply") from error
    if info.tokenizer != tokenizer.fingerprint:
        raise UserError(
            f"{path}: this language model was made with another tokenizer"
            f" (fingerprint {info.tokenizer[:12]}, not"
            f" {tokenizer.fingerprint[:12]}); train it again with this one"
        )
    fault = find_fault(tables)
    if len(tables.unigram_log_prob) != tokenizer.size:
        fault = f"it is not for {tokenizer.size} pieces"
    if fault:
        raise _damaged(path, fault)
    return tables, info


def _map(path: str | os.PathLike) -> np.ndarray:
    """Map a file, read-only, as uint8."""
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no language model; check the path")
    try:
        if os.path.getsize(path) < _HEAD.size:
            raise _damaged(path, "it is too short")
        # Other subclasses of ndarray are other types for numba.
        return np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    except OSError as error:
        raise UserError(
            f"{path}: cannot read this language model ({error.strerror});"
            " check its permissions"
        ) from error


def _check_head(path: str | os.PathLike, content: np.ndarray) -> int:
    """Check the kind of file and its SHA-256; return the header's length."""
    kind, sha256, length = _HEAD.unpack(content[: _HEAD.size].tobytes())
    if not kind.startswith(_FAMILY):
        raise UserError(
            f"{path}: is no file of a language model's tables; name the file"
            " *.ngram that its training wrote, or make one of an ARPA file"
            " with nar-asr lm convert"
        )
    if kind not in _FORMATS:
        raise UserError(
            f"{path}: this language model has another format than this"
            " program reads; train it again, or install the version that"
            " wrote it"
        )
    if hashlib.sha256(content[_HASHED:]).digest() != sha256:
        raise _damaged(path, "its SHA-256 is not the one it names")
    room = len(content) - _HEAD.size
    if not 0 < length <= min(room, _LONGEST_HEADER) or _padding(
        _HEAD.size + length
    ):
        raise _damaged(path, f"its header cannot be of {length} bytes")
    return length


def _info(record: dict[str, Any]) -> NgramInfo:
    info = NgramInfo(**record)
    for name, kind in dataclasses.asdict(_TYPES).items():
        value = getattr(info, name)
        if type(value) is not kind:
            raise TypeError(name)
        # Errors show parts of them.
        if kind is str and not (value.isascii() and value.isprintable()):
            raise ValueError(name)
        if kind is int and value < 0:
            raise ValueError(name)
    return info


def _arrays(lengths: dict[str, int]) -> dict[str, dict[str, str | int]]:
    """Describe the arrays; offsets count from the end of the header."""
    arrays, offset = {}, 0
    for name, length in lengths.items():
        dtype = getattr(DTYPES, name)
        arrays[name] = {"dtype": dtype.str, "length": length, "offset": offset}
        offset += length * dtype.itemsize
        offset += _padding(offset)
    return arrays


def _tables(arrays: dict[str, Any], payload: np.ndarray) -> NgramTables:
    """Return views of the payload; the header describes them."""
    names = [n for n in STORED if n != "chain" or n in arrays]
    lengths = {name: arrays[name]["length"] for name in names}
    if any(type(n) is not int or n < 0 for n in lengths.values()):
        raise ValueError("a length is no whole number")
    expected = _arrays(lengths)
    if arrays != expected:
        raise ValueError("the arrays do not follow each other")
    views = {}
    for name in names:
        start, dtype = expected[name]["offset"], getattr(DTYPES, name)
        stop = start + lengths[name] * dtype.itemsize
        views[name] = payload[start:stop].view(dtype)
    if len(payload) != stop + _padding(stop):
        raise ValueError("the file has another length than its arrays")
    tables = NgramTables(**views)
    shape = _shape(tables)
    if any(shape[name] != length for name, length in lengths.items()):
        raise ValueError("the lengths of the arrays do not fit together")
    if not len(tables.unigram_log_prob) or not len(tables.final):
        raise ValueError("there are no pieces, or no states")
    return tables


def _shape(tables: NgramTables) -> dict[str, int]:
    """Return the lengths that arrays must have beside the others."""
    vocabulary, states = len(tables.unigram_log_prob), len(tables.final)
    arcs, chain = len(tables.arc_token), len(tables.chain)
    backoffs = 2 * states if chain else states
    return {
        "unigram_log_prob": vocabulary,
        "unigram_state": vocabulary,
        "backoff": backoffs,
        "backoff_state": backoffs,
        "final": states,
        "arc_begin": states + 1,
        "arc_token": arcs,
        "arc_log_prob": arcs,
        "arc_state": arcs,
        "start": 1,
        "chain": vocabulary if chain else 0,
    }


def _parts(
    header: bytes, tables: NgramTables
) -> Iterator[bytes | memoryview | np.ndarray]:
    """Yield what the SHA-256 is of."""
    yield struct.pack("<Q", len(header))
    yield header
    for values in (getattr(tables, name) for name in STORED):
        yield values.view(np.uint8)
        yield bytes(_padding(values.nbytes))


def _padding(size: int) -> int:
    return -size % _ALIGNMENT


def _damaged(path: str | os.PathLike, fault: str) -> UserError:
    return UserError(
        f"{path}: this language model is damaged or was changed ({fault});"
        " copy it again or train it again"
    )
