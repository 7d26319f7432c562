"""LowResource: one unlabelled pool, a few labels of one language.

Reads the data sets `speechocean762`, `yoruba`, `swahili`, `kathleen_en` and
`arabic_commands` below the data folder, each with an `utterances.tsv` (id,
audio, speaker, split, duration, text). No sentence stands both in train and in
test: it is left out of the test set (Speechocean762, Swahili) or of train
(Yoruba). The pool is the audio of train of these three, and all of the other
two: no test or dev utterance is in it, and of Speechocean762 no test or dev
speaker. Yoruba and Swahili have one speaker each.

Besides, for self-training, train audio without its transcripts and the same
with a model's; for transfer, the labels of the other languages in one alphabet.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance, read_manifest
from nar_asr_lobes.dataio.prepare import tsv_utterances
from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.errors import UserError

POOL = ("speechocean762", "yoruba", "swahili", "kathleen_en", "arabic_commands")
OTHERS = ("speechocean762", "yoruba", "swahili", "kathleen_en")
_DEV_SPEAKERS = 12
_ONE_IN = 20  # utterances of another language is dev


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
    labels: str | Sequence[str] = (),
    half: int | None = None,
    others: Sequence[str] = ("yoruba", "swahili", "kathleen_en"),
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
    labels : str or list of str
        The files that ``label.yaml`` wrote.
    half : int, optional
        0 or 1: a half of "unlabelled", chosen by the hash of the id, where
        the two are labelled with language models of different text.
    others : sequence of str
        The data sets to transfer from; the language itself is left out. With
        Speechocean762, the hardest, a short training stays on the CTC plateau.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev" and "test" of the language; "pool", audio of the sets
        named, without text; "unlabelled", the rest of train, without text;
        "pseudo", utterances of ``labels``; "mixed", these and as much of
        train, repeated; "others" and "others_dev", romanised train utterances
        of the other languages.

    Raises
    ------
    UserError
        For a missing or damaged data set, a language, a pool or others that
        are none of these, or minutes that are not above 0.
    """
    if language not in LANGUAGES:
        raise UserError(
            f"language is {language!r}; choose from {', '.join(LANGUAGES)}"
        )
    _check_names("pool", pool, POOL)
    _check_names("others", others, OTHERS)
    folder = Path(data_folder).absolute()
    known = LANGUAGES[language](folder / language)
    train = first_minutes(known.train, minutes)
    sources = [name for name in others if name != language]
    return {
        "train": train,
        "dev": known.dev,
        "test": known.test,
        "pool": _pool(folder, pool),
        "unlabelled": without_labels(known.train, train, half),
        "pseudo": _pseudo(labels, folder),
        "mixed": _mixed(labels, folder, train),
        "others": _others(folder, sources, dev=False),
        "others_dev": _others(folder, sources, dev=True),
    }


def _check_names(key: str, names: Sequence[str], known: Sequence[str]) -> None:
    if not isinstance(names, Sequence) or not names or set(names) - set(known):
        raise UserError(
            f"{key} is {names!r}; name some of {', '.join(known)} in a list"
        )


def without_labels(
    rows: list[Utterance], labelled: list[Utterance], half: int | None = None
) -> list[Utterance]:
    """Take the rows that are not labelled, or a half of them, without text."""
    known = {row.id for row in labelled}
    return [
        replace(row, text=None)
        for row in rows
        if row.id not in known and half in (None, int(_hash(row.id), 16) % 2)
    ]


def romanize(text: str) -> str:
    """Write a text in lower case with the letters a to z.

    Example
    -------
    >>> romanize("Ọ̀rẹ́ mi, don’t")
    "ore mi don't"
    """
    text = unicodedata.normalize("NFKD", normalize_text(text, "english"))
    return text.encode("ascii", "ignore").decode()


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


def _pseudo(labels: str | Sequence[str], folder: Path) -> Iterator[Utterance]:
    """Give the utterances of files of labels; read when asked for."""
    if not labels:
        raise UserError(
            "data.options: labels is missing; name the labels.jsonl that "
            "label.yaml wrote"
        )
    for path in [labels] if isinstance(labels, str) else labels:
        yield from read_manifest(path, folder)


def _mixed(
    labels: str | Sequence[str], folder: Path, train: list[Utterance]
) -> Iterator[Utterance]:
    """Give a model's labels and about as many hours of true ones."""
    pseudo = list(_pseudo(labels, folder))
    yield from pseudo
    seconds, more = (
        sum(row.duration for row in rows) for rows in (train, pseudo)
    )
    for number in range(max(1, round(more / seconds))):
        for row in train:
            yield replace(row, id=f"{row.id}-{number}")


def _others(
    folder: Path, names: Sequence[str], dev: bool
) -> Iterator[Utterance]:
    """Give the labels of other languages, romanised; a few of each are dev."""
    for name in names:
        if name in LANGUAGES:
            rows = LANGUAGES[name](folder / name).train
        else:
            rows = sum(tsv_utterances(folder / name).values(), [])
        by_hash = sorted((row.id for row in rows), key=_hash)
        held_out = set(by_hash[: max(1, len(rows) // _ONE_IN)])
        for row in rows:
            if (row.id in held_out) == dev:
                text = romanize(row.text or "")
                yield replace(row, id=f"{name}-{row.id}", text=text)
