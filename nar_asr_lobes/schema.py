"""Checks of numbers that a user gave, each failing in one sentence."""

from __future__ import annotations

import math

from nar_asr_lobes.errors import UserError


def require_count(
    name: str, value: object, minimum: int = 1, maximum: int | None = None
) -> None:
    """Refuse anything but a whole number within limits (inclusive).

    Arguments
    ---------
    name : str
        The option, as the user wrote it.
    value : object
        Its value.
    minimum : int
        The smallest value allowed.
    maximum : int or None
        The largest one; None for any.

    Raises
    ------
    UserError
        If the value is not a whole number, too small or too large.

    Example
    -------
    >>> require_count("beam_size", 0)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: beam_size is 0; it must be a whole number \
of at least 1
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < minimum:
        raise UserError(
            f"{name} is {value!r}; it must be a whole number of at least "
            f"{minimum}"
        )
    if maximum is not None and value > maximum:
        raise UserError(f"{name} is {value}; it must be at most {maximum}")


def require_number(
    name: str,
    value: object,
    minimum: float = -math.inf,
    maximum: float = math.inf,
) -> None:
    """Refuse anything but a finite number between two limits (inclusive).

    Arguments
    ---------
    name : str
        The option, as the user wrote it.
    value : object
        Its value.
    minimum, maximum : float
        The smallest and largest value allowed.

    Raises
    ------
    UserError
        If the value is no number, NaN, infinite or outside the limits.

    Example
    -------
    >>> require_number("lm_weight", float("nan"), minimum=0)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: lm_weight is nan; it must be a finite \
number from 0 to inf
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and minimum <= value <= maximum):
        raise UserError(
            f"{name} is {value!r}; it must be a finite number from {minimum} "
            f"to {maximum}"
        )
