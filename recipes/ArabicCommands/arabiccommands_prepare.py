"""Arabic speech commands: 40 words, 30 speakers, 12,000 clips of one second.

Reads `utterances.tsv` (id, audio, speaker, split, duration, text) in the data
folder and keeps the official split, whose speakers are disjoint.
Source: github.com/abdulkaderghandoura/arabic-speech-commands-dataset,
CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import tsv_utterances

_OFFICIAL = {"train": "train", "dev": "val", "test": "test"}


def prepare(data_folder: str) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Folder with `utterances.tsv` and the audio it names.

    Returns
    -------
    dict of str to iterable of Utterance
        "train", "dev" and "test" (the official train, val and test), and
        "pool": the audio of train without its text, for pre-training.

    Raises
    ------
    UserError
        For a damaged table or a split that is not in it.
    """
    found = tsv_utterances(data_folder, _OFFICIAL.values())
    splits = {key: found[name] for key, name in _OFFICIAL.items()}
    splits["pool"] = [replace(row, text=None) for row in splits["train"]]
    return splits
