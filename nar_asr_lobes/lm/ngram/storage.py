"""Files *.ngram: the tables of a language model, as safetensors.

They are opened memory-mapped. Look-ups check nothing, so faults that would
crash them are looked for when a file is opened.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import Any

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.tables import (
    DTYPES,
    STORED,
    NgramTables,
    find_fault,
)
from nar_asr_lobes.tensors import damaged, open_tensors, write_tensors

_KIND = "n-gram tables"
_REMEDY = (
    "name the file *.ngram that nar-asr lm train or lm convert wrote, or copy "
    "it again"
)


@dataclass(frozen=True)
class NgramInfo:
    """Metadata of a language model beside its tables."""

    tokenizer: str  # its fingerprint
    order: int  # longest n-gram, in units
    lines_used: int
    lines_left_out: int  # empty or with unknown characters
    estimator: str  # "lmplz", "numpy", or "arpa" for a converted file
    unit: str = "pieces"  # "pieces" or "words"


def write_ngram(
    path: str | os.PathLike, tables: NgramTables, info: NgramInfo
) -> None:
    """Write a model atomically."""
    arrays = {name: [getattr(tables, name)] for name in STORED}
    write_tensors(path, _KIND, asdict(info), arrays)


def read_ngram(
    path: str | os.PathLike, tokenizer: Tokenizer
) -> tuple[NgramTables, NgramInfo]:
    """Map a model of this tokenizer into memory."""
    record, arrays = open_tensors(path, _KIND, _REMEDY)
    try:
        info = _info(record)
        tables = NgramTables(**{n: arrays[n].numpy() for n in STORED})
        fault = _fault_in_shapes(tables, tokenizer.size)
    except (ValueError, TypeError, KeyError) as error:
        fault = "its header holds impossible values"
        raise damaged(path, _KIND, fault, _REMEDY) from error
    if info.tokenizer != tokenizer.fingerprint:
        raise UserError(
            f"{path}: this language model was made with another tokenizer"
            f" (fingerprint {info.tokenizer[:12]}, not"
            f" {tokenizer.fingerprint[:12]}); train it again with this one"
        )
    if fault := fault or find_fault(tables):
        raise damaged(path, _KIND, fault, _REMEDY)
    for values in tables:
        values.setflags(write=False)
    return tables, info


def _info(record: Any) -> NgramInfo:
    info = NgramInfo(**record)
    for field in fields(info):
        value = getattr(info, field.name)
        if type(value).__name__ != field.type:
            raise TypeError(field.name)
    if not info.tokenizer.isalnum():  # errors show a part of it
        raise ValueError("tokenizer")
    return info


def _fault_in_shapes(tables: NgramTables, vocabulary: int) -> str | None:
    """Find an array of another type or shape than the others ask for."""
    states, arcs = len(tables.final), len(tables.arc_token)
    chain = len(tables.chain) > 0
    backoffs = 2 * states if chain else states
    shapes = {
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
    for name, length in shapes.items():
        values, dtype = getattr(tables, name), getattr(DTYPES, name)
        if values.shape != (length,) or values.dtype != dtype:
            return f"{name} is not {dtype.name} of {length}"
    return None if states else "there are no states"
