"""LowResource: one unlabelled pool, a few labels of one language.

Reads the data sets `speechocean762`, `yoruba`, `swahili`, `kathleen_en` and
`arabic_commands` below the data folder, each with an `utterances.tsv` (id,
audio, speaker, split, duration, text). The pool is all their audio without the
evaluated test speakers (Speechocean762) and test utterances (Yoruba, Swahili,
which have one speaker each), and without their development sets' texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import tsv_utterances
from nar_asr_lobes.errors import UserError

POOL = ("speechocean762", "yoruba", "swahili", "kathleen_en", "arabic_commands")
_DEV_SPEAKERS = 12


@dataclass(frozen=True)
class Labels:
    """The labelled utterances of a language, by use."""

    train: list[Utterance]
    dev: list[Utterance]
    test: list[Utterance]


def prepare(
    data_folder: str,
    language: str = "speechocean762",
    minutes: float | None = None,
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Folder of the data sets.
    language : str
        Whose labels: speechocean762, yoruba or swahili.
    minutes : float, optional
        Labelled minutes of train; all where not given. The utterances with
        the smallest SHA-256 of their id come first, so that ten minutes are
        part of the hour, and the hour of all.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev" and "test" of the language, and "pool": audio of all
        sets without text.

    Raises
    ------
    UserError
        For a missing or damaged data set, a language that is none of these,
        or minutes that are not above 0.

    """
    if language not in LANGUAGES:
        raise UserError(
            f"language is {language!r}; choose from {', '.join(LANGUAGES)}"
        )
    labels = LANGUAGES[language](Path(data_folder) / language)
    return {
        "train": first_minutes(labels.train, minutes),
        "dev": labels.dev,
        "test": labels.test,
        "pool": _pool(Path(data_folder)),
    }


def first_minutes(
    rows: list[Utterance], minutes: float | None
) -> list[Utterance]:
    """Take utterances by the hash of their id up to so many minutes."""
    if minutes is None:
        return rows
    if isinstance(minutes, bool) or not minutes > 0:
        raise UserError(f"minutes is {minutes}; give more than 0, or null")
    chosen, seconds = [], 0.0
    for row in sorted(rows, key=lambda row: _hash(row.id)):
        if seconds + row.duration > 60 * minutes:
            break
        chosen.append(row)
        seconds += row.duration
    if not chosen:
        raise UserError(f"minutes is {minutes}; no utterance is that short")
    return chosen


def _hash(name: str | None) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def _splits(folder: Path, *names: str) -> list[list[Utterance]]:
    found = tsv_utterances(folder)
    for name in names:
        if name not in found:
            raise UserError(
                f"{folder}/utterances.tsv: split {name!r} is missing; "
                f"expected {', '.join(names)}"
            )
    return [found[name] for name in names]


def _speechocean762(folder: Path) -> Labels:
    """Take the speakers with the smallest hashes out of train for dev."""
    official, test = _splits(folder, "train", "test")
    speakers = sorted({row.speaker for row in official}, key=_hash)
    if len(speakers) <= _DEV_SPEAKERS:
        raise UserError(
            f"{folder}: train has {len(speakers)} speakers; the dev set takes "
            f"{_DEV_SPEAKERS}, so give it more"
        )
    dev = set(speakers[:_DEV_SPEAKERS])
    return Labels(
        [row for row in official if row.speaker not in dev],
        [row for row in official if row.speaker in dev],
        test,
    )


def _yoruba(folder: Path) -> Labels:
    train, extra, dev, test = _splits(folder, "train", "extra", "val", "test")
    heard = {row.text for row in test}
    return Labels(
        [row for row in train + extra if row.text not in heard], dev, test
    )


def _swahili(folder: Path) -> Labels:
    """Drop the test utterances whose text train has too."""
    train, dev, test = _splits(folder, "train", "val", "test")
    read = {row.text for row in train}
    return Labels(train, dev, [row for row in test if row.text not in read])


LANGUAGES = {
    "speechocean762": _speechocean762,
    "yoruba": _yoruba,
    "swahili": _swahili,
}


def _pool(folder: Path) -> list[Utterance]:
    """List the audio of all data sets but what is evaluated."""
    rows = []
    for name in POOL:
        splits = tsv_utterances(folder / name)
        if name in LANGUAGES:
            del splits["test"]
        for split in splits.values():
            rows += [
                replace(row, id=f"{name}-{row.id}", text=None) for row in split
            ]
    return rows
