"""AfriSpeech-200: African-accented English, clinical and general domain.

    transcripts/{train,dev,test}.csv, or transcripts/ACCENT/{train,dev,test}.csv
    audio/ACCENT/SPLIT/*.tar.gz, unpacked anywhere below audio/

Speakers of the splits are disjoint. The paths in the tables begin with folders
of the authors' machines; only the last two parts count: FOLDER/NAME.wav.
Source: huggingface.co/datasets/intronhealth/afrispeech-200, CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from nar_asr_lobes.dataio.formats.tables import Row, read_table
from nar_asr_lobes.dataio.manifest import Utterance, refuse
from nar_asr_lobes.dataio.prepare import visible_files, with_durations
from nar_asr_lobes.errors import UserError

logger = logging.getLogger(__name__)

DOMAINS = ("clinical", "general")
_COLUMNS = ("user_ids", "audio_paths", "transcript", "accent", "domain")
_GROUPS = {
    "accent": "accent",
    "domain": "domain",
    "gender": "gender",
    "age_group": "age",
    "country": "country",
}


def prepare(
    data_folder: str,
    domains: Sequence[str] = DOMAINS,
    accents: Sequence[str] = (),
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Holds ``transcripts`` and ``audio``.
    domains : sequence of str
        Of train and dev.
    accents : sequence of str
        Of train and dev; all where not given.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev", "test", its parts "test_clinical" and "test_general",
        and "pool", the audio of train. Accent, domain, gender, age and country
        are groups. Rows that stand there twice are used once; those whose
        audio is not there are left out, with a warning.

    Raises
    ------
    UserError
        For missing tables, columns or audio, and an unknown domain.
    """
    if not domains or set(domains) - set(DOMAINS):
        raise UserError(
            f"domains is {domains!r}; choose from clinical, general"
        )
    folder = Path(data_folder).absolute()
    audio = {path.parts[-2:]: path for path in visible_files(folder / "audio")}
    if not audio:
        raise UserError(
            f"{folder / 'audio'}: has no audio files; unpack its archives "
            "(audio/ACCENT/SPLIT/*.tar.gz) there"
        )

    def chosen(split: str) -> Iterator[Utterance]:
        for row in _utterances(folder, split, audio):
            if row.groups["domain"] in domains and (
                not accents or row.groups["accent"] in accents
            ):
                yield row

    def tested(*names: str) -> Iterator[Utterance]:
        rows = _utterances(folder, "test", audio)
        return (row for row in rows if row.groups["domain"] in names)

    return {
        "train": chosen("train"),
        "dev": chosen("dev"),
        "test": tested(*DOMAINS),
        "test_clinical": tested("clinical"),
        "test_general": tested("general"),
        "pool": (replace(row, text=None) for row in chosen("train")),
    }


def _tables(folder: Path, split: str) -> list[Path]:
    whole = folder / "transcripts" / f"{split}.csv"
    parts = sorted((folder / "transcripts").glob(f"*/{split}.csv"))
    if not whole.is_file() and not parts:
        raise UserError(
            f"{whole}: is missing, as are transcripts/ACCENT/{split}.csv; copy "
            "the folder transcripts of the data set"
        )
    return [whole] if whole.is_file() else parts


def _utterances(
    folder: Path, split: str, audio: dict[tuple[str, ...], Path]
) -> list[Utterance]:
    rows: dict[tuple[str, ...], Utterance] = {}
    faults, missing = [], 0
    for table in _tables(folder, split):
        for row in read_table(table):
            lacking = [name for name in _COLUMNS if row.get(name) is None]
            if lacking:
                faults.append(f"{row.where}: {lacking[0]} is missing")
                continue
            key = PurePosixPath(row["audio_paths"]).parts[-2:]
            if key in audio:
                rows.setdefault(key, _utterance(row, audio[key]))
            else:
                missing += 1
    refuse(faults, "copy the table again")
    if missing:
        logger.warning(
            "%s: the audio of %d rows is not below %s; left out",
            split,
            missing,
            folder / "audio",
        )
    return with_durations(rows.values(), folder)


def _utterance(row: Row, file: Path) -> Utterance:
    groups = {name: row.get(key) for key, name in _GROUPS.items()}
    return Utterance(
        id="/".join(file.with_suffix("").parts[-2:]),
        audio=str(file),
        duration=row.number("duration") or math.nan,
        text=row["transcript"],
        speaker=row["user_ids"],
        groups={
            name: str(x).strip().lower() for name, x in groups.items() if x
        },
        where=row.where,
    )
