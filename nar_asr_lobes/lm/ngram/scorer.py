"""Scores token sequences with an n-gram language model."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.lm.ngram.lookup import fill_rows, score_sentence, score_token
from nar_asr_lobes.lm.ngram.tables import NgramInfo, NgramTables, read_ngram


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
