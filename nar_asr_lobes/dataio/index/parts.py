"""A part of an index: some utterances, checked, in one file.

    utterances -> normalised, long ones cut, checked -> NAME.tar or NAME.jsonl
                                                     -> their rows and id hashes

A part is made by one process, and again only when something changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from nar_asr_lobes.dataio.audio.jobs import AudioJobs, file_stamp
from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.checks import (
    Finding,
    check_length,
    check_lengths,
    check_utterances,
)
from nar_asr_lobes.dataio.index.rows import make_rows
from nar_asr_lobes.dataio.index.shards import END, encode_json, pack
from nar_asr_lobes.dataio.manifest import Utterance, record_of
from nar_asr_lobes.dataio.prepare import (
    collect_left_out,
    normalize_rows,
    unusable,
)
from nar_asr_lobes.errors import AudioError
from nar_asr_lobes.storage import atomic_write, write_text

PARTS = "parts"
"""Folder of the rows, id hashes and outcomes of the parts."""


@dataclass(frozen=True)
class PartRules:
    """How the utterances of a training split are checked and stored.

    ``read`` decodes each file to check it; ``shards`` stores the audio too.
    """

    data_root: str
    text_style: str = "none"
    min_seconds: float = 0.0
    max_seconds: float = 60.0
    read: bool = True
    shards: bool = False


@dataclass
class Part:
    """The outcome of a part, kept in a JSON file.

    ``source`` is a hash of all that it was made from, ``content`` one of its
    file; ``findings`` are the utterances that are left out.
    """

    name: str
    source: str
    content: str
    rows: int
    seconds: float
    size: int
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class PartJob:
    """A part to be made: its number and utterances, in some folder."""

    folder: Path
    number: int
    utterances: Sequence[Utterance]
    rules: PartRules

    @property
    def name(self) -> str:
        """The name of its file."""
        ending = "tar" if self.rules.shards else "jsonl"
        return f"train-{self.number:05d}.{ending}"

    def path(self, ending: str) -> Path:
        """Where it keeps its rows, id hashes or outcome."""
        return self.folder / PARTS / f"{self.number:05d}.{ending}"

    @cached_property
    def source(self) -> str:
        """Hash everything that the part is made from."""
        digest = hashlib.blake2b(repr(self.rules).encode(), digest_size=16)
        opens = self.rules.read or self.rules.shards
        for row in self.utterances:
            stamp = file_stamp(row.audio) if opens else ""
            digest.update(repr((*vars(row).values(), stamp)).encode())
        return digest.hexdigest()


def make_part(job: PartJob) -> Part:
    """Make a part, unless it is there and its source is the same.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> rules = PartRules(data_root="/corpus", read=False)
    >>> rows = [Utterance("u1", "/corpus/u1.wav", 1.0)]
    >>> part = make_part(PartJob(folder, 0, rows, rules))
    >>> part.name, part.rows, (folder / part.name).read_text()
    ('train-00000.jsonl', 1, '{"id": "u1", "audio": "u1.wav", "duration": 1.0}\
\\n')
    """
    part = _made_before(job)
    if part is not None:
        return part
    with AudioJobs(None, processes=1), collect_left_out() as left_out:
        usable, findings = _usable(job)
        part = _write(job, usable, [*left_out, *findings])
    outcome = asdict(part)
    write_text(job.path("json"), json.dumps(outcome, indent=1))
    return part


def _made_before(job: PartJob) -> Part | None:
    with suppress(OSError, ValueError, TypeError):
        values = json.loads(job.path("json").read_text(encoding="utf-8"))
        values["findings"] = [Finding(**x) for x in values["findings"]]
        part = Part(**values)
        is_whole = os.path.getsize(job.folder / part.name) == part.size
        if is_whole and part.source == job.source:
            return part
    return None


def _usable(job: PartJob) -> tuple[list[Utterance], list[Finding]]:
    rules = job.rules
    rows = normalize_rows(
        job.utterances, rules.text_style, rules.max_seconds, rules.data_root
    )
    limits = rules.min_seconds, rules.max_seconds
    if rules.read or rules.shards:
        return check_utterances(rows, None, None, *limits, read=rules.read)
    return check_lengths(rows, *limits)


def _write(
    job: PartJob, usable: Sequence[Utterance], findings: list[Finding]
) -> Part:
    """Write the file of a part, its rows and the hashes of its ids."""
    digest = hashlib.blake2b(digest_size=16)
    stored = _members if job.rules.shards else _lines
    sizes, samples, ids = [], [], []
    with atomic_write(job.folder / job.name) as file:
        for row, data, count in stored(job, usable, findings):
            file.write(data)
            digest.update(data)
            sizes.append(len(data))
            samples.append(count)
            ids.append(hash_id(row.id))
        if job.rules.shards:
            file.write(END)
        size = file.tell()
    rows = make_rows(np.array(samples), np.array(sizes), job.number)
    for ending, data in (("rows", rows.tobytes()), ("ids", b"".join(ids))):
        with atomic_write(job.path(ending)) as file:
            file.write(data)
    return Part(
        name=job.name,
        source=job.source,
        content=digest.hexdigest(),
        rows=len(rows),
        seconds=sum(samples) / SAMPLE_RATE,
        size=size,
        findings=findings,
    )


def hash_id(name: str) -> bytes:
    """Hash an id to 8 bytes."""
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _lines(
    job: PartJob, usable: Iterable[Utterance], findings: list[Finding]
) -> Iterator[tuple[Utterance, bytes, int]]:
    """Yield each utterance with its JSON line and its samples."""
    for row in usable:
        record = record_of(row, job.rules.data_root)
        samples = round(row.duration * SAMPLE_RATE)
        yield row, (encode_json(record) + "\n").encode(), samples


def _members(
    job: PartJob, usable: Iterable[Utterance], findings: list[Finding]
) -> Iterator[tuple[Utterance, bytes, int]]:
    """Yield each utterance with its members in a shard and its samples."""
    number = 0
    for row in usable:
        try:
            wav = read_audio(row.audio, **row.stretch)
        except AudioError as error:
            findings.append(unusable(row, error))
            continue
        found = list(check_length(row, len(wav) / SAMPLE_RATE))
        if found:
            findings += found
            continue
        record = record_of(row, job.rules.data_root)
        del record["audio"]
        record.pop("start", None)
        yield row, pack(number, record, wav), len(wav)
        number += 1
