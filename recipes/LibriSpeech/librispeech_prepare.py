"""LibriSpeech in its published layout (openslr.org/12, CC BY 4.0).

    SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac
    SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt   "UTTERANCE-ID TEXT" lines

Other folders can join the pool, at any depth, such as those of Libri-Light. Its
labels of 10 h, 1 h and 10 min are in librispeech_finetuning/, in the same
layout below 1h/FOLD/{clean,other}/ and 9h/{clean,other}/.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance, read_lines, refuse
from nar_asr_lobes.dataio.prepare import measure_files, visible_files
from nar_asr_lobes.errors import UserError

_TRAIN = ("train-clean-100", "train-clean-360", "train-other-500")
_FINETUNING = "librispeech_finetuning"
_SUBSETS = {"10min": ("1h/0",), "1h": ("1h",), "10h": ("1h", "9h")}


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
        Folders, joined into the splits of these names. 10h, 1h and 10min are
        the labels of Libri-Light, in ``librispeech_finetuning``.
    pool : sequence of str
        Folders read without transcripts, for pre-training; ids of other
        folders than those above are paths. Audio that cannot be read is left
        out, with a warning, here and above.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev", "test" and "pool", as far as folders are named for
        them, and each test folder once more under its own name.

    Raises
    ------
    UserError
        For a missing folder, and audio without a transcript or the other way
        round.
    """
    labelled = {
        name: [
            row
            for folder in _folders(name)
            for row in _read_split(Path(data_folder) / folder)
        ]
        for name in dict.fromkeys([*train, *dev, *test])
    }
    unlabelled = {
        name: labelled.get(name)
        or measure_files(_audio(Path(data_folder) / name), data_folder)
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


def _folders(name: str) -> list[str]:
    parts = _SUBSETS.get(name)
    return [f"{_FINETUNING}/{part}" for part in parts] if parts else [name]


def _audio(folder: Path) -> list[Path]:
    files = visible_files(folder)
    if not files:
        raise UserError(
            f"{folder}: no audio found; expected {folder.name}/SPEAKER/CHAPTER/"
            "*.flac as published at openslr.org/12, or name other folders in"
            " the options train, dev, test and pool"
        )
    return files


def _read_split(folder: Path) -> list[Utterance]:
    files = _audio(folder)
    texts, faults = _read_transcripts(folder)
    faults += [
        f"{file}: no transcript in its chapter's .trans.txt"
        for file in files
        if not texts.get(file.stem)
    ]
    found = {file.stem for file in files}
    faults += [
        f"{folder}: transcript {name} has no audio"
        for name in texts
        if name not in found
    ]
    refuse(faults, "complete these files, for example from the archive")
    return [
        replace(
            row, id=file.stem, text=texts[file.stem], speaker=file.parts[-3]
        )
        for row in measure_files(files, folder)
        for file in [Path(row.audio)]
    ]


def _read_transcripts(folder: Path) -> tuple[dict[str, str], list[str]]:
    texts: dict[str, str] = {}
    faults = []
    for path in visible_files(folder, [".trans.txt"]):
        for number, line in enumerate(read_lines(path), 1):
            if not line.strip():
                continue
            name, *text = line.split(maxsplit=1)
            if not text or name in texts:
                faults.append(f"{path}:{number}: no text, or an id used twice")
            texts[name] = "".join(text).strip()
    return texts, faults
