"""Training a neural language model: its objective, its end.

LmRunConfig -> _LmObjective -> NarBrain … best weights -> lm.safetensors
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from speechbrain.utils.run_opts import RunOptions

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.lm.neural import WEIGHTS, NeuralLM
from nar_asr_lobes.lobes.transformer_lm import BOUNDARY, LmSizes, TransformerLm
from nar_asr_lobes.storage import write_text
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.build import try_parts, wrap_brain
from nar_asr_lobes.training.config import LmRunConfig
from nar_asr_lobes.training.lm.data import (
    TextBatch,
    TextDataset,
    lm_tokenizer,
    text_dataset,
)
from nar_asr_lobes.training.metadata import run_metadata

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _TextInputs:
    """A batch of sentences and the number of tokens it predicts."""

    batch: TextBatch
    counts: dict[str, float]


class _LmObjective:
    """Cross-entropy in nats per token, the sentence's end included."""

    score = "nats"
    remedies: ClassVar[Mapping[str, str]] = {}

    def __init__(self, vocab_size: int):
        self.vocab_size = vocab_size
        self.weights = {"nats": 1.0}

    def build_model(self, sizes: LmSizes) -> TransformerLm:
        """Build the language model."""
        return TransformerLm(sizes, self.vocab_size)

    def init_from_batch(
        self, model: TransformerLm, prepared: Sequence[_TextInputs]
    ) -> None:
        """Fit nothing."""

    def make_inputs(
        self, batch: TextBatch, model: TransformerLm, progress: float = 0.0
    ) -> _TextInputs:
        """Count the tokens of a batch and its ends."""
        tokens = float(batch.token_lens.sum() + len(batch.token_lens))
        return _TextInputs(batch, {"nats": tokens})

    def losses(
        self, model: Callable, prepared: _TextInputs, training: bool
    ) -> dict[str, torch.Tensor]:
        """Sum the negative log-probabilities."""
        batch = prepared.batch
        return {"nats": -model(batch.tokens, batch.token_lens).sum()}


def make_lm_brain(config: LmRunConfig, run_opts: RunOptions) -> NarBrain:
    """Put the parts of a run together."""
    sizes, tokenizer = config.model, lm_tokenizer(config)
    torch.manual_seed(config.seed)
    objective = _LmObjective(tokenizer.size)
    try_parts(config)
    metadata = run_metadata(config, sizes.to_dict())
    metadata |= {
        "bucket_steps": config.bucket_steps,
        "tokenizer": tokenizer.fingerprint,
    }
    model = objective.build_model(sizes)
    return wrap_brain(config, model, objective, metadata, run_opts)


def finish_lm(config: LmRunConfig, model: TransformerLm) -> None:
    """Write the language model and its scores; on one process."""
    tokenizer = lm_tokenizer(config)
    lm, output = NeuralLM(model), Path(config.output_folder)
    lm.save(output / WEIGHTS, tokenizer)
    train, dev = (text_dataset(config, name) for name in ("train", "dev"))
    results = _evaluate_lm(lm, tokenizer, dev)
    results["unigram_nats_per_token"] = _unigram_nats(
        train, dev, tokenizer.size
    )
    write_text(output / "results.json", json.dumps(results, indent=1))
    logger.info(
        "%s: %.3f nats per token on dev (unigram %.3f), perplexity %.1f per "
        "word",
        output / WEIGHTS,
        results["nats_per_token"],
        results["unigram_nats_per_token"],
        results["perplexity_per_word"],
    )


def _evaluate_lm(
    lm: NeuralLM, tokenizer: Tokenizer, dev: TextDataset
) -> dict[str, float]:
    """Score a split."""
    sentences = [dev.sentence(index).tolist() for index in range(len(dev))]
    nats = -math.fsum(lm.sentences(sentences))
    words = sum(len(tokenizer.decode(ids).split()) + 1 for ids in sentences)
    return {
        "sentences": len(sentences),
        "nats_per_token": nats / (len(dev.tokens) + len(sentences)),
        "perplexity_per_word": math.exp(min(nats / words, 700.0)),
    }


def _unigram_nats(train: TextDataset, dev: TextDataset, size: int) -> float:
    """Cross-entropy of dev under train's piece frequencies, plus one each."""

    def counts(data: TextDataset) -> np.ndarray:
        found = np.bincount(data.tokens, minlength=size)
        found[BOUNDARY] = len(data)
        return found

    seen, wanted = counts(train) + 1, counts(dev)
    return float(-(wanted * np.log(seen / seen.sum())).sum() / wanted.sum())
