"""Indexed corpora as a data set for training: nothing is held in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nar_asr_lobes.dataio.audio.silence import least_samples
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.batching import Sample
from nar_asr_lobes.dataio.datasets import (
    Example,
    SpeechDataset,
    WaveTransform,
    encode_text,
)
from nar_asr_lobes.dataio.index.rows import Corpora
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer


class IndexedDataset(SpeechDataset):
    """Utterances of indexed corpora, read, encoded and augmented on demand.

    Arguments
    ---------
    corpora : Corpora
        The data.
    tokenizer, augment, samples_for
        As for ``SpeechDataset``.

    Example
    -------
    >>> len(IndexedDataset(Corpora({})))
    0
    """

    def __init__(
        self,
        corpora: Corpora,
        tokenizer: Tokenizer | None = None,
        augment: WaveTransform | None = None,
        samples_for: Callable[[int], int] | None = None,
    ):
        self.corpora, self.tokenizer = corpora, tokenizer
        self.augment, self.samples_for = augment, samples_for

    def __len__(self) -> int:
        """Count the utterances."""
        return len(self.corpora)

    @property
    def durations(self) -> Corpora:
        """Indexed by utterances: their seconds, without silence added."""
        return self.corpora

    def allocate(self, samples: Sequence[Sample]) -> np.ndarray:
        """Make memory [N, S] that some utterances can be read into.

        None where they are augmented: memory that is soon free again serves
        one after another, and stays in the processor's cache.
        """
        if self.augment is not None:
            return super().allocate(samples)
        seconds = self.corpora[np.array([s.index for s in samples])]
        longest = round(float(seconds.max()) * SAMPLE_RATE)
        return np.empty((len(samples), longest), np.float32)

    def load(self, index: int, memory: np.ndarray | None = None) -> Example:
        """Read one utterance, its audio to the start of ``memory``."""
        row, wav = self.corpora.read(index, memory)
        tokens = encode_text(row, self.tokenizer) if self.tokenizer else []
        (least,) = least_samples([tokens], self.samples_for)
        return Example(row, wav, tokens, least)
