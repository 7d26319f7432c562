"""How the searches are compiled.

Only ``outer`` may make arrays: without reference counts, and ``inner`` without
calls, a loop over arrays in tuples is three times as fast. ``inner`` and
``helper`` are called by compiled functions alone, and compile in half the time
without an entry for Python. All release the interpreter's lock, and are kept on
disk for the next process.

What is kept has other modules' functions in it, but numba asks only whether the
function's own file has changed. Here all files with compiled functions count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from numba import njit, types


def _stamp() -> str:
    """Return the SHA-256 of the source of all compiled functions."""
    found, package = hashlib.sha256(), Path(__file__).parent
    paths = [package / "lobes" / "viterbi.py"]
    for folder in ("decoding", "lm"):
        paths += sorted((package / folder).rglob("*.py"))
    for path in paths:
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


_STAMP = _stamp()
_NO_ENTRY = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def outer(function: Callable) -> Callable:
    """Compile a function that Python calls; it may make arrays."""
    return _kept(function)


def entry(function: Callable) -> Callable:
    """Compile a function that Python calls; it makes no arrays."""
    return _kept(function, _nrt=False)


def helper(function: Callable) -> Callable:
    """Compile a function that compiled ones call; it makes no arrays."""
    return _kept(function, _nrt=False, **_NO_ENTRY)


def inner(function: Callable) -> Callable:
    """Compile a function as a part of those that call it."""
    return _kept(function, _nrt=False, forceinline=True, **_NO_ENTRY)


def inner_and_entry(function: Callable) -> Callable:
    """As ``inner``, but Python calls it too."""
    return _kept(function, _nrt=False, forceinline=True)


def _kept(function: Callable, **options: bool) -> Callable:
    """Let what is on disk be of this source, or be compiled again."""
    compiled = njit(nogil=True, cache=True, **options)(function)
    compiled._cache._cache_file._source_stamp = _STAMP
    template = compiled.get_call_template

    def of_types(args, kws):
        # numba would compile once more for each constant among the arguments
        return template(tuple(map(types.unliteral, args)), kws)

    compiled.get_call_template = of_types
    return compiled
