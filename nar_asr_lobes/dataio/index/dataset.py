"""Indexed corpora as a data set for training: nothing is held in memory."""

from __future__ import annotations

from collections.abc import Callable

from nar_asr_lobes.dataio.audio.silence import least_samples
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

    def load(self, index: int) -> Example:
        """Read one utterance."""
        row, wav = self.corpora.read(index)
        tokens = encode_text(row, self.tokenizer) if self.tokenizer else []
        (least,) = least_samples([tokens], self.samples_for)
        return Example(row, wav, tokens, least)
