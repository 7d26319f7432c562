"""The modes of recognition: what each searches with, and what it needs.

    EncoderOutput, N-bests of the modes it builds on -> Mode.search -> N-best

A new mode is a function of the recogniser and a line in ``_TABLE``. The beams
are loaded when asked: greedy search takes neither n-grams nor numba.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.mask_predict import mask_predict
from nar_asr_lobes.decoding.neural_beam import neural_beam_search
from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.decoding.rescore import rescore
from nar_asr_lobes.decoding.slot_beam import slot_beam_search
from nar_asr_lobes.errors import UserError

if TYPE_CHECKING:
    from nar_asr_lobes.decoding.recognizer import Recognizer
    from nar_asr_lobes.lobes.model import EncoderOutput

NBests = list[list[Hypothesis]]
"""The hypotheses of each utterance, best first."""

MODES = ("ctc_greedy", "nar", "beam5", "beam5_lm", "nar_beam5_lm")
NEURAL_MODES = ("beam5_neural",)
_LANGUAGE_MODELS = {
    "ngram": "a language model",
    "neural": "a neural language model",
}


@dataclass(frozen=True)
class Mode:
    """One way from an encoded batch to text.

    Arguments
    ---------
    search : callable
        Takes the recogniser, the encoded batch and the N-bests of the modes
        it builds on; returns its own.
    lm : str or None
        The one of ``LanguageModels`` that it cannot do without.
    hot_words : bool
        Whether it prefers the recogniser's hot words.
    builds_on : callable
        Takes the options and lists modes.
    """

    search: Callable[[Recognizer, EncoderOutput, list[NBests]], NBests]
    lm: str | None = None
    hot_words: bool = False
    builds_on: Callable[[DecodingOptions], list[str]] = lambda options: []


def _greedy(recognizer: Recognizer, encoded: EncoderOutput, _: list) -> NBests:
    paths = greedy_paths(encoded.log_probs, encoded.lengths)
    return [[path.hypothesis()] for path in paths]


def _nar(recognizer: Recognizer, encoded: EncoderOutput, _: list) -> NBests:
    options = recognizer.options.mask_predict
    found = mask_predict(recognizer.model, encoded, options)
    return [[hypothesis] for hypothesis in found]


def _beam(recognizer: Recognizer, encoded: EncoderOutput, _: list) -> NBests:
    from nar_asr_lobes.decoding.beam.search import prefix_beam_search

    return prefix_beam_search(
        posteriors(encoded),
        recognizer.options.beam,
        hot_words=recognizer.hot_words,
    )


def _beam_lm(recognizer: Recognizer, encoded: EncoderOutput, _: list) -> NBests:
    from nar_asr_lobes.decoding.beam.search import prefix_beam_search

    return prefix_beam_search(
        posteriors(encoded),
        recognizer.options.beam_lm,
        recognizer.lms.ngram,
        hot_words=recognizer.hot_words,
    )


def _nar_beam_lm(
    recognizer: Recognizer, encoded: EncoderOutput, before: list[NBests]
) -> NBests:
    candidates = [sum(lists, []) for lists in zip(*before, strict=True)]
    return rescore(
        recognizer.model,
        encoded,
        candidates,
        recognizer.options.rescore,
        recognizer.lms,
        recognizer.hot_words,
    )


def _beam_neural(
    recognizer: Recognizer, encoded: EncoderOutput, _: list
) -> NBests:
    return neural_beam_search(
        encoded.log_probs,
        encoded.lengths,
        recognizer.options.beam_neural,
        recognizer.lms,
        hot_words=recognizer.hot_words,
    )


def _nar_lm(
    recognizer: Recognizer, encoded: EncoderOutput, before: list[NBests]
) -> NBests:
    starts = [found[0].tokens for found in before[0]]
    return slot_beam_search(
        recognizer.model,
        encoded,
        starts,
        recognizer.options.nar_lm,
        recognizer.lms.ngram,
    )


def _candidates(options: DecodingOptions) -> list[str]:
    """List the modes whose results are re-scored."""
    return ["beam5_lm"] + ["nar"] * options.rescore.include_nar


_TABLE = {
    "ctc_greedy": Mode(_greedy),
    "nar": Mode(_nar),
    "beam5": Mode(_beam, hot_words=True),
    "beam5_lm": Mode(_beam_lm, "ngram", hot_words=True),
    "nar_beam5_lm": Mode(
        _nar_beam_lm, "ngram", hot_words=True, builds_on=_candidates
    ),
    "nar_lm": Mode(
        _nar_lm, "ngram", builds_on=lambda options: [options.nar_lm.start]
    ),
    "beam5_neural": Mode(_beam_neural, "neural", hot_words=True),
}


def find_mode(
    name: str,
    present: Container[str] | None = None,
    remedy: str = "give one or leave the mode out",
) -> Mode:
    """Look a mode up, and make sure that it can work.

    Arguments
    ---------
    name : str
        Of the mode.
    present : container of str, optional
        Names of the language models that are there; else all may be.
    remedy : str
        What to do where its language model is missing.

    Returns
    -------
    Mode

    Raises
    ------
    UserError
        For an unknown mode, or one that lacks its language model.

    Example
    -------
    >>> find_mode("nar", present=()).lm is None
    True
    >>> find_mode("beam5_lm", present=())
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: decoding mode beam5_lm needs a language \
model; give one or leave the mode out
    """
    if name not in _TABLE:
        raise UserError(
            f"unknown decoding mode {name!r}; choose from " + ", ".join(_TABLE)
        )
    mode = _TABLE[name]
    known = present is not None
    if known and mode.lm is not None and mode.lm not in present:
        raise UserError(
            f"decoding mode {name} needs {_LANGUAGE_MODELS[mode.lm]}; {remedy}"
        )
    return mode


def hot_word_modes() -> list[str]:
    """List the modes that prefer hot words.

    Example
    -------
    >>> hot_word_modes()
    ['beam5', 'beam5_lm', 'nar_beam5_lm', 'beam5_neural']
    """
    return [name for name, mode in _TABLE.items() if mode.hot_words]


def possible_modes(present: Container[str]) -> list[str]:
    """List the modes of a full evaluation.

    Arguments
    ---------
    present : container of str
        Names of the language models that are there.

    Returns
    -------
    list of str
        ``MODES`` and ``NEURAL_MODES``, without those that lack their language
        model.

    Example
    -------
    >>> possible_modes({"neural"})
    ['ctc_greedy', 'nar', 'beam5', 'beam5_neural']
    """
    needs = {name: _TABLE[name].lm for name in MODES + NEURAL_MODES}
    return [n for n, lm in needs.items() if lm is None or lm in present]
