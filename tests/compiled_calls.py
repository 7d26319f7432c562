"""Calls of functions that are compiled without an entry for Python."""

from collections.abc import Callable

from numba import njit


def callable_from_python(function: Callable) -> Callable:
    """Give a compiled function an entry for Python."""

    @njit
    def call(*arguments):
        return function(*arguments)

    return call
