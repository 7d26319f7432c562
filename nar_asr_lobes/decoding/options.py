"""The options of all modes in one, as a YAML file or a bundle states them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field, replace

from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.mask_predict import MaskPredictOptions
from nar_asr_lobes.decoding.neural_beam import NeuralBeamOptions
from nar_asr_lobes.decoding.rescore import RescoreOptions
from nar_asr_lobes.decoding.slot_beam import SlotBeamOptions
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import require_models
from nar_asr_lobes.schema import refuse_unknown

_ASKED_FOR = {
    "rescore": ("neural_weight", "lodr_weight"),
    "beam_neural": ("lm_weight", "lodr_weight"),
}


@dataclass(frozen=True)
class DecodingOptions:
    """The options of all modes.

    Arguments
    ---------
    beam : BeamOptions
        Of ``beam5``; without a language model weight.
    beam_lm : BeamOptions
        Of ``beam5_lm``, whose N-best ``nar_beam5_lm`` re-scores.
    mask_predict : MaskPredictOptions
        Of ``nar``.
    rescore : RescoreOptions
        Of ``nar_beam5_lm``.
    nar_lm : SlotBeamOptions
        Of ``nar_lm``.
    beam_neural : NeuralBeamOptions
        Of ``beam5_neural``.

    Raises
    ------
    UserError
        If ``beam`` asks for a language model.

    Example
    -------
    >>> options = DecodingOptions.from_dict({"beam_lm": {"lm_weight": 0.8}})
    >>> options.beam_lm.lm_weight, options.beam_lm.beam_size
    (0.8, 5)
    >>> DecodingOptions.from_dict({"beam": {"width": 5}})
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: decoding.beam: unknown key 'width'; known \
keys are beam_size, lm_weight, token_bonus, max_candidates, min_log_prob, \
blank_threshold, recombine, prior_weight
    """

    beam: BeamOptions = field(default_factory=BeamOptions)
    beam_lm: BeamOptions = field(
        default_factory=lambda: BeamOptions(lm_weight=0.5, token_bonus=0.5)
    )
    mask_predict: MaskPredictOptions = field(default_factory=MaskPredictOptions)
    rescore: RescoreOptions = field(
        default_factory=lambda: RescoreOptions(lm_weight=0.5, token_bonus=0.5)
    )
    nar_lm: SlotBeamOptions = field(default_factory=SlotBeamOptions)
    beam_neural: NeuralBeamOptions = field(default_factory=NeuralBeamOptions)

    def __post_init__(self):
        if self.beam.lm_weight != 0:
            raise UserError(
                f"decoding.beam: lm_weight is {self.beam.lm_weight}; beam5 "
                "works without a language model, so set beam_lm instead"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping]) -> DecodingOptions:
        """Build from plain dictionaries; keys left out keep their defaults.

        Arguments
        ---------
        values : mapping
            A mapping of options for any of the fields.

        Returns
        -------
        DecodingOptions
            The validated options.

        Raises
        ------
        UserError
            For an unknown key or a value outside its limits.
        """
        return cls().updated(values)

    def updated(self, values: Mapping[str, Mapping]) -> DecodingOptions:
        """As ``from_dict``, but keys left out keep the values they have."""
        refuse_unknown(type(self), values, "decoding")
        parts = {}
        for name, part in values.items():
            mine = getattr(self, name)
            refuse_unknown(type(mine), part, f"decoding.{name}")
            parts[name] = replace(mine, **part)
        return replace(self, **parts)

    def to_dict(self) -> dict[str, dict]:
        """Return plain dictionaries, from which ``from_dict`` builds."""
        return asdict(self)


def check_weights(options: DecodingOptions, present: Container[str]) -> None:
    """Refuse weights, 0 by default, that lack their language model.

    Arguments
    ---------
    options : DecodingOptions
        With the weights.
    present : container of str
        Names of the language models that are there.

    Raises
    ------
    UserError
        If one is above 0 and its language model is missing.

    Example
    -------
    >>> options = DecodingOptions.from_dict({"rescore": {"lodr_weight": 0.1}})
    >>> check_weights(options, {"ngram", "neural"})
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: decoding.rescore: lodr_weight is 0.1 but \
there is no language model for it; give one or set the weight to 0
    """
    for name, weights in _ASKED_FOR.items():
        try:
            require_models(getattr(options, name), present, weights)
        except UserError as error:
            raise UserError(f"decoding.{name}: {error}") from error
