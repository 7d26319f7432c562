"""How the searches are compiled.

Only ``jit_entry`` may make arrays: without reference counts, and
``jit_inline`` without calls, a loop over arrays in tuples is three times as
fast. ``jit_inline`` and ``jit_function`` are called by compiled functions
alone, and compile in half the time without an entry for Python. All release
the interpreter's lock.

Functions are compiled, and numba is loaded, when first called. Those that
Python calls are kept on disk for the next process, with other modules'
functions in them. numba asks only whether the function's own file has changed;
here all files of the folders with compiled functions count.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache, update_wrapper
from pathlib import Path
from threading import RLock
from typing import Any

logger = logging.getLogger(__name__)

_LOCK = RLock()
_SAID: set[str] = set()
_NO_ENTRY = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def jit_entry(function: Callable) -> _Compiled:
    """Compile a function that Python calls; it may make arrays."""
    return _Compiled(function)


def jit_kernel(function: Callable) -> _Compiled:
    """Compile a function that Python calls; it makes no arrays."""
    return _Compiled(function, _nrt=False)


def jit_function(function: Callable) -> _Compiled:
    """Compile a function that compiled ones call; it makes no arrays."""
    return _Compiled(function, _nrt=False, **_NO_ENTRY)


def jit_inline(function: Callable) -> _Compiled:
    """Compile a function as a part of those that call it."""
    return _Compiled(function, _nrt=False, forceinline=True, **_NO_ENTRY)


def jit_inline_entry(function: Callable) -> _Compiled:
    """As ``jit_inline``, but Python calls it too."""
    return _Compiled(function, _nrt=False, forceinline=True)


class _Compiled:
    """A function that is compiled when it is first called."""

    def __init__(self, function: Callable, **options: bool):
        update_wrapper(self, function)
        self._options = options
        self._dispatcher = None

    def __call__(self, *arguments: Any) -> Any:
        return (self._dispatcher or self.dispatcher)(*arguments)

    @property
    def dispatcher(self) -> Any:
        """The dispatcher that numba makes of the function."""
        with _LOCK:
            if self._dispatcher is None:
                self._dispatcher = _jit(self.__wrapped__, self._options)
        return self._dispatcher


def _jit(function: Callable, options: dict[str, bool]) -> Any:
    from numba import njit, types

    _let_compiled_ones_call()
    dispatcher = njit(nogil=True, **options)(function)
    template = dispatcher.get_call_template

    def of_types(args, kws):
        # numba would compile once more for each constant among the arguments
        return template(tuple(map(types.unliteral, args)), kws)

    dispatcher.get_call_template = of_types
    # one without an entry is kept with its callers
    if not options.keys() & _NO_ENTRY.keys():
        dispatcher.compile = _without_collections(dispatcher.compile)
        _keep_on_disk(dispatcher)
    return dispatcher


def _without_collections(compile_: Callable) -> Callable:
    """Leave garbage alone while compiling: it takes a fifth of the time."""

    def compile_at_once(signature):
        enabled = gc.isenabled()
        gc.disable()
        try:
            return compile_(signature)
        finally:
            if enabled:
                gc.enable()

    return compile_at_once


@cache
def _let_compiled_ones_call() -> None:
    """Tell numba the dispatcher behind a ``_Compiled``."""
    from numba.extending import typeof_impl

    @typeof_impl.register(_Compiled)
    def typeof(value, context):
        return typeof_impl(value.dispatcher, context)


def _keep_on_disk(dispatcher: Any) -> None:
    """Cache compiled code where numba does, else in a temporary folder.

    Whatever is wrong there, the function is compiled in memory.
    """
    try:
        dispatcher.enable_caching()
        folder, remark = dispatcher._cache.cache_path, ""
    except RuntimeError:  # there is none that may be written to
        folder = _enable_temporary(dispatcher)
        remark = "; NUMBA_CACHE_DIR names a better folder"
    place = f"kept in {folder}{remark}" if folder else f"at each start{remark}"
    kept = dispatcher._cache
    if folder:
        kept._cache_file._source_stamp = _stamp()
    load, save = kept.load_overload, kept.save_overload

    def load_if_possible(signature, context):
        found = None
        try:
            found = load(signature, context)
        except Exception:  # a damaged file, of whatever kind
            save_if_possible()
        if found is None:
            _say_once(
                "compiling",
                f"compiling for this processor, about 20 s ({place})",
            )
        return found

    def save_if_possible(*compiled):
        try:
            save(*compiled) if compiled else kept.flush()
        except OSError as error:
            kept.disable()
            _say_once(
                "not kept", f"compiled code cannot be kept on disk: {error}"
            )

    kept.load_overload, kept.save_overload = load_if_possible, save_if_possible


def _enable_temporary(dispatcher: Any) -> str | None:
    """Return the temporary folder, None if there is none either."""
    from numba import config

    before = config.CACHE_DIR
    try:
        config.CACHE_DIR = str(_temporary_folder())
        dispatcher.enable_caching()
    except (OSError, RuntimeError):
        return None
    finally:
        config.CACHE_DIR = before
    return dispatcher._cache.cache_path


def _temporary_folder() -> Path:
    """Make a folder of this user's alone: its content will be executed."""
    folder = Path(tempfile.gettempdir(), f"nar_asr_lobes-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    mine = status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode)
    if not mine or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to others")
    return folder


def _say_once(kind: str, message: str) -> None:
    with _LOCK:
        if kind not in _SAID:
            _SAID.add(kind)
            logger.warning(message)


@cache
def _stamp() -> str:
    """Return the SHA-256 of the source of all compiled functions."""
    found, package = hashlib.sha256(), Path(__file__).parent
    for folder in ("decoding", "lm", "lobes"):
        for path in sorted((package / folder).rglob("*.py")):
            name = path.relative_to(package).as_posix()
            found.update(name.encode() + path.read_bytes())
    return found.hexdigest()
