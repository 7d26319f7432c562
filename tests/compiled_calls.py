"""Calls of functions that are compiled without an entry for Python."""

from collections.abc import Callable

from numba import njit


def callable_from_python(function: Callable) -> Callable:
    """Give a compiled function an entry for Python."""

    compiled = function.dispatcher

    @njit
    def call(*arguments):
        return compiled(*arguments)

    return call
