"""The options of all modes in one, as a YAML file or a bundle states them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.mask_predict import MaskPredictOptions
from nar_asr_lobes.decoding.rescore import RescoreOptions
from nar_asr_lobes.decoding.slot_beam import SlotBeamOptions
from nar_asr_lobes.errors import UserError


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
    nar_asr_lobes.errors.UserError: decoding.beam: unknown key width; known \
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
            A mapping of options for any of ``beam``, ``beam_lm``,
            ``mask_predict``, ``rescore`` and ``nar_lm``.

        Returns
        -------
        DecodingOptions
            The validated options.

        Raises
        ------
        UserError
            For an unknown key or a value outside its limits.
        """
        defaults = cls()
        _refuse_unknown("decoding", values, cls)
        parts = {}
        for name, part in values.items():
            default = getattr(defaults, name)
            _refuse_unknown(f"decoding.{name}", part, type(default))
            parts[name] = type(default)(**{**asdict(default), **part})
        return cls(**parts)

    def to_dict(self) -> dict[str, dict]:
        """Return plain dictionaries, from which ``from_dict`` builds."""
        return asdict(self)


def _refuse_unknown(where: str, values: Mapping, options: type) -> None:
    """Raise a UserError for a key that is no field of ``options``."""
    known = [f.name for f in fields(options)]
    if not isinstance(values, Mapping):
        raise UserError(
            f"{where}: {values!r} is given where keys with values belong; "
            "known keys are " + ", ".join(known)
        )
    for key in values:
        if key not in known:
            raise UserError(
                f"{where}: unknown key {key}; known keys are "
                + ", ".join(known)
            )
