"""An n-gram language model, and look-ups in its tables as compiled code.

Other kernels may call them. They check nothing: states and tokens must be
those of the tables.

    states of a beam -> a row [V] for each, kept while the beam stays there

States that have a row in the tables need no other one. Where a frame says
little, a beam stays as it is for many frames and refuses almost every token.
One number out of a row tells so sooner than a look-up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.jit import (
    jit_entry,
    jit_function,
    jit_inline,
    jit_inline_entry,
)
from nar_asr_lobes.lm.ngram.tables import (
    DTYPES,
    NgramInfo,
    NgramTables,
    read_ngram,
    read_only,
)

# Numbers in the rows of a model, 12 bytes each; a cache is not much larger,
# and working them out takes a few hundredths of a second.
_NUMBERS = 1 << 20
NONE = -1
# Fewer tokens of a frame are looked up one by one; in a wider beam, finding
# its rows takes longer than the look-ups.
_TOKENS, _BEAM = 8, 64
# Larger than the change of a score by the order of additions.
_ROUNDING = 1e-6


@jit_inline_entry
def score_token(
    tables: NgramTables, state: int, token: int
) -> tuple[float, int]:
    """Return a token's natural log-probability, and the state after it."""
    log_prob, rows = 0.0, len(tables.row_log_prob)
    while state != 0 and state >= rows:
        low, end = tables.arc_begin[state], tables.arc_begin[state + 1]
        high = end
        while low < high:
            middle = (low + high) >> 1
            if tables.arc_token[middle] < token:
                low = middle + 1
            else:
                high = middle
        if low < end and tables.arc_token[low] == token:
            log_prob += tables.arc_log_prob[low]
            return log_prob, tables.arc_state[low]
        if len(tables.chain):
            state += tables.chain[token]
        log_prob += tables.backoff[state]
        state = tables.backoff_state[state]
    log_prob += shortest(tables, state, token)
    if rows:
        return log_prob, tables.row_state[state, token]
    return log_prob, tables.unigram_state[token]


@jit_inline
def shortest(tables: NgramTables, state: int, token: int) -> float:
    """Predict one token where backing off ends: in state 0 or in a row."""
    if len(tables.row_log_prob):
        return tables.row_log_prob[state, token]
    return np.float64(tables.unigram_log_prob[token])


def fill_rows(tables: NgramTables, numbers: int = _NUMBERS) -> NgramTables:
    """Work out every look-up in the first states, ``numbers`` at most.

    Look-ups find the same but for rounding.
    """
    size, states = len(tables.unigram_log_prob), len(tables.final)
    rows = min(max(1, numbers // size), states)
    log_prob, state = np.empty((rows, size)), np.empty((rows, size), np.int32)
    _fill(tables, log_prob, state)
    return tables._replace(
        row_log_prob=read_only(log_prob, DTYPES.row_log_prob),
        row_state=read_only(state, DTYPES.row_state),
    )


@jit_entry
def _fill(tables, log_prob, state):
    """Look every token up in every state that has a row."""
    for row in range(len(log_prob)):
        log_prob[row, 0], state[row, 0] = -np.inf, 0  # no token
        for token in range(1, log_prob.shape[1]):
            log_prob[row, token], state[row, token] = score_token(
                tables, row, token
            )


@jit_entry
def score_sentence(tables: NgramTables, tokens: np.ndarray) -> float:
    """Return the natural log-probability of tokens [L] and the end."""
    state, total = tables.start[0], 0.0
    for token in tokens:
        log_prob, state = score_token(tables, state, token)
        total += log_prob
    return total + tables.final[state]


class Rows(NamedTuple):
    """Rows, their states and the frames they were last asked in; the row of
    each prefix of the beam."""

    log_prob: np.ndarray
    state: np.ndarray
    asked: np.ndarray
    place: np.ndarray


def new_rows(beam_size: int, tables: NgramTables) -> Rows:
    """Make room for twice as many rows as the beam has states."""
    places = min(beam_size, _BEAM)
    return Rows(
        np.empty((2 * places, len(tables.unigram_log_prob)), np.float64),
        np.full(2 * places, NONE, np.int64),
        np.full(2 * places, NONE, np.int64),
        np.empty(places, np.int64),
    )


@jit_inline
def find_rows(
    rows: Rows, tables: NgramTables, beam: np.ndarray, frame: int, tokens: int
) -> bool:
    """Find the row of each prefix of a beam; False if it is not worth it.

    ``beam`` holds records with a ``state``, ``frame`` rises from call to call,
    and so many ``tokens`` will be asked for.
    """
    if tokens < _TOKENS or len(beam) > len(rows.place):
        return False
    _find_all(rows, tables, beam, frame)
    return True


@jit_function
def _find_all(rows, tables, beam, frame):
    """Give each prefix its row, new ones in place of those asked long ago."""
    for k in range(len(beam)):
        place, state = 0, beam[k].state
        if state < len(tables.row_log_prob):
            continue
        for i in range(len(rows.state)):
            if rows.state[i] == state:
                place = i
                break
            if rows.asked[i] < rows.asked[place]:
                place = i
        if rows.state[place] != state:
            rows.state[place] = state
            _fill_row(tables, state, rows.log_prob[place])
        rows.asked[place], rows.place[k] = frame, place


@jit_inline
def _fill_row(tables: NgramTables, state: int, row: np.ndarray) -> None:
    """Predict every token into ``row`` [V], with ``score_token``'s sums."""
    if len(tables.chain) == 0:
        _follow_one(tables, state, row)
        return
    row[:] = np.inf
    for chain in range(0, len(tables.backoff), len(tables.final)):
        _follow(tables, state, chain, row)


@jit_inline
def _follow_one(tables, state, row):
    """Predict all tokens, from the shortest state to the longest."""
    last, weight, depth = state, 0.0, 0
    while last != 0 and last >= len(tables.row_log_prob):
        weight += tables.backoff[last]
        last, depth = tables.backoff_state[last], depth + 1
    for token in range(len(row)):
        row[token] = weight + shortest(tables, last, token)
    while depth > 0:
        depth -= 1
        longer, weight = state, 0.0
        for _ in range(depth):
            weight += tables.backoff[longer]
            longer = tables.backoff_state[longer]
        end = tables.arc_begin[longer + 1]
        for arc in range(tables.arc_begin[longer], end):
            row[tables.arc_token[arc]] = weight + tables.arc_log_prob[arc]


@jit_inline
def _follow(tables, state, chain, row):
    """Predict the tokens of a chain of back-offs."""
    weight, rows = 0.0, len(tables.row_log_prob)
    while state != 0 and state >= rows:
        for arc in range(tables.arc_begin[state], tables.arc_begin[state + 1]):
            token = tables.arc_token[arc]
            if row[token] == np.inf and tables.chain[token] == chain:
                row[token] = weight + tables.arc_log_prob[arc]
        weight += tables.backoff[chain + state]
        state = tables.backoff_state[chain + state]
    for token in range(len(row)):
        if row[token] == np.inf and tables.chain[token] == chain:
            row[token] = weight + shortest(tables, state, token)


@jit_inline
def most(
    rows: Rows, tables: NgramTables, k: int, state: int, token: int
) -> float:
    """Bound the token's log-probability after the beam's prefix ``k``."""
    if state < len(tables.row_log_prob):
        return tables.row_log_prob[state, token] + _ROUNDING
    return rows.log_prob[rows.place[k], token] + _ROUNDING


class NgramLM:
    """An n-gram language model over a tokenizer's pieces; see `load`.

    A piece that the training text did not have gets the model's probability
    of an unknown word. States are numbers, and equal ones predict the same.

    Arguments
    ---------
    tables : NgramTables
    info : NgramInfo

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> from nar_asr_lobes.lm.ngram.training import train_ngram
    >>> path = tempfile.mkdtemp() + "/lm.arpa"
    >>> tokenizer = CharTokenizer("ab")
    >>> report = train_ngram(["ab", "ab", "b"], tokenizer, 2, path)
    >>> lm = NgramLM.load(report.path, tokenizer)
    >>> lm.sentence([1, 2]) > lm.sentence([2, 1])
    True
    """

    def __init__(self, tables: NgramTables, info: NgramInfo):
        self.tables = fill_rows(tables)
        self.info = info

    @classmethod
    def load(cls, path: str | os.PathLike, tokenizer: Tokenizer) -> NgramLM:
        """Open a model that `train_ngram` wrote.

        Arguments
        ---------
        path : str or path
            The file *.ngram.
        tokenizer : Tokenizer
            The one it was trained with.

        Returns
        -------
        NgramLM

        Raises
        ------
        UserError
            The file is missing or damaged, or the model belongs to another
            tokenizer.
        """
        return cls(*read_ngram(path, tokenizer))

    def start(self) -> int:
        """Return the state at the start of a sentence."""
        return int(self.tables.start[0])

    def score(self, state: int, token_id: int) -> tuple[float, int]:
        """Predict one token.

        Arguments
        ---------
        state : int
            From `start` or `score`.
        token_id : int
            In 1..size-1; the blank is no token.

        Returns
        -------
        tuple
            Natural log-probability of the token, and the state after it.

        Raises
        ------
        ValueError
            For an id outside 1..size-1.
        """
        self._check(token_id, token_id)
        return score_token(self.tables, state, int(token_id))

    def final(self, state: int) -> float:
        """Return the natural log-probability of ending the sentence here."""
        return float(self.tables.final[state])

    def sentence(self, tokens: Iterable[int]) -> float:
        """Return the natural log-probability of a sentence and its end.

        Arguments
        ---------
        tokens : iterable of int
            Ids in 1..size-1; may be empty.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For an id outside 1..size-1.
        """
        ids = np.array(list(tokens), dtype=np.int64)
        if len(ids):
            self._check(ids.min(), ids.max())
        return score_sentence(self.tables, ids)

    def _check(self, lowest: int, highest: int) -> None:
        size = len(self.tables.unigram_log_prob)
        if lowest < 1 or highest >= size:
            wrong = lowest if lowest < 1 else highest
            raise ValueError(
                f"id {wrong} is not in 1..{size - 1}; remove blanks and masks"
                " before scoring"
            )
