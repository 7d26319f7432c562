"""Sentences for a language model, from manifests and text files.

train.jsonl (a manifest) -> its transcripts
any other name           -> its lines
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.dataio.text.files import read_lines


def read_sentences(path: str | os.PathLike) -> Iterator[str]:
    """Read one sentence after the other, as they stand there.

    Arguments
    ---------
    path : str or path
        A manifest (``.jsonl``), of which the transcripts are taken, or a UTF-8
        text file with a sentence a line.

    Yields
    ------
    str
        Not normalised; empty lines too.

    Raises
    ------
    UserError
        If the file cannot be read.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = path.write_text("one two\\nthree\\n")
    >>> list(read_sentences(path))
    ['one two', 'three']
    """
    if Path(path).suffix == ".jsonl":
        yield from (u.text or "" for u in read_manifest(path))
        return
    yield from read_lines(
        path,
        "give a manifest (.jsonl) or a UTF-8 text file with a sentence a line",
    )
