"""MedicalDictation: a private corpus of dictated reports.

A table (CSV, TSV, JSON lines) of audio and transcripts, or audio files with a
text file each, in a folder for each speaker. The splits are disjoint by
speaker, made once and stored. Ids and speakers become hashes, so that no log
and no error message names a file, a patient or a physician; manifests and
results do hold the paths and the texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.formats.detect import read_corpus
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import with_durations
from nar_asr_lobes.dataio.splits import complete_splits
from nar_asr_lobes.errors import UserError

_GROUPS = ("specialty", "device", "gender", "age", "accent")


def prepare(
    data_folder: str,
    columns: Mapping[str, str] | None = None,
    groups: Sequence[str] = _GROUPS,
    splits_file: str = "splits.json",
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Folder of the corpus, or its table.
    columns : mapping of str to str, optional
        Columns of the table by role, such as ``{text: findings}``.
    groups : sequence of str
        Columns that become groups, by which results are given.
    splits_file : str
        Where the splits are stored, by hashes of the speakers: a path below
        the data folder. Speakers that join later go to train.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev", "test" and "pool". Files that cannot be read are left
        out, counted, where their length is not stated.

    Raises
    ------
    UserError
        For a form that is not recognised, faulty lines, utterances without a
        speaker, and speakers in more than one split.
    """
    root = Path(data_folder).absolute()
    found = read_corpus(root, None, columns, groups)
    corpus = {
        name: with_durations([_hidden(row, root) for row in rows], root)
        for name, rows in found.items()
    }
    unknown = sum(row.speaker is None for x in corpus.values() for row in x)
    if unknown:
        raise UserError(
            f"{root}: {unknown} utterances have no speaker, by whom the splits "
            "are made; add a column speaker, or put the files into a folder "
            "for each"
        )
    folder = root if root.is_dir() else root.parent
    splits = complete_splits(corpus, folder / splits_file)
    _check_speakers(root, splits)
    return splits


def _hidden(row: Utterance, root: Path) -> Utterance:
    """Put hashes in place of the id and the speaker."""
    path = Path(row.audio).as_posix().removeprefix(root.as_posix())
    speaker = None if row.speaker is None else f"s-{_hash(row.speaker)}"
    return replace(row, id=f"u-{_hash(f'{path} {row.id}')}", speaker=speaker)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_speakers(root: Path, splits: Mapping[str, Iterable]) -> None:
    speakers = [
        {row.speaker for row in rows}
        for name, rows in splits.items()
        if name != "pool"
    ]
    several = sum(map(len, speakers)) - len(set().union(*speakers))
    if several:
        raise UserError(
            f"{root}: {several} speakers are in more than one split; correct "
            "the column split, or remove it to have the corpus split by speaker"
        )
