"""An n-gram language model as flat arrays, the same for every device.

V: pieces with the blank, S: states, A: arcs. A state is the part of the
past that still matters: words after which the model has n-grams. State 0 is no
words at all; its tokens have a table of their own, all others have arcs.

Look-up of a token in a state: its arc there, or else the state's back-off
weight and the look-up in the next shorter state.

Some tokens may back off in another way than the others: in an n-gram of words
over sentencepiece's pieces, a token that begins a word ends the one before.
They have a chain of their own, S more entries in `backoff` and
`backoff_state`.

The first states, those of the shortest pasts, may have all their look-ups
worked out (`lookup.fill_rows`): then one read answers, and a longer state backs
off no further than to one of them. Files do not hold these rows.

Files *.ngram are the tables as safetensors, opened memory-mapped. Look-ups
check nothing, so faults that would crash them are looked for when a file is
opened.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.tensors import damaged, open_tensors, write_tensors

# Natural logs beyond it are no probabilities, but sums of them are finite.
_LARGEST = 1e4
_ROUNDING = 1e-3  # of a log-probability of 0


def _nothing(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An empty array of the type that a model's has."""
    values = np.zeros(shape, dtype)
    values.setflags(write=False)
    return values


class NgramTables(NamedTuple):
    """The arrays of a model: C-contiguous and read-only.

    numba compiles once more for every other kind of array, so all are of this
    kind, whether built or mapped from a file. S states, A arcs, V labels; all
    log-probabilities are natural.
    """

    unigram_log_prob: np.ndarray  # float32 [V], in state 0; -inf for the blank
    unigram_state: np.ndarray  # int32 [V], the state after it
    backoff: np.ndarray  # float32 [S] or [2 S], may be above 0
    # int32 [S] or [2 S]: the next shorter state, always a smaller number;
    # among the second S the next one of that chain, which ends at 0
    backoff_state: np.ndarray
    final: np.ndarray  # float32 [S], of the sentence's end
    # int64 [S + 1]: state s has the arcs arc_begin[s]:arc_begin[s + 1],
    # sorted by token
    arc_begin: np.ndarray
    arc_token: np.ndarray  # int32 [A]
    arc_log_prob: np.ndarray  # float32 [A]
    arc_state: np.ndarray  # int32 [A], the state after it
    start: np.ndarray  # int32 [1], state at the start of a sentence
    # int32 [V]: where in backoff and backoff_state the token's entries
    # begin, 0 or S. Empty: all begin at 0, and there are S
    chain: np.ndarray = _nothing((0,), "<i4")
    # float64 [R, V], look-ups in the first R states
    row_log_prob: np.ndarray = _nothing((0, 0), "<f8")
    # int32 [R, V], the states after them
    row_state: np.ndarray = _nothing((0, 0), "<i4")


STORED = tuple(n for n in NgramTables._fields if not n.startswith("row_"))

DTYPES = NgramTables(
    unigram_log_prob=np.dtype("<f4"),
    unigram_state=np.dtype("<i4"),
    backoff=np.dtype("<f4"),
    backoff_state=np.dtype("<i4"),
    final=np.dtype("<f4"),
    arc_begin=np.dtype("<i8"),
    arc_token=np.dtype("<i4"),
    arc_log_prob=np.dtype("<f4"),
    arc_state=np.dtype("<i4"),
    start=np.dtype("<i4"),
    chain=np.dtype("<i4"),
    row_log_prob=np.dtype("<f8"),
    row_state=np.dtype("<i4"),
)


def find_fault(tables: NgramTables) -> str | None:
    """Look for faults that would crash a look-up, or keep it from ending.

    The arrays have the right types and shapes. Returns a phrase about the
    first one that is wrong, or None.
    """
    last_token = len(tables.unigram_log_prob) - 1
    last_state, arcs = len(tables.final) - 1, len(tables.arc_token)
    probability = -_LARGEST, _ROUNDING
    ranges = {
        "unigram_state": (0, last_state),
        "arc_state": (0, last_state),
        "backoff_state": (0, last_state),
        "start": (0, last_state),
        "arc_token": (1, last_token),
        "arc_begin": (0, arcs),
        "backoff": (-_LARGEST, _LARGEST),
        "final": probability,
        "arc_log_prob": probability,
    }
    for name, (low, high) in ranges.items():
        if not _within(getattr(tables, name), low, high):
            return f"{name} is not in {low}..{high}"
    if not _within(tables.unigram_log_prob[1:], *probability):
        return "unigram_log_prob is not in {}..{}".format(*probability)
    if tables.unigram_log_prob[0] != -np.inf:
        return "unigram_log_prob of the blank is not -inf"
    return _fault_in_chains(tables) or _fault_in_arcs(tables)


def _fault_in_chains(tables: NgramTables) -> str | None:
    states = len(tables.final)
    first, *second = tables.backoff_state.reshape(-1, states)
    if first[0] != 0 or not (first[1:] < np.arange(1, states)).all():
        return "backoff_state does not lead to shorter states"
    for ahead in second:
        # twice as far each time, and no way is longer than all states
        for _ in range(states.bit_length()):
            ahead = ahead[ahead]
        if ahead.any():
            return "backoff_state does not lead to state 0"
    if not np.isin(tables.chain, [0, states]).all():
        return f"chain is neither 0 nor {states}"
    return None


def _fault_in_arcs(tables: NgramTables) -> str | None:
    begin, arcs = tables.arc_begin, len(tables.arc_token)
    if begin[1] != 0 or begin[-1] != arcs or (np.diff(begin) < 0).any():
        return "arc_begin does not divide the arcs"
    rising = np.diff(tables.arc_token) > 0
    inner = begin[(begin > 0) & (begin < arcs)]
    rising[inner - 1] = True  # from one state's arcs to the next one's
    return None if rising.all() else "arc_token is not sorted"


def _within(values: np.ndarray, low: float, high: float) -> bool:
    """Tell whether all lie between; NaN does not."""
    return not len(values) or bool(low <= values.min() <= values.max() <= high)


def read_only(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array of this type that is fit for `NgramTables`."""
    values = np.ascontiguousarray(values, dtype=dtype)
    values.setflags(write=False)
    return values


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
