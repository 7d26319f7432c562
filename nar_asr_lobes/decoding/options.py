"""The options of all modes in one, as a YAML file or a bundle states them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, make_dataclass, replace

from nar_asr_lobes.decoding.modes import MODES
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import require_models
from nar_asr_lobes.schema import refuse_unknown


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
blank_threshold, recombine
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
            old = getattr(self, name)
            refuse_unknown(type(old), part, f"decoding.{name}")
            parts[name] = replace(old, **part)
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
