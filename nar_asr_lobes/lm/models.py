"""The language models that recognition may ask, and the files they are in."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.neural.scorer import WEIGHTS, NeuralLM
from nar_asr_lobes.schema import Checked, FilePath

if TYPE_CHECKING:
    from nar_asr_lobes.decoding.hypotheses import LanguageModel

_WEIGHTS = {
    "lm_weight": "ngram",
    "neural_weight": "neural",
    "lodr_weight": "lodr",
}


@dataclass(frozen=True)
class LanguageModels:
    """Language models over one tokenizer's pieces; any may be missing.

    Arguments
    ---------
    ngram : LanguageModel or None
        That of ``beam5_lm`` and ``nar_beam5_lm``.
    neural : NeuralLM or None
        That of ``beam5_neural``; also re-scores where it has a weight.
    lodr : LanguageModel or None
        A low-order n-gram of the recogniser's own transcripts, whose share is
        taken off (LODR).

    Example
    -------
    >>> LanguageModels().present
    frozenset()
    """

    ngram: LanguageModel | None = None
    neural: NeuralLM | None = None
    lodr: LanguageModel | None = None

    @property
    def present(self) -> frozenset[str]:
        """The names of those that are there."""
        names = (f.name for f in fields(self))
        return frozenset(n for n in names if getattr(self, n) is not None)

    def updated(self, others: LanguageModels) -> LanguageModels:
        """Return these, with each of the others in the place of its like."""
        given = {name: getattr(others, name) for name in others.present}
        return replace(self, **given)


def require_models(
    options: object,
    present: Container[str],
    weights: Iterable[str] = tuple(_WEIGHTS),
) -> None:
    """Refuse a weight without its language model.

    Arguments
    ---------
    options : RescoreOptions or NeuralBeamOptions
        Has the weights.
    present : container of str
        Names of the language models that are there.
    weights : iterable of str
        Which weights to look at.

    Raises
    ------
    UserError
        If a weight is above 0 and the language model is missing.
    """
    for weight in weights:
        value = getattr(options, weight)
        if value > 0 and _WEIGHTS[weight] not in present:
            raise UserError(
                f"{weight} is {value} but there is no language model for it; "
                "give one or set the weight to 0"
            )


@dataclass(frozen=True)
class LmFiles(Checked):
    """Where language models are; also the section ``lm`` of an evaluation.

    Arguments
    ---------
    ngram, lodr : str, optional
        Files *.ngram, as ``train_ngram`` writes them.
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
    lodr: FilePath | None = None

    def load(self, tokenizer: Tokenizer) -> LanguageModels:
        """Load those that are named.

        Arguments
        ---------
        tokenizer : Tokenizer
            The one they must have been made with.

        Returns
        -------
        LanguageModels
            On the CPU.

        Raises
        ------
        UserError
            If a file is missing or damaged, or a model belongs to another
            tokenizer.
        """

        def ngram(path):
            if path is None:
                return None
            from nar_asr_lobes.lm.ngram.scorer import NgramLM

            return NgramLM.load(path, tokenizer)

        neural = self.neural
        if neural is not None:
            neural = NeuralLM.load(Path(neural) / WEIGHTS, tokenizer)
        return LanguageModels(ngram(self.ngram), neural, ngram(self.lodr))
