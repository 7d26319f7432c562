"""Recognise by its shape how a corpus is described, and read it.

    folder or file -> a source for each split -> utterances

| shape | read by |
|---|---|
| a folder with ``wav.scp``, or a folder of such | ``kaldi`` |
| JSON lines of cuts, of recordings and supervisions | ``lhotse`` |
| a manifest of this project | ``read_manifest`` |
| other JSON lines, CSV, TSV, ``metadata.csv`` in split folders | ``columns`` |
| audio files, each with a text file of its name | here |
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from nar_asr_lobes.dataio.formats.columns import GROUPS, table_utterances
from nar_asr_lobes.dataio.formats.kaldi import kaldi_utterances
from nar_asr_lobes.dataio.formats.lhotse import (
    cut_utterances,
    supervision_utterances,
)
from nar_asr_lobes.dataio.formats.tables import read_table
from nar_asr_lobes.dataio.manifest import (
    Utterance,
    collect_faults,
    go_on,
    read_lines,
    read_manifest,
    refuse,
)
from nar_asr_lobes.dataio.prepare import visible_files
from nar_asr_lobes.errors import UserError

logger = logging.getLogger(__name__)

_SPLITS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
_NAME_THEM = (
    "name the right ones in data.options: files: {train: …, dev: …, test: …}"
)
_TABLES = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz")


def read_corpus(
    place: str | os.PathLike,
    files: Mapping[str, str | Sequence[str]] | None = None,
    columns: Mapping[str, str] | None = None,
    groups: Sequence[str] = GROUPS,
) -> dict[str, list[Utterance]]:
    """Read a corpus in any of the forms above.

    Arguments
    ---------
    place : str or path
        Its folder, or the one file that describes it.
    files : mapping of str to str or list of str, optional
        A file or Kaldi folder for each split, or some, below the folder, where
        their names do not tell.
    columns, groups :
        As for ``table_utterances``.

    Returns
    -------
    dict of str to list of Utterance
        By split: train, dev and test (val, valid and validation are dev), and
        others as they are called; "" where nothing tells. Durations may be
        NaN, see ``with_durations``.

    Raises
    ------
    UserError
        For a place of no such form, or of several.

    Example
    -------
    >>> read_corpus("no")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: no: is no folder or file; check data_folder
    """
    place = Path(place)
    if not place.exists():
        raise UserError(f"{place}: is no folder or file; check data_folder")
    sources = [
        (split, place / name)
        for split, names in (files or {}).items()
        for name in ([names] if isinstance(names, str) else names)
    ]
    corpus: dict[str, list[Utterance]] = {}
    for name, source in sources or _sources(place):
        with go_on():
            for split, rows in _read(source, columns, groups).items():
                split = name or _SPLITS.get(split.lower(), split)
                corpus.setdefault(split, []).extend(rows)
    return corpus


def _sources(place: Path) -> list[tuple[str, Path]]:
    """Find the files and folders that describe a corpus, with their splits."""
    if place.is_file():
        return [("", place)]
    folders = [x for x in sorted(place.iterdir()) if x.is_dir()]
    found = {
        "a Kaldi data folder": {place: ""} if _is_kaldi(place) else {},
        "Kaldi data folders": {x: x.name for x in folders if _is_kaldi(x)},
        "tables": {x: x.name for x in _tables(place)},
        "tables in its folders": {
            table: folder.name
            for folder in folders
            for table in _tables(folder)
            if table.name.startswith("metadata.")
        },
    }
    found = {shape: names for shape, names in found.items() if names}
    if len(found) > 1:
        raise UserError(f"{place}: has {' and '.join(found)}; {_NAME_THEM}")
    for shape, names in found.items():
        if len(names) == 1 and not shape.endswith("folders"):
            return [("", next(iter(names)))]
        return _by_split(names)
    return [("", place)]


def _is_kaldi(folder: Path) -> bool:
    return (folder / "wav.scp").is_file()


def _tables(folder: Path) -> list[Path]:
    """List the tables of a folder; of a pair of lhotse, the supervisions."""
    names = {
        x.name
        for x in folder.iterdir()
        if x.name[0] != "." and x.name.lower().endswith(_TABLES)
    }
    pairs = {
        x
        for x in names
        if "recordings" in x
        and x.replace("recordings", "supervisions") in names
    }
    return [folder / name for name in sorted(names - pairs)]


def _by_split(names: Mapping[Path, str]) -> list[tuple[str, Path]]:
    """Tell from the names which source is of which split."""
    sources: dict[str, Path] = {}
    for path, name in names.items():
        words = re.split(r"[\W_]+", name.lower())
        splits = {_SPLITS[word] for word in words if word in _SPLITS}
        split = splits.pop() if len(splits) == 1 else ""
        if not split or split in sources:
            other = f", as {sources[split].name}" if split in sources else ""
            raise UserError(
                f"{path}: its name does not tell one split{other}; {_NAME_THEM}"
            )
        sources[split] = path
    return list(sources.items())


def _read(
    source: Path, columns: Mapping[str, str] | None, groups: Sequence[str]
) -> dict[str, list[Utterance]]:
    if source.is_dir():
        kaldi = _is_kaldi(source)
        return {"": kaldi_utterances(source) if kaldi else _pairs(source)}
    if ".jsonl" in source.name:
        keys = _first_keys(source)
        if keys == {"data_root"}:
            return {"": read_manifest(source)}
        if "recording_id" in keys:
            return {"": supervision_utterances(source)}
        if keys & {"supervisions", "recording", "tracks"}:
            return {"": cut_utterances(source, read_table(source))}
        if "sources" in keys:
            raise UserError(
                f"{source}: has recordings only; put their supervisions beside"
                " it, under the same name with supervisions for recordings"
            )
    text = (columns or {}).get("text", "text")
    rows = read_table(source, text)
    return table_utterances(source, rows, columns, groups)


def _first_keys(path: Path) -> set[str]:
    """Read the keys of the first line; ``read_table`` tells its faults."""
    for line in islice(filter(str.strip, read_lines(path)), 1):
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            break
        return set(record) if isinstance(record, dict) else set()
    return set()


def _pairs(folder: Path) -> list[Utterance]:
    """Make an utterance of each audio file; its text has the same name."""
    audio = visible_files(folder)
    texts = {x.with_suffix(""): x for x in visible_files(folder, [".txt"])}
    if not audio or not any(file.with_suffix("") in texts for file in audio):
        raise UserError(
            f"{folder}: holds no description of a corpus; expected a CSV, TSV"
            " or JSONL table, a Kaldi data folder, lhotse manifests, or audio"
            " files with a .txt file each"
        )
    alone = texts.keys() - {file.with_suffix("") for file in audio}
    if alone:
        logger.warning(
            "%s: %d texts have no audio file; left out", folder, len(alone)
        )
    return [
        _pair(file, texts, folder, f"{folder}: audio {number}")
        for number, file in enumerate(audio, 1)
    ]


def _pair(
    file: Path, texts: Mapping[Path, Path], folder: Path, where: str
) -> Utterance:
    name = file.with_suffix("")
    lines = _text_lines(texts[name], where) if name in texts else []
    inside = name.relative_to(folder)
    return Utterance(
        id=inside.as_posix(),
        audio=str(file.absolute()),
        duration=math.nan,
        text=" ".join(" ".join(lines).split()) or None,
        speaker=inside.parts[-2] if len(inside.parts) > 1 else None,
        where=where,
    )


def _text_lines(path: Path, where: str) -> list[str]:
    with collect_faults() as faults:
        lines = list(read_lines(path))
    # Names of such files may be names of persons; messages show none.
    for fault, remedy in faults:
        refuse([fault.replace(str(path), where)], remedy)
    return lines
