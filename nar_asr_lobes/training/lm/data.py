"""From texts to batches of pieces for a neural language model.

prepare() -> normalised -> pieces -> texts/{train,dev}.{tokens,lengths}.npy
          -> TextDataset -> TextBatch
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from nar_asr_lobes.dataio.batching import (
    Sample,
    StepPlan,
    StepSampler,
    validation_batches,
)
from nar_asr_lobes.dataio.datasets import step_loader
from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.distributed import world
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.corpus import Corpus, encode_corpus
from nar_asr_lobes.storage import atomic_write, write_text
from nar_asr_lobes.training.config import LmRunConfig
from nar_asr_lobes.training.data.tokenizer import find_tokenizer
from nar_asr_lobes.training.metadata import (
    refuse_changes,
    sentence_difference,
    write_digests,
)

logger = logging.getLogger(__name__)

PrepareTexts = Callable[..., dict[str, Iterable[str]]]
"""A recipe's parser: (texts, dev_texts) -> sentences of train and dev."""


@dataclass(frozen=True)
class TextBatch:
    """Padded sentences: ``tokens`` [B, U] padded with 0, ``token_lens`` [B].

    ``places`` are the sentences' numbers in their split.
    """

    places: list[str]
    tokens: torch.Tensor
    token_lens: torch.Tensor
    seconds = 0.0  # of audio, which the trainer counts

    def to(self, device: torch.device | str) -> TextBatch:
        """Move the tensors to a device."""
        return replace(
            self,
            tokens=self.tokens.to(device, non_blocking=True),
            token_lens=self.token_lens.to(device, non_blocking=True),
        )


class TextDataset(Dataset):
    """Encoded sentences of a split: tokens of all [S], lengths [L]."""

    def __init__(self, tokens: np.ndarray, lengths: np.ndarray):
        self.tokens, self.lengths = tokens, lengths
        self.ends = np.cumsum(lengths)

    def __len__(self) -> int:
        """Count the sentences."""
        return len(self.lengths)

    def sentence(self, index: int) -> np.ndarray:
        """Give the ids of one sentence."""
        end = self.ends[index]
        return self.tokens[end - self.lengths[index] : end]

    def batch(self, samples: Sequence[Sample]) -> TextBatch:
        """Pad some sentences into one batch."""
        rows = [
            torch.from_numpy(self.sentence(s.index).astype(np.int64))
            for s in samples
        ]
        return TextBatch(
            [str(s.index) for s in samples],
            torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            torch.tensor([len(row) for row in rows]),
        )

    def __getitem__(self, plan: StepPlan) -> list[TextBatch]:
        """Read all micro-batches of a step."""
        return [self.batch(samples) for samples in plan.micro_batches]


def lm_tokenizer(config: LmRunConfig) -> Tokenizer:
    """Load the tokenizer that the YAML names, by its file or its folder."""
    return find_tokenizer(config.tokenizer)


def prepare_texts(config: LmRunConfig, prepare: PrepareTexts) -> None:
    """Encode the sentences and hold some out; call it on one process."""
    tokenizer = lm_tokenizer(config)
    found = prepare(config.texts, config.dev_texts)
    splits, left_out = {}, []
    for name, texts in found.items():
        splits[name], faults = _encode(config, tokenizer, texts)
        left_out += [f"{name}: {fault}\n" for fault in faults]
        for fault in faults:
            logger.warning("%s: left out: %s", name, fault)
        if not len(splits[name].lengths):
            raise UserError(
                f"no sentence of {name} is short enough; raise max_tokens"
            )
    if not config.dev_texts:
        held = _held_out(splits["train"], config.dev_ratio)
        if not 0 < held.sum() < len(held):
            raise UserError(
                f"{len(held)} sentences are too few for dev_ratio "
                f"{config.dev_ratio}; give dev_texts or another share"
            )
        whole = splits["train"]
        splits = {"train": _choose(whole, ~held), "dev": _choose(whole, held)}
    output = Path(config.output_folder)
    write_text(output / "left_out.txt", "".join(left_out))
    digests = {name: _digest(corpus) for name, corpus in splits.items()}
    for name, corpus in splits.items():
        refuse_changes(
            output,
            name,
            digests[name],
            partial(_difference, config, name, corpus),
        )
    write_digests(output, digests)
    for name, corpus in splits.items():
        for part in ("tokens", "lengths"):
            path = output / "texts" / f"{name}.{part}.npy"
            with atomic_write(path) as file:
                np.save(file, getattr(corpus, part))
        logger.info(
            "%s: %d sentences, %d tokens",
            name,
            len(corpus.lengths),
            len(corpus.tokens),
        )


def _encode(
    config: LmRunConfig, tokenizer: Tokenizer, texts: Iterable[str]
) -> tuple[Corpus, list[str]]:
    """Encode a split; count the unusable lines."""
    lines = (normalize_text(text, config.text_style) for text in texts)
    lines = (line for line in lines if line)
    corpus = encode_corpus(islice(lines, config.debug_sentences), tokenizer)
    faults = []
    if corpus.lines_left_out:
        shown = " ".join(map(repr, corpus.unknown_characters[:10]))
        faults.append(
            f"{corpus.lines_left_out} sentences with characters outside the "
            f"tokenizer: {shown}"
        )
    short = corpus.lengths <= config.max_tokens
    if not short.all():
        faults.append(
            f"{(~short).sum()} sentences of more than {config.max_tokens} "
            "tokens"
        )
    return _choose(corpus, short), faults


def _digest(corpus: Corpus) -> str:
    """Hash the sentences in their order."""
    digest = hashlib.sha256(corpus.lengths.astype("<i8"))
    digest.update(corpus.tokens.astype("<i8"))
    return digest.hexdigest()


def _difference(config: LmRunConfig, split: str, corpus: Corpus) -> str:
    """Count the differences from the files of an earlier preparation."""
    new = TextDataset(corpus.tokens, corpus.lengths)
    old = text_dataset(config, split)
    return sentence_difference(_contents(old), _contents(new))


def _contents(sentences: TextDataset) -> list[bytes]:
    return [
        sentences.sentence(index).astype("<i4").tobytes()
        for index in range(len(sentences))
    ]


def _held_out(corpus: Corpus, share: float) -> np.ndarray:
    """Choose sentences by their hash, so that equal ones stay together."""
    sentences = _contents(TextDataset(corpus.tokens, corpus.lengths))
    return np.array(list(map(zlib.crc32, sentences))) < share * 2**32


def _choose(corpus: Corpus, kept: np.ndarray) -> Corpus:
    return replace(
        corpus,
        tokens=corpus.tokens[np.repeat(kept, corpus.lengths)],
        lengths=corpus.lengths[kept],
    )


def text_dataset(config: LmRunConfig, split: str) -> TextDataset:
    """Open a split that `prepare_texts` wrote."""
    stem = Path(config.output_folder) / "texts" / split
    return TextDataset(
        np.load(f"{stem}.tokens.npy", mmap_mode="r"),
        np.load(f"{stem}.lengths.npy"),
    )


def text_loader(config: LmRunConfig) -> DataLoader:
    """Load this rank's share of the training steps."""
    dataset = text_dataset(config, "train")
    sampler = StepSampler(
        dataset.lengths + 1,  # with the sentence's end
        config.global_batch,
        config.steps,
        config.max_batch_tokens,
        config.bucket_steps,
        *world(),
        config.seed,
    )
    return step_loader(dataset, sampler, config.workers)


class TextValidation:
    """This rank's batches of the dev split."""

    def __init__(self, config: LmRunConfig):
        self.dataset = text_dataset(config, "dev")
        self.batches = validation_batches(
            self.dataset.lengths + 1, config.max_batch_tokens, *world()
        )

    def __iter__(self) -> Iterator[TextBatch]:
        """Read the batches."""
        for batch in self.batches:
            yield self.dataset.batch([Sample(i, i) for i in batch])
