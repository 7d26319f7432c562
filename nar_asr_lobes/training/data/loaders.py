"""Loaders of a run: this rank's steps, and its share of the dev split."""

from __future__ import annotations

from collections.abc import Iterable

from torch.utils.data import DataLoader

from nar_asr_lobes.dataio.batching import (
    Sample,
    StepSampler,
    validation_batches,
)
from nar_asr_lobes.dataio.datasets import Batch, SpeechDataset, step_loader
from nar_asr_lobes.dataio.index.dataset import IndexedDataset
from nar_asr_lobes.dataio.index.rows import Corpora
from nar_asr_lobes.dataio.stream import UtteranceStream
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.distributed import world
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.data.prepare import make_frontend, read_split
from nar_asr_lobes.training.data.use_index import index_stream


def train_loader(config: RunConfig, tokenizer: Tokenizer | None) -> DataLoader:
    """Load this rank's share of the training steps."""
    dataset, stream = _train_set(config, tokenizer)
    rank, ranks = world()
    sampler = StepSampler(
        dataset.durations,
        config.global_batch,
        config.steps,
        config.data.max_batch_seconds,
        config.data.bucket_steps,
        rank,
        ranks,
        config.seed,
        config.data.sorted_epochs,
        stream,
    )
    return step_loader(dataset, sampler, config.data.workers)


def _train_set(
    config: RunConfig, tokenizer: Tokenizer | None
) -> tuple[SpeechDataset, UtteranceStream | None]:
    """Give the training split, and its order where corpora are mixed."""
    augment = config.wave_augment
    samples_for = make_frontend(config.model).samples_for
    if config.data.index:
        corpora = Corpora(config.data.index)
        indexed = IndexedDataset(corpora, tokenizer, augment, samples_for)
        return indexed, index_stream(config, corpora)
    utterances = read_split(config, config.data.train, checked=True)
    cache = config.data.cache
    return (
        SpeechDataset(utterances, tokenizer, augment, cache, samples_for),
        None,
    )


class ValidationSet:
    """This rank's batches of the dev split, read again in each pass."""

    def __init__(self, config: RunConfig, tokenizer: Tokenizer | None):
        utterances = read_split(config, config.data.dev, checked=True)
        self.dataset = SpeechDataset(
            utterances,
            tokenizer,
            cache=config.data.cache,
            samples_for=make_frontend(config.model).samples_for,
        )
        self.batches = validation_batches(
            self.dataset.durations,
            config.data.max_batch_seconds,
            *world(),
        )

    def __iter__(self) -> Iterable[Batch]:
        """Read the batches; the seeds, and so the masks, are always equal."""
        for batch in self.batches:
            yield self.dataset.batch([Sample(i, i) for i in batch])
