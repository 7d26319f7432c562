"""LibriSpeech in its published layout (openslr.org/12, CC BY 4.0).

    SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac
    SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt   "UTTERANCE-ID TEXT" lines

Libri-Light's folders have the same depth, so they can join the pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.audio import AudioError, audio_info
from nar_asr_lobes.dataio.manifest import Utterance, refuse
from nar_asr_lobes.dataio.text_files import read_lines
from nar_asr_lobes.errors import UserError

_TRAIN = ("train-clean-100", "train-clean-360", "train-other-500")


def prepare(
    data_folder: str,
    train: Sequence[str] = _TRAIN,
    dev: Sequence[str] = ("dev-clean", "dev-other"),
    test: Sequence[str] = ("test-clean", "test-other"),
    pool: Sequence[str] = _TRAIN,
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        The folder that holds `train-clean-100` and the others.
    train, dev, test : sequence of str
        Folders, joined into the splits of these names.
    pool : sequence of str
        Folders read without transcripts, for pre-training.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev", "test" and "pool", as far as folders are named for
        them, and each test folder once more under its own name.

    Raises
    ------
    UserError
        For a missing folder, audio without a transcript or the other way
        round, and audio whose header cannot be read.
    """
    labelled = {
        name: _read_split(Path(data_folder) / name, labelled=True)
        for name in dict.fromkeys([*train, *dev, *test])
    }
    unlabelled = {
        name: labelled.get(name)
        or _read_split(Path(data_folder) / name, labelled=False)
        for name in dict.fromkeys(pool)
    }
    splits = {
        "train": [row for name in train for row in labelled[name]],
        "dev": [row for name in dev for row in labelled[name]],
        "test": [row for name in test for row in labelled[name]],
        "pool": [
            replace(row, text=None)
            for rows in unlabelled.values()
            for row in rows
        ],
    }
    splits |= {name: labelled[name] for name in test}
    return {name: rows for name, rows in splits.items() if rows}


def _read_split(folder: Path, labelled: bool) -> list[Utterance]:
    files = sorted(folder.glob("*/*/*.flac"))
    if not files:
        raise UserError(
            f"{folder}: no audio found; expected {folder.name}/SPEAKER/CHAPTER/"
            "*.flac as published at openslr.org/12, or name other folders in"
            " the options train, dev, test and pool"
        )
    texts, faults = _read_transcripts(folder) if labelled else ({}, [])
    rows = []
    for file in files:
        text = texts.pop(file.stem, None)
        try:
            seconds = audio_info(file).seconds
        except AudioError as error:
            faults.append(f"{file}: {error.problem}")
            continue
        if labelled and not text:
            faults.append(f"{file}: no transcript in its chapter's .trans.txt")
        speaker = file.parent.parent.name
        rows.append(
            Utterance(file.stem, str(file.absolute()), seconds, text, speaker)
        )
    faults += [f"{folder}: transcript {name} has no audio" for name in texts]
    refuse(faults, "complete these files, for example from the archive")
    return rows


def _read_transcripts(folder: Path) -> tuple[dict[str, str], list[str]]:
    texts: dict[str, str] = {}
    faults = []
    for path in sorted(folder.glob("*/*/*.trans.txt")):
        for number, line in enumerate(read_lines(path), 1):
            if not line.strip():
                continue
            name, *text = line.split(maxsplit=1)
            if not text or name in texts:
                faults.append(f"{path}:{number}: no text, or an id used twice")
            texts[name] = "".join(text).strip()
    return texts, faults
