"""Making an index: utterances -> parts, side by side -> one index.

A recipe's utterances are taken one after the other and never held together.
Where the work was stopped it goes on: parts that are there and whose source is
the same are kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nar_asr_lobes.dataio.audio.jobs import start_workers
from nar_asr_lobes.dataio.checks import Finding, summarize
from nar_asr_lobes.dataio.index.parts import (
    PARTS,
    Part,
    PartJob,
    PartRules,
    make_part,
)
from nar_asr_lobes.dataio.index.rows import (
    INDEX_FILE,
    ROWS_FILE,
    Header,
)
from nar_asr_lobes.dataio.manifest import Utterance, refuse
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_write

logger = logging.getLogger(__name__)
_MOST_ROWS = 65536  # of a part
_MOST_SECONDS = 20 * 3600.0  # about 1.1 GB of FLAC


def build_index(
    utterances: Iterable[Utterance],
    folder: str | os.PathLike,
    rules: PartRules,
    processes: int = 1,
) -> list[Finding]:
    """Write the index of a training split.

    Arguments
    ---------
    utterances : iterable of Utterance
        From a recipe's ``prepare``; read once, in order.
    folder : str or path
        Where the index goes. Parts that are there already are used.
    rules : PartRules
        How utterances are checked and stored.
    processes : int
        That make parts at the same time.

    Returns
    -------
    list of Finding
        The utterances that are left out.

    Raises
    ------
    UserError
        For no usable utterances, an id that stands twice, and a full disk.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.index.rows import SpeechIndex
    >>> folder = tempfile.mkdtemp()
    >>> rows = (Utterance(f"u{i}", f"/corpus/{i}.wav", 1.5) for i in range(9))
    >>> build_index(rows, folder, PartRules("/corpus", read=False))
    []
    >>> index = SpeechIndex(folder)
    >>> len(index), index.seconds(np.array([8])), index.utterance(8).audio
    (9, array([1.5]), '/corpus/8.wav')
    """
    folder = Path(folder)
    (folder / INDEX_FILE).unlink(missing_ok=True)
    jobs = (
        PartJob(folder, number, rows, rules)
        for number, rows in enumerate(_chunks(utterances))
    )
    parts = list(_make_parts(jobs, processes))
    findings = [finding for part in parts for finding in part.findings]
    if findings:
        logger.warning("left out: %s", summarize(findings))
    if not any(part.rows for part in parts):
        raise UserError(
            f"{folder}: no utterance of the training split is usable; "
            "left_out.txt says why for each"
        )
    _refuse_repeated_ids(folder, parts)
    _join(folder, parts, rules)
    return findings


def _chunks(utterances: Iterable[Utterance]) -> Iterator[list[Utterance]]:
    rows: list[Utterance] = []
    seconds = 0.0
    for row in utterances:
        rows.append(row)
        seconds += row.duration
        if len(rows) == _MOST_ROWS or seconds >= _MOST_SECONDS:
            yield rows
            rows, seconds = [], 0.0
    if rows:
        yield rows


def _make_parts(jobs: Iterable[PartJob], processes: int) -> Iterator[Part]:
    """Make the parts; a few more than there are processes are in memory."""
    waiting: deque = deque()
    try:
        with (
            start_workers(processes, processes) as workers,
            tqdm(desc="indexing", unit=" parts", disable=None) as bar,
        ):
            for job in jobs:
                waiting.append(workers.submit(make_part, job))
                while len(waiting) > processes:
                    yield waiting.popleft().result()
                    bar.update()
            while waiting:
                yield waiting.popleft().result()
                bar.update()
    except BrokenProcessPool as error:
        raise UserError(
            "a process that makes a part of the index has died, for lack of "
            "memory perhaps; start the same command again with fewer "
            "--processes"
        ) from error


def _refuse_repeated_ids(folder: Path, parts: list[Part]) -> None:
    """Name the places of ids that stand twice, by their hashes of 64 bits."""
    hashes = _hashes(folder, parts)
    hashes.sort()  # in place, for there are tens of millions
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(repeated):
        return
    hashes = _hashes(folder, parts)
    ends = np.cumsum([part.rows for part in parts])
    faults = []
    for index in np.flatnonzero(np.isin(hashes, repeated)):
        number = int(np.searchsorted(ends, index, side="right"))
        line = index - ends[number] + parts[number].rows + 1
        faults.append(f"{folder / parts[number].name}: utterance {line}")
    refuse(
        [f"{x} has an id that stands twice" for x in faults],
        "give every utterance of a split its own id",
    )


def _hashes(folder: Path, parts: list[Part]) -> np.ndarray:
    """Read the hashes of all ids, in order."""
    found = np.empty(sum(part.rows for part in parts), "u8")
    end = 0
    for number, part in enumerate(parts):
        start, end = end, end + part.rows
        found[start:end] = np.fromfile(_file(folder, number, "ids"), "u8")
    return found


def _file(folder: Path, number: int, ending: str) -> Path:
    return folder / PARTS / f"{number:05d}.{ending}"


def _join(folder: Path, parts: list[Part], rules: PartRules) -> None:
    """Write all rows and then the header."""
    digest = hashlib.blake2b(digest_size=16)
    with atomic_write(folder / ROWS_FILE) as file:
        for number, part in enumerate(parts):
            file.write(_file(folder, number, "rows").read_bytes())
            digest.update(f"{part.content} {part.rows} {part.size}".encode())
    header = Header(
        rows=sum(part.rows for part in parts),
        seconds=sum(part.seconds for part in parts),
        files=[[part.name, part.size] for part in parts],
        data_root=rules.data_root,
        fingerprint=digest.hexdigest(),
    )
    header.write(folder)
    logger.info(
        "train: %d utterances, %.2f h, in %d files",
        header.rows,
        header.seconds / 3600,
        len(parts),
    )
