"""Libri-Light: 60,000 h of English audio books, without transcripts.

    {small,medium,large}/SPEAKER/BOOK/*.flac, each with a .json
    librispeech_finetuning/{1h/FOLD,9h}/{clean,other}/SPEAKER/CHAPTER/…
    {dev,test}-{clean,other}/…                        of LibriSpeech

A file is a chapter and may be an hour long; longer ones than ``max_seconds``
are cut at quiet places. The labels for fine-tuning are 10 h, 1 h or 10 min of
LibriSpeech, and its dev and test sets; ``recipes/LibriSpeech`` reads them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import measure_files, visible_files
from nar_asr_lobes.dataio.splits import split_speakers
from nar_asr_lobes.errors import UserError

sys.path.append(str(Path(__file__).resolve().parents[1] / "LibriSpeech"))
from librispeech_prepare import prepare as librispeech  # noqa: E402

_DEV_SHARE = 0.01


def prepare(
    data_folder: str,
    pool: Sequence[str] = ("small", "medium", "large"),
    train: Sequence[str] = ("10h",),
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Holds the folders above; those of LibriSpeech may be links.
    pool : sequence of str
        Folders of unlabelled audio.
    train : sequence of str
        Labels for fine-tuning: 10h, 1h or 10min.

    Returns
    -------
    dict of str to iterable of Utterance
        "pool" and "pool_dev", a hundredth of it by other speakers, and the
        labelled splits of ``recipes/LibriSpeech``, as far as their folders
        are there.

    Raises
    ------
    UserError
        For a folder without audio, and as ``recipes/LibriSpeech``.
    """
    folder = Path(data_folder).absolute()
    splits: dict[str, Iterable[Utterance]] = {}
    if (folder / "librispeech_finetuning").is_dir():
        splits = librispeech(data_folder, train=train, pool=[])
    splits["pool"] = _part(folder, pool, "train")
    splits["pool_dev"] = _part(folder, pool, "dev")
    return splits


def _part(folder: Path, names: Sequence[str], part: str) -> Iterator[Utterance]:
    """Give the files of some speakers; measured when asked for."""
    files = [file for name in names for file in visible_files(folder / name)]
    if not files:
        raise UserError(
            f"{folder}: has no audio in {', '.join(names)}; unpack small.tar, "
            "medium.tar or large.tar there, or name other folders in the "
            "option pool"
        )
    # Speakers are told by paths alone: only the part asked for is opened.
    rows = [
        Utterance(str(file), str(file), 1.0, speaker=file.parts[-3])
        for file in files
    ]
    chosen = split_speakers(rows, {"dev": _DEV_SHARE})[part]
    speakers = {row.audio: row.speaker for row in chosen}
    for row in measure_files([Path(file) for file in speakers], folder):
        yield replace(row, speaker=speakers[row.audio])
