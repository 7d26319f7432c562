"""Scores token sequences with an n-gram language model, through KenLM."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from nar_asr_lobes.dataio.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.corpus import lm_words
from nar_asr_lobes.lm.sidecar import check_sidecar

if TYPE_CHECKING:
    import kenlm

_LN10 = math.log(10)


class NgramLM:
    """An n-gram language model over a tokenizer's pieces; see `load`.

    A piece that the training text did not have gets the model's probability
    of an unknown word. States are values: no method changes one, and equal
    states predict the same.

    Arguments
    ---------
    model : kenlm.Model
    words : sequence of str
        The model's word for each token id.
    new_state : callable
        Makes an empty `kenlm.State`.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.tokenizer import CharTokenizer
    >>> from nar_asr_lobes.lm.ngram import train_ngram
    >>> path = tempfile.mkdtemp() + "/lm.arpa"
    >>> tokenizer = CharTokenizer("ab")
    >>> report = train_ngram(["ab", "ab", "b"], tokenizer, 2, path)
    >>> lm = NgramLM.load(path, tokenizer)
    >>> lm.sentence([1, 2]) > lm.sentence([2, 1])
    True
    """

    def __init__(
        self,
        model: kenlm.Model,
        words: Sequence[str],
        new_state: Callable[[], kenlm.State],
    ):
        self._model = model
        self._words = list(words)
        self._new_state = new_state

    @classmethod
    def load(cls, path: str | os.PathLike, tokenizer: Tokenizer) -> NgramLM:
        """Open a model that `train_ngram` wrote.

        Arguments
        ---------
        path : str or path
            The model; its sidecar `path + ".json"` is next to it.
        tokenizer : Tokenizer
            The one it was trained with.

        Returns
        -------
        NgramLM

        Raises
        ------
        UserError
            KenLM is not installed or was built for shorter n-grams, a file
            is missing or damaged, or the model belongs to another tokenizer.
        """
        order = check_sidecar(path, tokenizer).order
        kenlm, highest = _import_kenlm(), highest_order()
        if order > highest:
            raise UserError(
                f"{path}: is of order {order}, but KenLM as installed reads "
                f"up to {highest}; build it again, with the "
                f"environment variable MAX_ORDER={order}"
            )
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        try:
            model = kenlm.Model(os.fspath(path), config)
        except OSError as error:
            raise UserError(
                f"{path}: KenLM cannot load this language model ({error});"
                " train it again"
            ) from error
        return cls(model, lm_words(tokenizer), kenlm.State)

    def start(self) -> kenlm.State:
        """Return the state at the start of a sentence."""
        state = self._new_state()
        self._model.BeginSentenceWrite(state)
        return state

    def score(
        self, state: kenlm.State, token_id: int
    ) -> tuple[float, kenlm.State]:
        """Predict one token.

        Arguments
        ---------
        state : kenlm.State
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
        if not 0 < token_id < len(self._words):
            raise ValueError(
                f"id {token_id} is not in 1..{len(self._words) - 1}; remove"
                " blanks and masks before scoring"
            )
        return self._score(state, self._words[token_id])

    def final(self, state: kenlm.State) -> float:
        """Return the natural log-probability of ending the sentence here."""
        return self._score(state, "</s>")[0]

    def sentence(self, tokens: Iterable[int]) -> float:
        """Return the natural log-probability of a sentence and its end.

        Arguments
        ---------
        tokens : iterable of int
            Ids in 1..size-1; may be empty.

        Returns
        -------
        float
        """
        state, total = self.start(), 0.0
        for token in tokens:
            log_prob, state = self.score(state, token)
            total += log_prob
        return total + self.final(state)

    def _score(
        self, state: kenlm.State, word: str
    ) -> tuple[float, kenlm.State]:
        after = self._new_state()
        return self._model.BaseScore(state, word, after) * _LN10, after


def highest_order() -> int:
    """Return the longest n-gram that the installed KenLM reads.

    It is set when KenLM is built (environment variable MAX_ORDER), 6 unless
    said otherwise, and told only in the error for a longer one.

    Returns
    -------
    int

    Raises
    ------
    UserError
        KenLM is not installed.

    Example
    -------
    >>> highest_order() >= 6
    True
    """
    kenlm = _import_kenlm()
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    counts = "".join(f"ngram {order}=1\n" for order in range(1, 100))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "head.arpa")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"\\data\\\n{counts}\n\\1-grams:\n")
        try:
            kenlm.Model(path, config)
        except OSError as error:
            return int(re.search(r"to support up to (\d+)", str(error))[1])
    raise AssertionError("KenLM read the head of a model without n-grams")


def _import_kenlm() -> ModuleType:
    try:
        import kenlm
    except ImportError as error:
        raise UserError(
            "language models need the package kenlm, which is not installed;"
            " run `pip install nar-asr-lobes[lm]`"
        ) from error
    return kenlm
