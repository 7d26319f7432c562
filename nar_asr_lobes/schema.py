"""Checks of options: numbers alone, and dataclasses of them.

A ``Checked`` dataclass states the kind of each option by its annotation and
the limits by ``count``, ``number`` or ``one_of``, so a new key touches one
file.

{"steps": 3, ...} -> known keys, right kinds, within limits -> RunConfig(...)
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import partial
from typing import Any, TypeVar, get_args, get_type_hints

from nar_asr_lobes.errors import UserError

Section = TypeVar("Section", bound="Checked")
_MAX_COUNT = 2**32 - 1  # the largest seed that every random generator takes
FilePath = str
"""Type of a configuration's field that names a file or folder."""
_UNSET = re.compile(r"\$(?:[A-Za-z_]\w*|\{\w+\})")


def require_count(
    name: str,
    value: object,
    minimum: int | None = 1,
    maximum: int | None = None,
) -> None:
    """Refuse anything but a whole number within limits (inclusive).

    Example
    -------
    >>> require_count("beam_size", 0)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: beam_size is 0; it must be a whole number of at least 1
    """  # noqa: E501
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or (minimum is not None and value < minimum):
        least = "" if minimum is None else f" of at least {minimum}"
        raise UserError(
            f"{name} is {value!r}; it must be a whole number{least}"
        )
    if maximum is not None and value > maximum:
        raise UserError(f"{name} is {value}; it must be at most {maximum}")


def require_number(
    name: str,
    value: object,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Refuse anything but a finite number between its limits.

    ``minimum`` and ``maximum`` are allowed themselves, ``above`` and ``below``
    are not.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (
        number
        and math.isfinite(value)
        and minimum <= value <= maximum
        and above < value < below
    ):
        limits = f" from {minimum} to {maximum}"
        if below < math.inf:
            limits = f" from {minimum} to below {below}"
        elif above > -math.inf:
            limits = f" above {above}"
        elif minimum == -math.inf and maximum == math.inf:
            limits = ""
        raise UserError(
            f"{name} is {value!r}; it must be a finite number{limits}"
        )


def count(
    default: Any = MISSING, least: int = 0, most: int = _MAX_COUNT
) -> Any:
    """Declare a field that holds a whole number within limits (inclusive).

    Example
    -------
    >>> @dataclasses.dataclass
    ... class Sizes(Checked):
    ...     heads: int = count(4, least=1)
    >>> Sizes(heads=0)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: heads is 0; it must be a whole number of at least 1
    """  # noqa: E501
    return _field(default, require_count, minimum=least, maximum=most)


def number(
    default: Any = MISSING,
    least: float = -math.inf,
    most: float = math.inf,
    **open_limits: float,
) -> Any:
    """Declare a field that holds a finite number; see ``require_number``."""
    return _field(
        default, require_number, minimum=least, maximum=most, **open_limits
    )


def one_of(choices: Collection[str], default: Any = MISSING) -> Any:
    """Declare a field that holds one of some names."""
    return _field(default, _require_choice, choices=choices)


def _field(default: Any, check: Callable, **limits: Any) -> Any:
    check = partial(check, **limits)
    return dataclasses.field(default=default, metadata={"check": check})


def _require_choice(name: str, value: object, choices: Collection) -> None:
    if value not in list(choices):  # of a dict, an unhashable one too
        raise UserError(
            f"{name} is {value!r}; choose from {', '.join(choices)}"
        )


class Checked:
    """Base of dataclasses whose fields are checked when one is made.

    Kinds are those of the annotations, limits those of ``count``, ``number``
    and ``one_of``. A subclass with rules of its own calls
    ``super().__post_init__()`` first.
    """

    def __post_init__(self):
        for spec in fields(self):
            _check(spec, getattr(self, spec.name))


_KINDS = {
    "str": (str, "text"),
    "FilePath": (str, "a path"),
    "bool": (bool, "True or False"),
    "list": (list, "a list such as [a, b]"),
    "dict": (dict, "keys with values"),
    "int": (int, "a whole number"),
}
_NUMBERS = {
    "int": partial(require_count, minimum=None, maximum=_MAX_COUNT),
    "float": require_number,
}


def _check(spec: Field, value: Any) -> None:
    """Refuse a value of another kind than the field's annotation, or limit."""
    annotation = str(spec.type)  # "int | None", as the modules write them
    optional = annotation == "Any" or annotation.endswith(" | None")
    kind, _, inner = annotation.removesuffix(" | None").partition("[")
    if value is None:
        if not optional:
            raise UserError(f"{spec.name} is empty; fill or remove it")
        return
    check = spec.metadata.get("check") or _NUMBERS.get(kind)
    if check is not None:
        check(spec.name, value)
    elif kind in _KINDS:
        required, words = _KINDS[kind]
        fits = isinstance(value, required)
        if kind == "list" and inner:
            item_type, item_words = _KINDS[inner.removesuffix("]")]
            fits = fits and all(isinstance(item, item_type) for item in value)
            words += f", each {item_words}"
        if not fits:
            raise UserError(f"{spec.name} is {value!r}; give {words}")


def parse(section: type[Section], values: Any, where: str) -> Section:
    """Make a ``Checked`` dataclass, and those inside it, out of a mapping.

    ``where`` (file and section) starts the messages; ``~`` and ``$VARIABLE``
    in paths are expanded.

    Example
    -------
    >>> @dataclasses.dataclass
    ... class Budget(Checked):
    ...     steps: int = count(1000, least=1)
    >>> parse(Budget, {"steps": 5}, "a.yaml")
    Budget(steps=5)
    >>> parse(Budget, {"stepps": 5}, "a.yaml")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: a.yaml: unknown key 'stepps'; did you mean 'steps'?
    """  # noqa: E501
    refuse_unknown(section, values, where)
    values = dict(values)
    inside = sections(section)
    for spec in fields(section):
        name = spec.name
        required = spec.default is MISSING and spec.default_factory is MISSING
        if required and values.get(name) is None:
            raise UserError(f"{where}: key {name!r} is missing; add it")
        if values.get(name) is None:
            continue
        if name in inside:
            values[name] = parse(inside[name], values[name], f"{where}: {name}")
        elif "FilePath" in str(spec.type):
            values[name] = _expanded(values[name], f"{where}: {name}")
    try:
        return section(**values)
    except UserError as error:
        name = where.rpartition(": ")[2]
        message = str(error).removeprefix(f"{name}: ")
        raise UserError(f"{where}: {message}") from error


def refuse_unknown(section: type, values: Any, where: str) -> None:
    """Refuse values that are no mapping, and keys that are no field."""
    known = [spec.name for spec in fields(section)]
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: must hold keys, not {values!r}")
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.5)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else "known keys are " + ", ".join(known)
            )
            raise UserError(f"{where}: unknown key {key!r}; {hint}")


def sections(section: type) -> dict[str, type]:
    """Give the classes of those fields that are dataclasses themselves."""
    found = {}
    for name, hint in get_type_hints(section).items():
        for kind in (hint, *get_args(hint)):  # it alone, or it or None
            if is_dataclass(kind):
                found[name] = kind
    return found


def _expand_path(path: str) -> str:
    """Put the folders in for ``~`` and ``$VARIABLE``, as a shell does."""
    expanded = os.path.expandvars(os.path.expanduser(path))
    if unset := _UNSET.search(expanded):
        raise UserError(
            f"{path}: the variable {unset[0]} is not set; set it or write the "
            "path out"
        )
    if expanded.startswith("~"):
        raise UserError(
            f"{path}: there is no such user; write ./{path} for a folder of "
            "that name"
        )
    return expanded


def _expanded(value: Any, where: str) -> Any:
    """Expand paths; values that are no text are refused later."""
    if isinstance(value, list):
        return [_expanded(path, where) for path in value]
    try:
        return _expand_path(value) if isinstance(value, str) else value
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def text_fields(section: type) -> dict[str, str]:
    """Give the types of a dataclass's fields of text, and of lists of it."""
    types = {spec.name: str(spec.type) for spec in fields(section)}
    texts = ("str", "FilePath", "list[str]", "list[FilePath]")
    return {
        name: kind
        for name, kind in types.items()
        if kind.removesuffix(" | None") in texts
    }
