"""Manifests: one utterance a line, as JSON, below a header line.

    {"data_root": "/corpora/librispeech"}
    {"id": "1-2-3", "audio": "1/2/1-2-3.flac", "duration": 3.2, "text": "a b"}

JSON lines rather than CSV, because a transcript with a quote, a comma or a
dollar sign then needs no rules of its own. Error messages name the file, the
line and the id, and never quote a transcript: it may be confidential.
"""

from __future__ import annotations

import codecs
import gzip
import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_write

_REQUIRED = ("id", "audio", "duration")
_OPTIONAL = ("text", "speaker", "start", "groups")
_ALLOWED = frozenset(_REQUIRED + _OPTIONAL)
_SHOWN = 3  # faults quoted in one message; the rest is counted


@dataclass(frozen=True)
class Utterance:
    """One stretch of speech: the unit of training and of evaluation.

    Arguments
    ---------
    id : str
        Unique name within its split.
    audio : str
        Path of the audio file, absolute or relative to the data root.
    duration : float
        Length in seconds.
    text : str, optional
        Transcript; None for unlabelled speech.
    speaker : str, optional
        Who speaks, where it is known.
    start : float, optional
        Where it begins in its file, in seconds, if it is a stretch of one;
        None for the whole file.
    groups : dict of str to str, optional
        Properties that results are given by, such as gender, age or accent.
    where : str, optional
        File and line that describe it, for messages; in no manifest.

    Example
    -------
    >>> Utterance("u1", "audio/u1.flac", 1.5, text="good morning").duration
    1.5
    """

    id: str
    audio: str
    duration: float
    text: str | None = None
    speaker: str | None = None
    start: float | None = None
    groups: dict[str, str] | None = None
    where: str | None = field(default=None, compare=False, repr=False)

    @property
    def stretch(self) -> dict[str, float]:
        """Arguments of `read_audio` for this stretch; {} for a whole file."""
        if self.start is None:
            return {}
        return {"start": self.start, "seconds": self.duration}


_collected: ContextVar[list[tuple[str, str]] | None] = ContextVar(
    "_collected", default=None
)


@contextmanager
def collect_faults() -> Iterator[list[tuple[str, str]]]:
    """Have ``refuse`` note faults instead of raising, so that all are found.

    Yields
    ------
    list of (str, str)
        Gets each fault, with its file and line, and its remedy. Readers leave
        the faulty lines out and go on.

    Example
    -------
    >>> with collect_faults() as faults:
    ...     refuse(["a.tsv:2: no id"], "correct it")
    >>> faults
    [('a.tsv:2: no id', 'correct it')]
    """
    found: list[tuple[str, str]] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def is_collecting() -> bool:
    """Say whether ``collect_faults`` is active.

    Example
    -------
    >>> is_collecting()
    False
    """
    return _collected.get() is not None


@contextmanager
def go_on() -> Iterator[None]:
    """Note an error instead of raising it, where faults are collected.

    Example
    -------
    >>> with collect_faults() as faults, go_on():
    ...     raise UserError("a.tsv:1: the file is empty; fill it")
    >>> faults
    [('a.tsv:1: the file is empty', 'fill it')]
    """
    try:
        yield
    except UserError as error:
        found = _collected.get()
        if found is None:
            raise
        fault, _, remedy = str(error).partition("; ")
        found.append((fault, remedy))


def refuse(faults: Sequence[str], remedy: str) -> None:
    """Raise one error for all faults found in one place; nothing if none.

    Arguments
    ---------
    faults : sequence of str
        The faults, each with its file and line or its id.
    remedy : str
        The user's way out.

    Raises
    ------
    UserError
        Counts the faults and quotes the first three.

    Example
    -------
    >>> refuse([], "nothing to do")
    >>> refuse(["a.tsv:2: no id", "a.tsv:5: no id"], "correct these lines")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: 2 faults: a.tsv:2: no id, a.tsv:5: no \
id; correct these lines
    """
    if not faults:
        return
    found = _collected.get()
    if found is not None:
        found += [(fault, remedy) for fault in faults]
        return
    count = f"{len(faults)} faults: " if len(faults) > 1 else ""
    shown = ", ".join(faults[:_SHOWN])
    more = len(faults) - _SHOWN
    tail = f" and {more} more" if more > 0 else ""
    raise UserError(f"{count}{shown}{tail}; {remedy}")


def read_manifest(
    path: str | os.PathLike, data_root: str | os.PathLike | None = None
) -> list[Utterance]:
    """Read a manifest and check every line of it.

    Arguments
    ---------
    path : str or path
        The manifest.
    data_root : str or path, optional
        Folder that relative audio paths start from, instead of the one in the
        manifest's header (which is relative to the manifest's own folder).

    Returns
    -------
    list of Utterance
        In the order of the file, with `audio` resolved against the data root.

    Raises
    ------
    UserError
        For a missing or empty manifest and for damaged lines: not JSON, a
        missing or unknown key, a wrong type, an id used twice, a duration
        that is not a finite number above 0, a start that is none of at least
        0. All bad lines are counted.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> rows = [Utterance("u1", "u1.wav", 1.0)]
    >>> write_manifest(folder / "train.jsonl", rows, folder)
    1
    >>> read_manifest(folder / "train.jsonl", "/corpus")[0].audio
    '/corpus/u1.wav'
    """
    path = Path(path)
    lines = _json_lines(path)
    root = _read_header(path, lines, data_root)
    rows, faults, first_use = [], [], {}
    for number, record, fault in lines:
        fault = fault or _fault(record)
        if not fault:
            first = first_use.setdefault(record["id"], number)
            if first != number:
                fault = f"its id already stands in line {first}"
        if fault:
            faults.append(f"{path}:{number}: {fault}")
            continue
        record["audio"] = os.path.join(root, record["audio"])
        rows.append(Utterance(**record, where=f"{path}:{number}"))
    refuse(faults, "correct or remove these lines, or prepare the data again")
    if not rows:
        raise UserError(
            f"{path}: holds no utterances; prepare the data again, or remove"
            " this split from the options"
        )
    return rows


def write_manifest(
    path: str | os.PathLike,
    utterances: Iterable[Utterance],
    data_root: str | os.PathLike,
) -> int:
    """Write a manifest that appears whole or not at all.

    Arguments
    ---------
    path : str or path
        The file to write; its folder is made when missing.
    utterances : iterable of Utterance
        Audio paths below `data_root` are stored relative to it, so that a
        corpus can move.
    data_root : str or path
        Stored in the header as an absolute path.

    Returns
    -------
    int
        How many utterances were written.

    Raises
    ------
    UserError
        For an utterance that `read_manifest` would refuse.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_manifest(folder / "a.jsonl", [], folder)
    0
    """
    path = Path(path)
    root = os.path.abspath(data_root)
    with atomic_write(path) as file:
        file.write(_dump({"data_root": root}).encode())
        return _write_rows(file, utterances, root, path)


def _write_rows(file, utterances, root: str, path: Path) -> int:
    count = 0
    for row in utterances:
        record = record_of(row, root, f"{path}: utterance {count + 1}")
        file.write(_dump(record).encode())
        count += 1
    return count


def record_of(row: Utterance, root: str, place: str = "") -> dict:
    """Make the JSON record of an utterance, with its audio path below a root.

    Arguments
    ---------
    row : Utterance
        To be written.
    root : str
        Absolute path without a slash at its end.
    place : str
        For the message, where the row does not say where it is from.

    Returns
    -------
    dict

    Raises
    ------
    UserError
        For an utterance that ``read_manifest`` would refuse.

    Example
    -------
    >>> record_of(Utterance("u1", "/corpus/u1.wav", 1.0), "/corpus")
    {'id': 'u1', 'audio': 'u1.wav', 'duration': 1.0}
    """
    record = {k: v for k, v in vars(row).items() if v is not None}
    record.pop("where", None)
    audio = os.path.normpath(os.path.join(root, row.audio))
    record["audio"] = audio.removeprefix(root + os.sep)
    fault = _fault(record)
    if fault:
        raise UserError(
            f"{row.where or place}: {fault}; correct it, or the preparation of"
            " this data set"
        )
    return record


def _dump(record: dict) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _json_lines(path: Path) -> Iterator[tuple[int, dict, str | None]]:
    """Yield line number, record and fault; blank lines are left out."""
    lines = read_lines(path, "prepare the data first")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, *_parse(line)


def _parse(line: str) -> tuple[dict, str | None]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        return {}, f"not valid JSON ({error.msg} at character {error.colno})"
    except RecursionError:
        return {}, "not valid JSON (nested too deeply)"
    if not isinstance(record, dict):
        return {}, 'not a JSON object such as {"id": …, "audio": …}'
    return record, None


def _read_header(path: Path, lines: Iterator, data_root) -> str:
    number, record, fault = next(lines, (1, {}, "the file is empty"))
    if not fault and not (
        set(record) == {"data_root"} and isinstance(record["data_root"], str)
    ):
        fault = 'the header {"data_root": "FOLDER"} is missing'
    if fault:
        raise UserError(f"{path}:{number}: {fault}; prepare the data again")
    if data_root is not None:
        return os.fspath(data_root)
    return os.path.join(path.parent, record["data_root"])


def _fault(record: dict) -> str | None:
    """Describe the fault that makes this record unusable, or None."""
    for key in _REQUIRED:
        if key not in record:
            return f"key {key!r} is missing"
    if not record.keys() <= _ALLOWED:
        unknown = min(record.keys() - _ALLOWED)
        allowed = ", ".join(_REQUIRED + _OPTIONAL)
        return f"unknown key {unknown!r} (allowed: {allowed})"
    for key in ("id", "audio"):
        if not isinstance(record[key], str) or not record[key].strip():
            return f"{key!r} is not a non-empty string"
    for key in ("text", "speaker"):
        if not isinstance(record.get(key), (str, type(None))):
            return f"{key!r} is not a string"
    groups = record.get("groups")
    if groups and not (
        isinstance(groups, dict)
        and all(isinstance(value, str) for value in groups.values())
    ):
        return "'groups' is not a mapping of names to strings"
    duration, start = record["duration"], record.get("start", 0)
    for key, value in (("duration", duration), ("start", start)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"{key!r} is not a number of seconds"
    if not 0 < duration < math.inf:
        return f"the duration {duration} is not a finite number above 0"
    if not 0 <= start < math.inf:
        return f"the start {start} is not a finite number of at least 0"
    return None


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


def read_lines(
    path: str | os.PathLike,
    remedy: str = "check the path",
    progress: Callable[[int], object] | None = None,
) -> Iterator[str]:
    """Read one line of UTF-8 text after the other.

    Arguments
    ---------
    path : str or path
        May begin with a byte-order mark, as programs on Windows write it. One
        that ends in ``.gz`` is decompressed.
    remedy : str
        The user's way out where the file is not there.
    progress : callable, optional
        Is given the number of bytes of each line.

    Yields
    ------
    str
        Without the line's end, which is a line feed with or without carriage
        return. U+2028, U+0085 and the like stand inside a line.

    Raises
    ------
    UserError
        If it cannot be read or is not UTF-8; then with the line.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.txt"
    >>> with open(path, "wb") as file:
    ...     size = file.write("\\ufeffone\\u2028two\\r\\nthree".encode())
    >>> list(read_lines(path))
    ['one\\u2028two', 'three']
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); {remedy}"
        ) from error
    with file:
        for number, line in enumerate(_decompressed(file, path), 1):
            if progress is not None:
                progress(len(line))
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield _decode(line, path, number)


def _decompressed(file: BinaryIO, path: str | os.PathLike) -> Iterator[bytes]:
    if not os.fspath(path).endswith(".gz"):
        yield from file
        return
    try:
        yield from gzip.GzipFile(fileobj=file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: is not a whole gzip file; copy it again"
        ) from error


def _decode(line: bytes, path: str | os.PathLike, number: int) -> str:
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        fault = (
            f"{path}:{number}: is not UTF-8 text (byte {error.start + 1} of "
            "the line)"
        )
        refuse([fault], "convert the file to UTF-8")
        return _decode(line.decode(errors="replace").encode(), path, number)
