"""The modes of recognition: each one's search, requirements and options.

    encoded batch, N-bests of modes it builds on -> Mode.search -> N-best [B]

A new mode is a file with a search and its options, and a row in ``MODES``. The
beam search is imported when it runs: greedy search needs no numba.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields, make_dataclass, replace
from typing import TYPE_CHECKING, Any

from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.decoding.hypotheses import BeamOptions, Hypothesis
from nar_asr_lobes.decoding.mask_predict import (
    MaskPredictOptions,
    mask_predict,
)
from nar_asr_lobes.decoding.rescore import RescoreOptions, rescore
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels, require_models
from nar_asr_lobes.schema import parse, refuse_unknown

if TYPE_CHECKING:
    from nar_asr_lobes.decoding.recognizer import Recognizer
    from nar_asr_lobes.lobes.model import EncoderOutput, NarAsr

NBests = list[list[Hypothesis]]
"""The hypotheses of each utterance, best first."""


@dataclass(frozen=True)
class Job:
    """One batch as a mode searches it."""

    recognizer: Recognizer
    encoded: EncoderOutput  # on the model's device
    on_cpu: EncoderOutput  # its log_probs and lengths on the CPU
    options: Any
    before: list[NBests]  # of the modes that it builds on


@dataclass(frozen=True)
class Mode:
    """One way from an encoded batch to text.

    Arguments
    ---------
    search : callable
        Takes a ``Job``, returns the N-best of each utterance.
    options : object
        The default options; those of a YAML have the same class. None for a
        mode without options.
    lm : str or None
        The one of ``LanguageModels`` that it cannot do without.
    any_of : tuple of str
        Of these it needs one: the model's ``"decoder"``, or one of
        ``LanguageModels``.
    hot_words : bool
        Whether it prefers the recogniser's hot words.
    on_device : bool
        Whether it uses the model again. Other modes need the CPU alone, where
        they can search a batch while the device encodes the next one; they
        build on no mode that is on the device.
    builds_on : callable
        Takes the options of all modes; lists pairs of a mode and the options
        that it is to have.
    """

    search: Callable[[Job], NBests]
    options: Any = None
    lm: str | None = None
    any_of: tuple[str, ...] = ()
    hot_words: bool = False
    on_device: bool = False
    builds_on: Callable[[DecodingOptions], list[tuple[str, Any]]] = (
        lambda options: []
    )

    def works_with(self, present: Collection[str]) -> bool:
        """Tell whether all that it needs is among the parts there are."""
        some = not self.any_of or any(part in present for part in self.any_of)
        return some and (self.lm is None or self.lm in present)


def _greedy(job: Job) -> NBests:
    paths = greedy_paths(job.on_cpu.log_probs, job.on_cpu.lengths)
    return [[path.hypothesis()] for path in paths]


def _nar(job: Job) -> NBests:
    found = mask_predict(job.recognizer.model, job.encoded, job.options)
    return [[hypothesis] for hypothesis in found]


def _beam(job: Job) -> NBests:
    from nar_asr_lobes.decoding.beam.search import prefix_beam_search

    return prefix_beam_search(
        posteriors(job.on_cpu),
        job.options,
        job.recognizer.lms.ngram,
        hot_words=job.recognizer.hot_words,
    )


def _rescore(job: Job) -> NBests:
    beam, *others = job.before
    candidates = [nbest[: job.options.nbest] for nbest in beam]
    return rescore(
        job.recognizer.model,
        job.encoded,
        [sum(lists, []) for lists in zip(candidates, *others, strict=True)],
        job.options,
        job.recognizer.lms,
        job.recognizer.hot_words,
    )


def _candidates(options: DecodingOptions) -> list[tuple[str, Any]]:
    """List the re-scored mode: a beam at least as wide as the N-best."""
    beam, rescoring = options.beam5_lm, options.nar_beam5_lm
    width = max(beam.beam_size, rescoring.nbest)
    found = [("beam5_lm", replace(beam, beam_size=width))]
    return found + [("nar", options.nar)] * rescoring.include_nar


_WEIGHTS = {"lm_weight": 0.5, "token_bonus": 0.5}

MODES = {
    "ctc_greedy": Mode(_greedy),
    "nar": Mode(
        _nar, MaskPredictOptions(), any_of=("decoder",), on_device=True
    ),
    "beam5": Mode(_beam, BeamOptions(), hot_words=True),
    "beam5_lm": Mode(_beam, BeamOptions(**_WEIGHTS), "ngram", hot_words=True),
    "nar_beam5_lm": Mode(
        _rescore,
        RescoreOptions(**_WEIGHTS),
        "ngram",
        any_of=("decoder", "neural"),
        hot_words=True,
        on_device=True,
        builds_on=_candidates,
    ),
}


_PARTS = {"decoder": "a NAR decoder", "neural": "a neural language model"}


def parts_present(model: NarAsr, lms: LanguageModels) -> frozenset[str]:
    """Name the parts that modes may need: language models and decoder.

    Example
    -------
    >>> from nar_asr_lobes.lobes.model import build_model
    >>> sorted(parts_present(build_model({}, 12), LanguageModels()))
    ['decoder']
    """
    return lms.present | ({"decoder"} if model.decoder is not None else set())


def find_mode(
    name: str,
    present: Collection[str] | None = None,
    remedy: str = "give one or leave the mode out",
) -> Mode:
    """Look a mode up; UserError if unknown or without a part that it needs.

    ``present`` names the parts there are, None for any; ``remedy`` ends the
    message about a language model.
    """
    if name not in MODES:
        raise UserError(
            f"unknown decoding mode {name!r}; choose from " + ", ".join(MODES)
        )
    mode = MODES[name]
    if present is not None and mode.lm is not None and mode.lm not in present:
        raise UserError(
            f"decoding mode {name} needs a language model; {remedy}"
        )
    if present is not None and not mode.works_with(present):
        parts = " or ".join(_PARTS[part] for part in mode.any_of)
        raise UserError(
            f"decoding mode {name} needs {parts}, and there is none; choose "
            f"from {', '.join(available_modes(present))}"
        )
    return mode


def with_beam_size(
    options: DecodingOptions, mode: str, size: int
) -> DecodingOptions:
    """Set the width of a mode's beam, or of the one that it builds on.

    Example
    -------
    >>> options = with_beam_size(DecodingOptions(), "nar_beam5_lm", 20)
    >>> options.beam5_lm.beam_size, options.beam5.beam_size
    (20, 5)
    >>> with_beam_size(options, "nar", 20)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: decoding mode nar has no beam, so its size \
cannot be set; choose from beam5, beam5_lm, nar_beam5_lm
    """

    def beams(name):
        parts = [name, *(part for part, _ in MODES[name].builds_on(options))]
        return [p for p in parts if isinstance(MODES[p].options, BeamOptions)]

    find_mode(mode)
    if not beams(mode):
        raise UserError(
            f"decoding mode {mode} has no beam, so its size cannot be set; "
            "choose from " + ", ".join(filter(beams, MODES))
        )
    return options.updated({name: {"beam_size": size} for name in beams(mode)})


def hot_word_modes() -> list[str]:
    """List the modes that prefer hot words."""
    return [name for name, mode in MODES.items() if mode.hot_words]


def available_modes(present: Collection[str]) -> list[str]:
    """List the modes that work with the parts there are.

    Example
    -------
    >>> available_modes({"decoder", "neural"})
    ['ctc_greedy', 'nar', 'beam5']
    >>> available_modes({"ngram"})
    ['ctc_greedy', 'beam5', 'beam5_lm']
    """
    return [name for name, mode in MODES.items() if mode.works_with(present)]


class _Options:
    """The options of all modes: a field for each mode that has options.

    The fields and their defaults are those of ``MODES``, such as ``beam5_lm``.

    Raises
    ------
    UserError
        If a mode without a language model has a weight for one.

    Example
    -------
    >>> options = DecodingOptions.from_dict({"beam5_lm": {"lm_weight": 0.8}})
    >>> options.beam5_lm.lm_weight, options.beam5_lm.beam_size
    (0.8, 5)
    >>> DecodingOptions.from_dict({"beam5": {"width": 5}})
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: decoding.beam5: unknown key 'width'; known \
keys are beam_size, lm_weight, token_bonus, max_candidates, min_log_prob, \
blank_threshold, recombine, margin
    """

    def __post_init__(self):
        for part in fields(self):
            weight = getattr(getattr(self, part.name), "lm_weight", 0.0)
            if weight != 0 and MODES[part.name].lm is None:
                raise UserError(
                    f"decoding.{part.name}: lm_weight is {weight}; this mode "
                    "works without a language model, so set beam5_lm instead"
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping]) -> DecodingOptions:
        """Build from plain dictionaries; missing keys keep their defaults."""
        return cls().updated(values)

    def updated(self, values: Mapping[str, Mapping]) -> DecodingOptions:
        """As ``from_dict``, but keys left out keep the values they have."""
        refuse_unknown(type(self), values, "decoding")
        parts = {}
        for name, part in values.items():
            old, where = getattr(self, name), f"decoding.{name}"
            refuse_unknown(type(old), part, where)
            parts[name] = parse(type(old), asdict(old) | dict(part), where)
        return replace(self, **parts)

    def to_dict(self) -> dict[str, dict]:
        """Return plain dictionaries, from which ``from_dict`` builds."""
        return asdict(self)


DecodingOptions = make_dataclass(
    "DecodingOptions",
    [
        (name, type(mode.options), mode.options)
        for name, mode in MODES.items()
        if mode.options is not None
    ],
    bases=(_Options,),
    frozen=True,
    namespace={"__doc__": _Options.__doc__, "__module__": __name__},
)


def check_weights(options: DecodingOptions, present: Collection[str]) -> None:
    """Refuse weights above 0 whose optional language model is missing."""
    for part in fields(options):
        # a mode without the model it needs is refused by name, not by weight
        needed = MODES[part.name].lm
        try:
            require_models(getattr(options, part.name), {needed, *present})
        except UserError as error:
            raise UserError(f"decoding.{part.name}: {error}") from error
