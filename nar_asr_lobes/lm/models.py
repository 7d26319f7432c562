"""The language models that recognition may ask, and the files they are in."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.neural import WEIGHTS, NeuralLM
from nar_asr_lobes.schema import Checked, FilePath

if TYPE_CHECKING:
    from nar_asr_lobes.lm.ngram.tables import NgramTables

_WEIGHTS = {"lm_weight": "ngram", "neural_weight": "neural"}


class LanguageModel(Protocol):
    """An n-gram over the tokenizer's tokens, such as ``NgramLM``.

    The compiled beam search reads ``tables``; its log-probabilities are <= 0.
    """

    tables: NgramTables

    def sentence(self, tokens: list[int]) -> float:
        """Return the natural log-probability of a whole sentence."""


@dataclass(frozen=True)
class LanguageModels:
    """Language models over one tokenizer's tokens; either may be missing.

    ``ngram`` serves the beam search of ``beam5_lm`` and the re-scoring;
    ``neural`` re-scores the N-best of ``nar_beam5_lm`` where it has a weight.
    """

    ngram: LanguageModel | None = None
    neural: NeuralLM | None = None

    @property
    def present(self) -> frozenset[str]:
        """The names of those that are there."""
        names = (f.name for f in fields(self))
        return frozenset(n for n in names if getattr(self, n) is not None)

    def updated(self, others: LanguageModels) -> LanguageModels:
        """Return these, replaced by those of ``others`` that are there."""
        given = {name: getattr(others, name) for name in others.present}
        return replace(self, **given)


def require_models(options: object, present: Container[str]) -> None:
    """Refuse a weight without its language model."""
    for weight, model in _WEIGHTS.items():
        value = getattr(options, weight, 0.0)
        if value > 0 and model not in present:
            raise UserError(
                f"{weight} is {value} but there is no language model for it; "
                "give one or set the weight to 0"
            )


@dataclass(frozen=True)
class LmFiles(Checked):
    """Where language models are; also the section ``lm`` of an evaluation.

    Arguments
    ---------
    ngram : str, optional
        A file *.ngram, as ``train_ngram`` writes it.
    neural : str, optional
        The folder that a training of ``recipes/LM`` wrote.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> LmFiles(neural="nowhere").load(CharTokenizer("ab"))
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: nowhere/lm.safetensors: there is no neural \
language model; check the path
    """

    ngram: FilePath | None = None
    neural: FilePath | None = None

    def load(self, tokenizer: Tokenizer) -> LanguageModels:
        """Load those that are named, all of this tokenizer, to the CPU."""
        ngram = neural = None
        if self.ngram is not None:
            # numba is loaded only where an n-gram is
            from nar_asr_lobes.lm.ngram.lookup import NgramLM

            ngram = NgramLM.load(self.ngram, tokenizer)
        if self.neural is not None:
            neural = NeuralLM.load(Path(self.neural) / WEIGHTS, tokenizer)
        return LanguageModels(ngram, neural)
