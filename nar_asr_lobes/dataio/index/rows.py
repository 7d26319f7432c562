"""Opening an index: 16 bytes an utterance, mapped into memory.

    DIR/index.json     counts, files and their sizes, fingerprint
    DIR/train.rows     for each utterance: samples, bytes, file and offset
    DIR/train-00000.tar, …     shards; or .jsonl, with audio where it lies

Nothing is read but what is asked for, and nothing is held for an utterance.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.index.files import open_files
from nar_asr_lobes.dataio.index.shards import unpack, unpack_record
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.errors import UserError, audio_error
from nar_asr_lobes.schema import Checked, parse
from nar_asr_lobes.storage import write_text

INDEX_FILE, ROWS_FILE = "index.json", "train.rows"
ROW = np.dtype([("samples", "<u4"), ("size", "<u4"), ("place", "<u8")])
"""A row: samples at 16 kHz, bytes to read, file (23 bits) and offset (40)."""
_VERSION = 1
_OFFSET_BITS = 40
_AGAIN = "make it again with nar-asr index"


def make_rows(
    samples: np.ndarray, sizes: np.ndarray, file: int, start: int = 0
) -> np.ndarray:
    """Make the rows of utterances that follow one another in a file.

    Example
    -------
    >>> rows = make_rows(np.array([16000, 800]), np.array([100, 50]), file=1)
    >>> split_place(int(rows["place"][1]))
    (1, 100)
    """
    rows = np.empty(len(samples), ROW)
    rows["samples"], rows["size"] = samples, sizes
    offsets = start + np.cumsum(sizes) - sizes
    rows["place"] = (file << _OFFSET_BITS) + offsets
    return rows


def split_place(place: int | np.ndarray) -> tuple:
    """Split places into number of the file and offset in it."""
    return divmod(place, 2**_OFFSET_BITS)


@dataclass(frozen=True)
class Header(Checked):
    """The contents of ``index.json``.

    ``files`` are name and bytes of each file that rows point to; audio paths
    in JSON lines start from ``data_root``; ``fingerprint`` is a hash of all
    that is indexed.
    """

    rows: int
    seconds: float
    files: list
    data_root: str
    fingerprint: str
    version: int = _VERSION

    def write(self, folder: Path) -> None:
        """Write it; from then on the index is there."""
        text = json.dumps(asdict(self), indent=1)
        write_text(folder / INDEX_FILE, text + "\n")


def read_header(path: str | os.PathLike) -> Header:
    """Read an ``index.json``.

    Raises
    ------
    UserError
        Where there is none, or one of another version.

    Example
    -------
    >>> read_header("/no/index.json")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: /no/index.json: there is no index; make \
it again with nar-asr index
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no index; {_AGAIN}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read; {_AGAIN}") from error
    found = values.get("version") if isinstance(values, dict) else None
    if found != _VERSION:
        raise UserError(
            f"{path}: is of version {found}, not {_VERSION}; {_AGAIN}"
        )
    return parse(Header, values, str(path))


class SpeechIndex:
    """An indexed data set.

    Arguments
    ---------
    place : str or path
        Output folder of ``nar-asr index``, or the URL of a copy.

    Raises
    ------
    UserError
        Where there is no index of this version, or one that is cut short.

    Example
    -------
    >>> SpeechIndex("/no")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: /no/index.json: there is no index; make \
it again with nar-asr index
    """

    def __init__(self, place: str | os.PathLike):
        self.place = os.fspath(place).rstrip("/")
        self.files = open_files(place)
        self.header = read_header(self.files.local(INDEX_FILE))
        self._require(ROWS_FILE, self.header.rows * ROW.itemsize)
        rows = np.memmap(self.files.local(ROWS_FILE), ROW, "r")
        self.rows = np.asarray(rows)  # a memmap is slower to index

    def __len__(self) -> int:
        """Count the utterances."""
        return len(self.rows)

    def require_files(self) -> None:
        """Refuse a file that is missing or has another size.

        It asks the disk for each file: for the main process alone.
        """
        for name, size in self.header.files:
            self._require(name, size)

    def _require(self, name: str, size: int) -> None:
        found = self.files.size(name)
        if found != size:
            state = "is missing"
            if found is not None:
                state = f"has {found} bytes instead of {size}"
            raise UserError(
                f"{self.place}/{name}: {state}; copy it again, or {_AGAIN}"
            )

    def seconds(self, indices: np.ndarray) -> np.ndarray:
        """Give the lengths of some utterances [N]."""
        return self.rows["samples"][indices] / SAMPLE_RATE

    def read(
        self, index: int, memory: np.ndarray | None = None
    ) -> tuple[Utterance, np.ndarray]:
        """Read an utterance with its audio, float32 [S] at 16 kHz.

        The audio of a shard is written to the start of ``memory``, where that
        is long enough.

        Raises
        ------
        AudioError
            Where it is damaged.
        """
        samples, data, place, sharded = self._read(index)
        if sharded:
            if memory is None or len(memory) < samples:
                memory = np.empty(samples, np.float32)
            wav = memory[:samples]
            return _utterance(unpack(data, place, wav), place), wav
        row = self._listed(data, place)
        return row, read_audio(row.audio, **row.stretch)

    def utterance(self, index: int) -> Utterance:
        """Read an utterance without its audio."""
        _, data, place, sharded = self._read(index)
        if sharded:
            return _utterance(unpack_record(data, place), place)
        return self._listed(data, place)

    def _read(self, index: int) -> tuple[int, bytes, str, bool]:
        samples, size, place = self.rows[index].item()
        number, offset = split_place(place)
        name = self.header.files[number][0]
        data = self.files.read(name, offset, size)
        place = f"{self.place}/{name}: byte {offset}"
        return samples, data, place, name.endswith(".tar")

    def _listed(self, line: bytes, place: str) -> Utterance:
        try:
            record = json.loads(line)
            audio = os.path.join(self.header.data_root, record.pop("audio"))
        except (ValueError, KeyError):
            raise audio_error(place, "holds no utterance", _AGAIN) from None
        return _utterance({**record, "audio": audio}, place)


def _utterance(record: dict, place: str) -> Utterance:
    return Utterance(**{"audio": "", **record}, where=place)


class Corpora:
    """Indexed corpora as one data set, one after another.

    Arguments
    ---------
    folders : mapping of str to path
        Of each corpus, by its name.

    Example
    -------
    >>> len(Corpora({}))
    0
    """

    def __init__(self, folders: Mapping[str, str | os.PathLike]):
        self.parts = {n: SpeechIndex(folder) for n, folder in folders.items()}
        self.sizes = [len(part) for part in self.parts.values()]
        self._ends = np.cumsum(self.sizes)

    def __len__(self) -> int:
        """Count the utterances."""
        return sum(self.sizes)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Give the seconds of some utterances [N]."""
        seconds = np.empty(len(indices))
        corpora = np.searchsorted(self._ends, indices, side="right")
        for number, part in enumerate(self.parts.values()):
            there = corpora == number
            first = self._ends[number] - len(part)
            seconds[there] = part.seconds(indices[there] - first)
        return seconds

    def read(
        self, index: int, memory: np.ndarray | None = None
    ) -> tuple[Utterance, np.ndarray]:
        """Read an utterance with its audio; see ``SpeechIndex.read``."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        part = list(self.parts.values())[number]
        first = int(self._ends[number]) - len(part)
        return part.read(index - first, memory)

    def texts(self) -> Iterator[str]:
        """Read all transcripts."""
        for part in self.parts.values():
            for index in range(len(part)):
                yield part.utterance(index).text or ""
