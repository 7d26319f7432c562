"""Speechocean762: English read by 250 Mandarin speakers, half of them children.

Reads `utterances.tsv` (id, audio, speaker, split, duration, text) in the data
folder. Train and test are official, 125 speakers each. Development speakers
are taken out of train: the 12 whose names have the smallest SHA-256, a choice
that is the same everywhere and looks at neither age nor score.
Source: github.com/jimbozhang/speechocean762, free for any use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import tsv_utterances
from nar_asr_lobes.dataio.synthesis.corpus import speak_texts
from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import require_count

_SIBLINGS = ("arabic_commands", "kathleen_en", "swahili", "yoruba")


def prepare(
    data_folder: str, dev_speakers: int = 12, spoken_folder: str | None = None
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Folder with `utterances.tsv` and the audio it names. Data sets of the
        same form beside it (arabic_commands, kathleen_en, swahili, yoruba)
        join the pool.
    dev_speakers : int
        How many of the train speakers make the development set.
    spoken_folder : str, optional
        Where espeak-ng's reading of the sentences of "train" and of
        kathleen_en is, or is to be made (half a minute, 160 MB).

    Returns
    -------
    dict of str to iterable of Utterance
        "train" and "dev" (disjoint speakers), "test" (official),
        "test_unseen" (test without the sentences that the official train set
        has too) and "pool": audio without text for pre-training, of train,
        dev and the data sets beside; no test speaker is in it. With a
        spoken_folder also "spoken".

    Raises
    ------
    UserError
        For a damaged table, a missing split, an option of another kind, or
        more development speakers than train has.
    """
    require_count("dev_speakers", dev_speakers, minimum=0)
    if not isinstance(spoken_folder, str | None):
        raise UserError(
            f"spoken_folder is {spoken_folder!r}; give a folder's name"
        )
    found = tsv_utterances(data_folder, ("train", "test"))
    official, test = found["train"], found["test"]
    dev = _smallest_hashes({row.speaker for row in official}, dev_speakers)
    seen = {row.text for row in official}
    held_out = {row.speaker for row in test}
    pool = [row for row in official if row.speaker not in held_out]
    train = [row for row in official if row.speaker not in dev]
    splits = {
        "train": train,
        "dev": [row for row in official if row.speaker in dev],
        "test": test,
        "test_unseen": [row for row in test if row.text not in seen],
        "pool": [replace(row, text=None) for row in pool]
        + _siblings(Path(data_folder).absolute().parent),
    }
    if spoken_folder is not None:
        texts = _sentences(train, Path(data_folder).absolute().parent)
        splits["spoken"] = speak_texts(spoken_folder, texts)
    return splits


def _sentences(train: list[Utterance], folder: Path) -> list[str]:
    """Different sentences to be spoken, those of train first."""
    rows = list(train)
    if (folder / "kathleen_en" / "utterances.tsv").is_file():
        for split in tsv_utterances(folder / "kathleen_en").values():
            rows += split
    texts = (normalize_text(row.text or "", "english") for row in rows)
    return [text for text in dict.fromkeys(texts) if text]


def _smallest_hashes(speakers: set[str | None], count: int) -> set[str]:
    if not 0 < count < len(speakers):
        raise UserError(
            f"dev_speakers is {count}, but train has {len(speakers)} speakers;"
            f" choose 1 to {len(speakers) - 1}"
        )
    names = sorted(
        map(str, speakers), key=lambda s: hashlib.sha256(s.encode()).hexdigest()
    )
    return set(names[:count])


def _siblings(folder: Path) -> list[Utterance]:
    """List the audio of the data sets beside, with ids of their own."""
    rows = []
    for name in _SIBLINGS:
        if (folder / name / "utterances.tsv").is_file():
            for split in tsv_utterances(folder / name).values():
                rows += [
                    replace(row, id=f"{name}-{row.id}", text=None)
                    for row in split
                ]
    return rows
