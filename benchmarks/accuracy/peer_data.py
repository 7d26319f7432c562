"""Data sets of the head-to-head: the same lists and texts for every system.

recipes/LowResource -> utterances, normalised -> int16 audio in memory
texts of train -> character tokenizer
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.checks import check_utterances
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer, train_tokenizer

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "recipes" / "LowResource"))
from lowresource_prepare import LANGUAGES, prepare  # noqa: E402

SETS = tuple(LANGUAGES)
_STYLE, _MAX_SECONDS = "english", 60  # of recipes/LowResource/hparams


@dataclass(frozen=True)
class Split:
    """N utterances: names, normalised texts, audio int16 [S] each."""

    ids: list[str]
    texts: list[str]
    speakers: list[str]
    wavs: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def seconds(self) -> list[float]:
        """Length of each utterance."""
        return [len(wav) / SAMPLE_RATE for wav in self.wavs]

    def waveform(self, index: int) -> torch.Tensor:
        """One utterance as float32 [S] between -1 and 1."""
        return torch.from_numpy(self.wavs[index].astype(np.float32) / 32767)


def list_split(data_folder: str, name: str, split: str) -> list[Utterance]:
    """List the utterances of a split with normalised texts."""
    rows = prepare(data_folder, name)[split]
    return [
        replace(row, text=normalize_text(row.text or "", _STYLE))
        for row in rows
    ]


def make_tokenizer(data_folder: str, name: str) -> Tokenizer:
    """Make the character tokenizer of a set, that of our fine-tuning."""
    rows = list_split(data_folder, name, "train")
    return train_tokenizer([row.text or "" for row in rows], "char")


def load_split(
    data_folder: str, name: str, split: str, tokenizer: Tokenizer
) -> Split:
    """Decode a split into memory; train and dev as our fine-tuning keeps them.

    A test set is whole, also with characters that train has not.
    """
    rows = list_split(data_folder, name, split)
    if split != "test":
        rows, _ = check_utterances(rows, tokenizer, max_seconds=_MAX_SECONDS)
    wavs = [read_audio(row.audio, **row.stretch) for row in rows]
    return Split(
        [row.id for row in rows],
        [row.text or "" for row in rows],
        [row.speaker or "" for row in rows],
        [np.round(w.clip(-1, 1) * 32767).astype(np.int16) for w in wavs],
    )
