"""VoxPopuli: the European Parliament, 23 languages, 16 with transcripts (CC0).

    raw_audios/LANGUAGE/YEAR/EVENT_LANGUAGE.ogg         whole sessions
    unlabelled_data/LANGUAGE/YEAR/*.ogg                 or cut into pieces
    transcribed_data/LANGUAGE/asr_{train,dev,test}.tsv
    transcribed_data/LANGUAGE/YEAR/EVENT-LANGUAGE_….ogg

Sessions longer than ``max_seconds`` are cut at quiet places. Sessions with
utterances of dev or test are kept out of the pool.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.formats.tables import Row, read_tsv
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import (
    measure_files,
    visible_files,
    with_durations,
)
from nar_asr_lobes.errors import UserError

logger = logging.getLogger(__name__)

_COLUMNS = ("id", "normalized_text", "speaker_id")
_NONE = (None, "None", "N/A")
_ONE_IN = 100  # sessions is for validation where there are no transcripts


def prepare(
    data_folder: str, language: str = "en"
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Holds ``raw_audios`` or ``unlabelled_data``, and ``transcribed_data``.
    language : str
        Its code, such as en.

    Returns
    -------
    dict of str to iterable of Utterance
        "pool" and "pool_dev", a hundredth of the sessions, and "train", "dev"
        and "test" where there are transcripts, with gender and accent as
        groups. Rows without text are left out, counted.

    Raises
    ------
    UserError
        For a language without audio and damaged tables.
    """
    folder = Path(data_folder).absolute()
    labelled = folder / "transcribed_data" / language
    splits: dict[str, Iterable[Utterance]] = {}
    if labelled.is_dir():
        for name in ("train", "dev", "test"):
            splits[name] = _labelled(labelled, name)
    splits["pool"] = _unlabelled(folder, language, dev=False)
    splits["pool_dev"] = _unlabelled(folder, language, dev=True)
    return splits


def _labelled(folder: Path, split: str) -> Iterator[Utterance]:
    path = folder / f"asr_{split}.tsv"
    rows = read_tsv(path, _COLUMNS, text="normalized_text")
    usable = [row for row in rows if row.get("normalized_text")]
    if len(usable) < len(rows):
        logger.warning(
            "%s: %d rows without text are left out",
            path,
            len(rows) - len(usable),
        )
    found = (_utterance(folder, row) for row in usable)
    yield from with_durations(found, folder)


def _utterance(folder: Path, row: Row) -> Utterance:
    groups = {name: row.get(name) for name in ("gender", "accent")}
    speaker = row.get("speaker_id")
    return Utterance(
        id=row["id"],
        audio=str(folder / row["id"][:4] / f"{row['id']}.ogg"),
        duration=math.nan,
        text=row["normalized_text"],
        speaker=None if speaker in _NONE else speaker,
        groups={k: x for k, x in groups.items() if x not in _NONE} or None,
        where=row.where,
    )


def _event(name: str, language: str) -> str:
    """Name the session: EVENT_LANGUAGE… and EVENT-LANGUAGE_… are the same."""
    return name.partition("_")[0].removesuffix(f"-{language}")


def _unlabelled(folder: Path, language: str, dev: bool) -> Iterator[Utterance]:
    sources = [folder / x / language for x in ("raw_audios", "unlabelled_data")]
    files = visible_files(sources[0]) or visible_files(sources[1])
    if not files:
        raise UserError(
            f"{sources[0]}: has no audio, nor has unlabelled_data; download it "
            "with the programs of github.com/facebookresearch/voxpopuli"
        )
    tested = set()
    for split in ("dev", "test"):
        path = folder / "transcribed_data" / language / f"asr_{split}.tsv"
        if path.is_file():
            rows = read_tsv(path, _COLUMNS, text="normalized_text")
            tested |= {_event(row["id"], language) for row in rows}
    events = {_event(file.stem, language) for file in files} - tested
    held_out = set(sorted(events)[::_ONE_IN])
    chosen = [
        file
        for file in files
        if (event := _event(file.stem, language)) in events
        and (event in held_out) == dev
    ]
    for row in measure_files(chosen, folder):
        yield replace(row, groups={"language": language})
