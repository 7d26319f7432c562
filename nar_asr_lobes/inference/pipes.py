"""Standard input and pipes as files, because audio is opened several times."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from nar_asr_lobes.dataio.audio.errors import audio_error

STDIN = "-"


@contextmanager
def on_disk(path: str) -> Iterator[str]:
    """Give the path of a file, or of a temporary copy of what a pipe sends.

    Arguments
    ---------
    path : str
        A path, or "-" for standard input.

    Yields
    ------
    str
        The same path unless it is a pipe.

    Raises
    ------
    AudioError
        If the pipe cannot be read or its copy not be written.
    """
    if path != STDIN and not _is_pipe(path):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="nar-asr-") as copy:
        try:
            stdin = nullcontext(sys.stdin.buffer)
            with stdin if path == STDIN else open(path, "rb") as pipe:
                shutil.copyfileobj(pipe, copy, 2**20)
            copy.flush()
        except OSError as error:
            raise audio_error(
                path,
                f"cannot be copied to {tempfile.gettempdir()}",
                "set TMPDIR to a folder with more space",
                error.strerror,
            ) from error
        yield copy.name


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False
