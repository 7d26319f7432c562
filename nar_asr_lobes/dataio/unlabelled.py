"""Recordings without transcripts: a folder of any depth, files of any length.

    folder -> files that are not hidden -> one utterance a file
    utterances longer than the limit -> stretches cut at quiet places

Nothing is copied: a stretch is an utterance with a start in its file.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from nar_asr_lobes.dataio.audio.errors import AudioError
from nar_asr_lobes.dataio.audio.reading import audio_blocks, audio_info
from nar_asr_lobes.dataio.audio.resampling import SAMPLE_RATE
from nar_asr_lobes.dataio.audio.silence import cut_at_quiet
from nar_asr_lobes.dataio.checks import Finding, summarize
from nar_asr_lobes.dataio.manifest import Utterance

logger = logging.getLogger(__name__)

AUDIO_ENDINGS = (".flac", ".wav", ".mp3", ".ogg", ".opus", ".m4a")


def visible_files(
    folder: str | os.PathLike, endings: Sequence[str] = AUDIO_ENDINGS
) -> list[Path]:
    """Find the files below a folder, in order, without hidden ones.

    Arguments
    ---------
    folder : str or path
        Searched at any depth. Names that begin with a dot are passed over:
        macOS puts a `._NAME` beside each file that it copies.
    endings : sequence of str
        Ends of the names, in lower case.

    Returns
    -------
    list of Path

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "a.WAV").touch(), (folder / "._a.WAV").touch()
    (None, None)
    >>> [path.name for path in visible_files(folder)]
    ['a.WAV']
    """
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [
            Path(parent, name)
            for name in names
            if name[0] != "." and name.lower().endswith(tuple(endings))
        ]
    return sorted(found)


def measure_files(
    files: Sequence[Path], root: str | os.PathLike
) -> list[Utterance]:
    """Make one utterance of each audio file, long ones too.

    Arguments
    ---------
    files : sequence of Path
        The files. One that cannot be read is left out, with a warning.
    root : str or path
        Folder that their ids start from.

    Returns
    -------
    list of Utterance
        Without transcripts. An id is the path below the root without its
        ending, so that equal names in two folders differ.

    Example
    -------
    >>> import tempfile
    >>> measure_files([Path("no/a.wav")], "no")
    []
    """
    return _in_threads(partial(_measured, root=root), files, root)


def cut_long(
    rows: Iterable[Utterance], max_seconds: float, root: str | os.PathLike
) -> list[Utterance]:
    """Cut utterances that are longer than a limit at their quietest places.

    Arguments
    ---------
    rows : iterable of Utterance
        Without transcripts.
    max_seconds : float
        Longest stretch; below 2 nothing is cut.
    root : str or path
        Folder that relative audio paths start from.

    Returns
    -------
    list of Utterance
        Every sample of a long one is in exactly one stretch, whose id ends in
        its start. One that cannot be read is left out, with a warning.

    Example
    -------
    >>> import numpy, soundfile, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> soundfile.write(folder + "/a.wav", numpy.zeros(80000), 16000)
    >>> rows = cut_long([Utterance("a", "a.wav", 5.0)], 4, folder)
    >>> [(row.id, row.start, row.duration) for row in rows]
    [('a-0.00', 0.0, 4.0), ('a-4.00', 4.0, 1.0)]
    """
    rows = list(rows)
    seconds = sum(row.duration for row in rows if row.duration > max_seconds)
    if max_seconds < 2 or not seconds:
        return rows
    logger.info("cutting %.2f h of long audio at quiet places", seconds / 3600)
    cut = partial(_stretches, max_seconds=max_seconds, root=root)
    return list(chain.from_iterable(_in_threads(cut, rows, root)))


def _in_threads(
    work: Callable, items: Iterable, root: str | os.PathLike
) -> list:
    """Do some work on each item; of those with a finding give a warning."""
    # Decoding leaves Python's lock alone, so threads share the processors.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(work, items))
    findings = [item for item in found if isinstance(item, Finding)]
    if findings:
        logger.warning("left out of %s: %s", root, summarize(findings))
    return [item for item in found if not isinstance(item, Finding)]


def _measured(file: Path, root: str | os.PathLike) -> Utterance | Finding:
    name = Path(os.path.relpath(file, root)).with_suffix("").as_posix()
    try:
        str(file).encode()  # as a manifest needs it
        seconds = audio_info(file, math.inf).seconds
        return Utterance(name, str(file.absolute()), seconds)
    except AudioError as error:
        return Finding(name, str(file), error.problem, error.remedy)
    except UnicodeEncodeError:
        problem = "has a name that is not UTF-8"
        return Finding(ascii(name), ascii(str(file)), problem, "rename it")


def _stretches(
    row: Utterance, max_seconds: float, root: str | os.PathLike
) -> list[Utterance] | Finding:
    if row.duration <= max_seconds:
        return [row]
    path = os.path.join(root, row.audio)
    try:
        return [
            replace(
                row,
                id=f"{row.id}-{first / SAMPLE_RATE:.2f}",
                start=first / SAMPLE_RATE,
                duration=len(wav) / SAMPLE_RATE,
            )
            for first, wav in cut_at_quiet(
                audio_blocks(path, math.inf), max_seconds
            )
        ]
    except AudioError as error:
        return Finding(row.id, row.audio, error.problem, error.remedy)
