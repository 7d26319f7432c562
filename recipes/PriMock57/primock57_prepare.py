"""PriMock57: 57 mock consultations in primary care, in English (CC BY 4.0).

    audio/dayD_consultationNN_{doctor,patient}.wav
    transcripts/dayD_consultationNN_{doctor,patient}.TextGrid

Each channel has a file and a TextGrid, in which an interval is an utterance.
``<UNSURE>…</UNSURE>`` encloses words that the transcriber was not sure of; they
are kept. ``<UNIN/>`` and ``<INAUDIBLE_SPEECH/>`` stand for speech that nobody
could write down. There is no official split: the whole is a test set.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.formats.textgrid import Interval, read_textgrid
from nar_asr_lobes.dataio.manifest import Utterance, refuse
from nar_asr_lobes.dataio.prepare import visible_files

logger = logging.getLogger(__name__)

EXCLUDED = ("day1_consultation07", "day3_consultation03")
"""The consultations that the public comparisons leave out."""

_NAME = re.compile(r"(day(\d)_consultation\d\d)_(doctor|patient)")
_UNSURE = re.compile(r"</?UNSURE>")
_UNINTELLIGIBLE = re.compile(r"<(?:UNIN|INAUDIBLE_SPEECH)/>")
_SPLITS = {"4": "dev", "5": "held_out"}  # by day; the others are train


def prepare(
    data_folder: str,
    exclude: Sequence[str] = EXCLUDED,
    unintelligible: bool = True,
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        A clone of the repository, with its audio (Git LFS).
    exclude : sequence of str
        Consultations to leave out; ``[]`` takes all 57.
    unintelligible : bool
        Whether utterances with speech that nobody could write down are used,
        by the words around it.

    Returns
    -------
    dict of str to iterable of Utterance
        "test": all consultations. For fine-tuning, "train" (days 1 to 3),
        "dev" (day 4) and "held_out" (day 5), and "pool", the audio of train.
        Doctors may be the same on all days. Role and consultation are groups.

    Raises
    ------
    UserError
        For a missing or damaged TextGrid, audio without one or the other way
        round, and tags other than the three.
    """
    folder = Path(data_folder).absolute()
    paths = [
        path
        for path in _transcripts(folder)
        if _NAME.match(path.stem)[1] not in exclude
    ]
    rows = _read(folder, paths, unintelligible)
    days: dict[str, list[Utterance]] = {"train": [], "dev": [], "held_out": []}
    for row in rows:
        days[_SPLITS.get(_NAME.match(row.id)[2], "train")].append(row)
    pool = [replace(row, text=None) for row in days["train"]]
    return {"test": rows, **days, "pool": pool}


def _read(
    folder: Path, paths: Iterable[Path], unintelligible: bool
) -> list[Utterance]:
    rows, faults, skipped = [], [], 0
    for path in paths:
        for number, interval in enumerate(read_textgrid(path)):
            text, lost = _UNINTELLIGIBLE.subn(" ", interval.text)
            text = _UNSURE.sub("", text)
            if "<" in text or ">" in text:
                faults.append(f"{path}:{interval.line}: has an unknown tag")
            elif re.search(r"\w", text) and (unintelligible or not lost):
                rows.append(_utterance(folder, path, number, interval, text))
            else:
                skipped += bool(interval.text.strip())
    refuse(faults, "remove these tags, or tell us of them")
    if skipped:
        logger.info("%d unintelligible utterances are left out", skipped)
    return rows


def _transcripts(folder: Path) -> list[Path]:
    """List the TextGrids that belong to audio; refuse others."""
    grids, audio = (
        {path.stem: path for path in visible_files(folder / name, [ending])}
        for name, ending in (
            ("transcripts", ".textgrid"),
            ("audio", ".wav"),
        )
    )
    faults = [
        f"{folder / 'transcripts' / name}.TextGrid: is missing"
        for name in audio
        if name not in grids
    ]
    faults += [
        f"{path}: its audio is missing"
        for name, path in grids.items()
        if name not in audio
    ]
    faults += [
        f"{path}: is not named dayD_consultationNN_doctor or _patient"
        for name, path in grids.items()
        if not _NAME.fullmatch(name)
    ]
    if not grids:
        faults = [f"{folder}: has no transcripts/*.TextGrid"]
    refuse(faults, "clone github.com/babylonhealth/primock57 with Git LFS")
    return list(grids.values())


def _utterance(
    folder: Path, path: Path, number: int, interval: Interval, text: str
) -> Utterance:
    consultation, _, role = _NAME.fullmatch(path.stem).groups()
    return Utterance(
        id=f"{path.stem}-{number:04d}",
        audio=str(folder / "audio" / f"{path.stem}.wav"),
        duration=interval.end - interval.start,
        text=" ".join(text.split()),
        speaker=path.stem,
        start=interval.start,
        groups={"role": role, "consultation": consultation},
    )
