"""LowResource: one unlabelled pool, a few labels of one language.

Reads the data sets `speechocean762`, `yoruba`, `swahili`, `kathleen_en` and
`arabic_commands` below the data folder, each with an `utterances.tsv` (id,
audio, speaker, split, duration, text). No sentence stands both in train and in
test: it is left out of the test set (Speechocean762, Swahili) or of train
(Yoruba). The pool is the audio of train of these three, and all of the other
two: no test or dev utterance is in it, and of Speechocean762 no test or dev
speaker. Yoruba and Swahili have one speaker each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import tsv_utterances
from nar_asr_lobes.dataio.text.normalization import normalize_text
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
    pool: Sequence[str] = POOL,
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
    pool : sequence of str
        The data sets whose audio makes the pool.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev" and "test" of the language, and "pool": audio of the
        sets named, without text.

    Raises
    ------
    UserError
        For a missing or damaged data set, a language or a pool that is none
        of these, or minutes that are not above 0.
    """
    if language not in LANGUAGES:
        raise UserError(
            f"language is {language!r}; choose from {', '.join(LANGUAGES)}"
        )
    if not isinstance(pool, Sequence) or not set(pool) <= set(POOL) or not pool:
        raise UserError(
            f"pool is {pool!r}; name some of {', '.join(POOL)} in a list"
        )
    labels = LANGUAGES[language](Path(data_folder) / language)
    return {
        "train": first_minutes(labels.train, minutes),
        "dev": labels.dev,
        "test": labels.test,
        "pool": _pool(Path(data_folder), pool),
    }


def first_minutes(
    rows: list[Utterance], minutes: float | None
) -> list[Utterance]:
    """Take utterances by the hash of their id up to so many minutes."""
    if minutes is None:
        return rows
    number = isinstance(minutes, int | float) and minutes is not True
    if not number or not minutes > 0:
        raise UserError(f"minutes is {minutes!r}; give more than 0, or null")
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
    found = tsv_utterances(folder, names)
    return [found[name] for name in names]


def _unheard(rows: list[Utterance], known: list[Utterance]) -> list[Utterance]:
    """Leave out the rows whose text the known ones have too."""
    texts = {normalize_text(row.text or "", "english") for row in known}
    return [
        row
        for row in rows
        if normalize_text(row.text or "", "english") not in texts
    ]


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
    train = [row for row in official if row.speaker not in dev]
    return Labels(
        train,
        [row for row in official if row.speaker in dev],
        _unheard(test, train),
    )


def _yoruba(folder: Path) -> Labels:
    train, extra, dev, test = _splits(folder, "train", "extra", "val", "test")
    return Labels(_unheard(train + extra, test), dev, test)


def _swahili(folder: Path) -> Labels:
    train, dev, test = _splits(folder, "train", "val", "test")
    return Labels(train, dev, _unheard(test, train))


LANGUAGES = {
    "speechocean762": _speechocean762,
    "yoruba": _yoruba,
    "swahili": _swahili,
}


def _pool(folder: Path, names: Sequence[str]) -> Iterator[Utterance]:
    """Give the audio of data sets; of those with labels, that of train.

    Nothing is read before it is asked for: a fine-tuning needs its own set.
    """
    for name in names:
        if name in LANGUAGES:
            found = LANGUAGES[name](folder / name).train
        else:
            found = sum(tsv_utterances(folder / name).values(), [])
        for row in found:
            yield replace(row, id=f"{name}-{row.id}", text=None)
