"""How the searches are compiled.

``outer`` may allocate arrays. ``inner`` may not: without reference counts and
calls, an inner loop over arrays in tuples is three times as fast. Both release
the interpreter's lock, and are kept on disk for the next process.

What is kept has other modules' functions in it, but numba asks only whether the
function's own file has changed. Here all files with compiled functions count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from numba import njit


def _stamp() -> str:
    """Return the SHA-256 of the source of all compiled functions."""
    found, package = hashlib.sha256(), Path(__file__).parent
    paths = [package / "lobes" / "viterbi.py"]
    for folder in ("decoding", "lm"):
        paths += sorted((package / folder).glob("*.py"))
    for path in paths:
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


_STAMP = _stamp()


def outer(function: Callable) -> Callable:
    """Compile a function that others call."""
    return _stamped(njit(nogil=True, cache=True)(function))


def inner(function: Callable) -> Callable:
    """Compile a function as a part of those that call it."""
    options = {"nogil": True, "cache": True, "forceinline": True}
    return _stamped(njit(**options, _nrt=False)(function))


def _stamped(function: Callable) -> Callable:
    """Let what is on disk be of this source, or be compiled again."""
    function._cache._cache_file._source_stamp = _STAMP
    return function
