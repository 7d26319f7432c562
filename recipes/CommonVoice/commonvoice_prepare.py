"""Common Voice in its published layout, any language (CC0).

    cv-corpus-VERSION/LANGUAGE/{train,dev,test,validated,…}.tsv
    cv-corpus-VERSION/LANGUAGE/clips/*.mp3
    cv-corpus-VERSION/LANGUAGE/clip_durations.tsv   from version 14 on

The tables are not quoted. The official train, dev and test are a part of
``validated``, in which no speaker has many clips of a sentence; their speakers
are disjoint. Columns have come and gone with the versions (``accent`` became
``accents``); client_id, path and sentence are in all.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.formats.tables import Row, read_tsv
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import with_durations
from nar_asr_lobes.errors import UserError

logger = logging.getLogger(__name__)

_COLUMNS = ("client_id", "path", "sentence")
_GROUPS = {
    "gender": "gender",
    "age": "age",
    "accents": "accent",
    "accent": "accent",
    "variant": "variant",
}


def prepare(
    data_folder: str,
    train: Sequence[str] = ("train",),
    dev: str = "dev",
    test: str = "test",
    pool: Sequence[str] = ("train",),
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Folder of one language, with ``train.tsv`` and ``clips/``.
    train : sequence of str
        Tables joined into "train"; ``[validated]`` is all that listeners
        approved. The speakers of dev and test are left out of it, and their
        clips.
    dev, test : str
        Tables of these splits.
    pool : sequence of str
        Tables read without sentences, for pre-training, such as ``[validated,
        other]``; without the speakers of dev and test, too.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev", "test" and "pool", with gender, age, accent and variant
        as groups. A clip that is empty or cannot be read is left out, with a
        warning, where its length is not in ``clip_durations.tsv``.

    Raises
    ------
    UserError
        For a missing table or column, and no clip left in a split.
    """
    folder = Path(data_folder).absolute()
    if not (folder / "clips").is_dir():
        raise UserError(
            f"{folder}: has no folder clips; give the folder of one language, "
            "such as cv-corpus-21.0-2025-03-14/cy"
        )
    held_out = [_read(folder, name) for name in (dev, test)]
    known = {row["client_id"] for rows in held_out for row in rows}
    seconds = _durations(folder)
    return {
        "train": _labelled(folder, train, known, seconds),
        "dev": _utterances(folder, held_out[0], seconds),
        "test": _utterances(folder, held_out[1], seconds),
        "pool": (
            replace(row, text=None)
            for row in _labelled(folder, pool, known, seconds)
        ),
    }


def _read(folder: Path, name: str) -> list[Row]:
    return read_tsv(folder / f"{name}.tsv", _COLUMNS, text="sentence")


def _labelled(
    folder: Path,
    tables: Sequence[str],
    held_out: set[str],
    seconds: dict[str, float],
) -> Iterator[Utterance]:
    """Give the clips of tables, each once; read when asked for."""
    rows: dict[str, Row] = {}
    for name in tables:
        for row in _read(folder, name):
            if row["client_id"] not in held_out:
                rows.setdefault(row["path"], row)
    yield from _utterances(folder, list(rows.values()), seconds)


def _utterances(
    folder: Path, rows: list[Row], seconds: dict[str, float]
) -> Iterator[Utterance]:
    usable = [
        row
        for row in rows
        if row.get("sentence") and seconds.get(_clip(row)) != 0
    ]
    if len(usable) < len(rows):
        logger.warning(
            "%s: %d clips without a sentence or of no length are left out",
            folder,
            len(rows) - len(usable),
        )
    found = (_utterance(folder, row, seconds) for row in usable)
    yield from with_durations(found, folder)


def _utterance(folder: Path, row: Row, seconds: dict[str, float]) -> Utterance:
    clip = _clip(row)
    groups = {name: row.get(key) for key, name in _GROUPS.items()}
    for key, name in _GROUPS.items():
        groups[name] = groups[name] or row.get(key)
    return Utterance(
        id=Path(clip).stem,
        audio=str(folder / "clips" / clip),
        duration=seconds.get(clip, math.nan),
        text=row["sentence"],
        speaker=row["client_id"],
        groups={name: x for name, x in groups.items() if x} or None,
        where=row.where,
    )


def _clip(row: Row) -> str:
    """Name the file; the first versions leave out the ending."""
    name = row["path"]
    return name if name.endswith(".mp3") else f"{name}.mp3"


def _durations(folder: Path) -> dict[str, float]:
    path = folder / "clip_durations.tsv"
    if not path.is_file():
        return {}
    rows = read_tsv(path, ("clip", "duration[ms]"))
    stated = {row["clip"]: row.number("duration[ms]") for row in rows}
    return {clip: x / 1000 for clip, x in stated.items() if x is not None}
