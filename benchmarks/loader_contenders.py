"""Loaders of the same FLAC utterances: bare decoding, ours and two peers.

files, shards -> a loader -> padded batches -> (utterances, samples) of each
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from nar_asr_lobes.dataio.augment import WaveAugment
from nar_asr_lobes.dataio.batching import StepSampler
from nar_asr_lobes.dataio.datasets import read_steps, step_loader
from nar_asr_lobes.dataio.index.dataset import IndexedDataset
from nar_asr_lobes.dataio.index.rows import Corpora

STEP = 32  # utterances of a rank in a step: 2048 on 64 GPUs
BATCH_SECONDS = 240.0  # padded, of a micro-batch
_MICRO_BATCH = 16  # utterances, where a loader cannot fill by seconds

Counts = Iterator[tuple[int, int]]
Loader = Callable[[int], Counts]


@dataclass(frozen=True)
class Corpus:
    """FLAC files and their seconds, and the index with their shards."""

    files: list[str]
    seconds: list[float]
    index: Path


def bare(corpus: Corpus) -> Loader:
    """Decode each file and drop it: the yardstick, not a loader."""

    def run(workers: int) -> Counts:
        for path in corpus.files:
            yield 1, len(soundfile.read(path, dtype="float32")[0])

    return run


def ours(corpus: Corpus, augment: WaveAugment | None = None) -> Loader:
    """Load steps from the index, as pre-training does."""
    dataset = IndexedDataset(Corpora({"all": corpus.index}), augment=augment)
    steps = len(dataset) // STEP

    def run(workers: int) -> Counts:
        sampler = StepSampler(dataset.durations, STEP, steps, BATCH_SECONDS)
        for step in read_steps(step_loader(dataset, sampler, workers)):
            for batch in step:
                yield len(batch.ids), int(batch.samples.sum())

    return run


def augmented(corpus: Corpus) -> Loader:
    """Load steps with the augmentation of fine-tuning, at its whole."""
    return ours(corpus, WaveAugment())


def speechbrain(corpus: Corpus) -> Loader:
    """Load a file an utterance with the classes of SpeechBrain's recipes."""
    from speechbrain.dataio.batch import PaddedBatch
    from speechbrain.dataio.dataio import read_audio
    from speechbrain.dataio.dataloader import make_dataloader
    from speechbrain.dataio.dataset import DynamicItemDataset
    from speechbrain.dataio.sampler import DynamicBatchSampler
    from speechbrain.utils.data_pipeline import provides, takes

    @takes("wav")
    @provides("sig")
    def audio_pipeline(wav):
        return read_audio(wav)

    rows = zip(corpus.files, corpus.seconds, strict=True)
    dataset = DynamicItemDataset(
        {str(i): {"wav": x, "duration": y} for i, (x, y) in enumerate(rows)},
        [audio_pipeline],
        ["id", "sig"],
    )
    sampler = DynamicBatchSampler(
        dataset,
        BATCH_SECONDS,
        num_buckets=16,
        length_func=lambda row: row["duration"],
        batch_ordering="random",
    )

    def run(workers: int) -> Counts:
        loader = make_dataloader(
            dataset,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=PaddedBatch,
        )
        for batch in loader:
            wavs, lengths = batch.sig
            samples = (lengths * wavs.shape[1]).round().sum()
            yield len(batch.id), int(samples)

    return run


def webdataset(corpus: Corpus) -> Loader:
    """Load our shards with webdataset: in order, a shuffle buffer, padded."""
    import webdataset as wds

    def decode(key: str, data: bytes) -> np.ndarray | None:
        if not key.endswith("flac"):
            return None
        return soundfile.read(io.BytesIO(data), dtype="float32")[0]

    def pad(rows: list) -> tuple[list, torch.Tensor, list[int]]:
        wavs = [torch.from_numpy(wav) for _, wav in rows]
        padded = pad_sequence(wavs, batch_first=True)
        return [row for row, _ in rows], padded, [len(wav) for wav in wavs]

    shards = sorted(map(str, corpus.index.glob("*.tar")))

    def run(workers: int) -> Counts:
        dataset = (
            wds.WebDataset(shards, shardshuffle=False)
            .shuffle(100)
            .decode(decode)
            .to_tuple("json", "flac")
            .batched(_MICRO_BATCH, collation_fn=pad)
        )
        loader = DataLoader(dataset, batch_size=None, num_workers=workers)
        for rows, _, samples in loader:
            yield len(rows), sum(samples)

    return run


LOADERS: dict[str, Callable[[Corpus], Loader]] = {
    "bare": bare,
    "ours": ours,
    "augmented": augmented,
    "speechbrain": speechbrain,
    "webdataset": webdataset,
}
