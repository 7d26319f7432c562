"""Filling a dataclass from a section of a YAML, with every value checked.

{"steps": 3, …} -> known keys, right kinds, within limits -> RunConfig(steps=3)
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import expand_path

Section = TypeVar("Section")

_KINDS = {
    "int": (int, "a whole number below 2^32"),
    "float": ((int, float), "a number"),
    "str": (str, "text"),
    "FilePath": (str, "a path"),
    "bool": (bool, "True or False"),
    "list": (list, "a list such as [a, b]"),
    "dict": (dict, "keys with values"),
}
_AT_LEAST = {
    "seed": 0,
    "steps": 1,
    "global_batch": 1,
    "debug_utterances": 1,
    "workers": 0,
    "bucket_steps": 1,
    "sorted_epochs": 0,
    "order": 1,
    "freeze_encoder_steps": 0,
    "max_skipped": 0,
    "heads": 1,
    "d_model": 1,
    "ffn_dim": 1,
    "stem_channels": 1,
    "stem_filters": 1,
    "conv_kernel": 1,
    "conv_groups": 1,
    "position_buckets": 0,
    "position_distance": 1,
    "decoder_heads": 0,
    "decoder_ffn_dim": 0,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "min_seconds": 0,
    "final_lr": 0,
}
_SHARES = ("dropout", "warmup_ratio")
_ABOVE_ZERO = ("peak_lr", "max_seconds", "max_batch_seconds", "head_lr_scale")


def fill(section: type[Section], values: Any, where: str) -> Section:
    """Make a dataclass of plain values out of a mapping.

    Arguments
    ---------
    section : type
        The dataclass; its annotations say what a key may hold.
    values : dict
        Its keys, as HyperPyYAML gave them.
    where : str
        File and section, for messages.

    Returns
    -------
    object
        Of that class.

    Raises
    ------
    UserError
        For an unknown or missing key, a value of another kind, a number that
        is not finite or below its limit, and what the class itself refuses.

    Example
    -------
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Budget:
    ...     steps: int = 1000
    >>> fill(Budget, {"steps": 5}, "a.yaml")
    Budget(steps=5)
    >>> fill(Budget, {"steps": 0}, "a.yaml")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: a.yaml: steps is 0; give at least 1
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: must hold keys, not {values!r}")
    known = {f.name: f for f in fields(section)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.5)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else "known keys are " + ", ".join(known)
            )
            raise UserError(f"{where}: unknown key {key!r}; {hint}")
    values = dict(values)
    for name, spec in known.items():
        required = spec.default is MISSING and spec.default_factory is MISSING
        if required and values.get(name) is None:
            raise UserError(f"{where}: key {name!r} is missing; add it")
        if name in values:
            _check(spec, values[name], where)
            if "FilePath" in str(spec.type):
                values[name] = _expanded(values[name], f"{where}: {name}")
    try:
        return section(**values)
    except UserError as error:
        name = where.rpartition(": ")[2]
        message = str(error).removeprefix(f"{name}: ")
        raise UserError(f"{where}: {message}") from error


def _expanded(value: str | list[str] | None, where: str) -> Any:
    """Expand the paths of a field."""
    try:
        if isinstance(value, list):
            return [expand_path(path) for path in value]
        return value and expand_path(value)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def text_fields(section: type) -> dict[str, str]:
    """Give the types of a dataclass's fields of text, and of lists of it."""
    types = {field.name: str(field.type) for field in fields(section)}
    texts = ("str", "FilePath", "list[str]", "list[FilePath]")
    return {
        name: kind
        for name, kind in types.items()
        if kind.removesuffix(" | None") in texts
    }


def _check(spec: Field, value: Any, where: str) -> None:
    """Refuse a value of another kind than the field's annotation, or limit."""
    annotation = str(spec.type)  # "int | None", as the modules write them
    optional = annotation == "Any" or annotation.endswith(" | None")
    kind, _, inner = annotation.removesuffix(" | None").partition("[")
    if value is None and not optional:
        raise UserError(f"{where}: {spec.name} is empty; fill or remove it")
    if value is None or kind not in _KINDS:
        return
    types, words = _KINDS[kind]
    fits = isinstance(value, types) and (
        kind == "bool" or not isinstance(value, bool)
    )
    if kind == "int":
        fits = fits and value < 2**32  # what every generator takes as a seed
    if kind == "float":
        fits = fits and math.isfinite(value)
    if kind == "list" and inner and fits:
        kind_inside, words_inside = _KINDS[inner.removesuffix("]")]
        fits = all(isinstance(item, kind_inside) for item in value)
        words += f", each {words_inside}"
    if not fits:
        raise UserError(f"{where}: {spec.name} is {value!r}; give {words}")
    least = _AT_LEAST.get(spec.name)
    if least is not None and value < least:
        raise UserError(
            f"{where}: {spec.name} is {value}; give at least {least}"
        )
    if spec.name in _SHARES and not 0 <= value < 1:
        raise UserError(
            f"{where}: {spec.name} is {value}; give a share from 0 to below 1"
        )
    if spec.name in _ABOVE_ZERO and value <= 0:
        raise UserError(f"{where}: {spec.name} is {value}; give more than 0")
