"""Keys of the YAML of a neural language model.

As in ``config``, every key has a field here and one without is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nar_asr_lobes.dataio.text.normalization import STYLES
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import require_count
from nar_asr_lobes.storage import FilePath
from nar_asr_lobes.training.config import (
    PRECISIONS,
    LogConfig,
    OptimConfig,
)

TASK = "lm"
SECTIONS = {"optim": OptimConfig, "logging": LogConfig}


@dataclass(frozen=True)
class LmRunConfig:
    """One training of a Transformer language model.

    Arguments
    ---------
    task : str
        ``lm``.
    tokenizer : str
        The fine-tuning's: its file, or the folder or bundle that holds it.
    texts, dev_texts : list of str
        Manifests (``.jsonl``) and text files with a sentence a line.
    dev_share : float
        Share of the sentences of ``texts`` that are held out, chosen by their
        hash, where there are no ``dev_texts``.
    output_folder : str
        Where everything is written.
    optim : OptimConfig
        How weights are updated.
    text_style : str
        Normalisation, that of the fine-tuning; see ``normalize_text``.
    max_tokens : int
        Longer sentences are left out, counted.
    max_batch_tokens : int
        Padded tokens of a micro-batch; bounds the memory.
    bucket_steps, workers : int
        As in ``DataConfig``.
    seed : int
        Of weights, shuffling and dropout.
    steps, global_batch : int
        Optimiser steps, and sentences of a step over all processes.
    peak_lr : float
        Learning rate at the end of the warm-up.
    precision : str
        As in ``RunConfig``.
    model : mapping
        Sizes, see ``LmSizes``.
    logging : LogConfig
        What is written while training.
    debug_sentences : int, optional
        Use only so many of each split, for a quick check of a recipe.
    """

    task: str
    tokenizer: FilePath
    texts: list[FilePath]
    output_folder: FilePath
    optim: OptimConfig
    dev_texts: list[FilePath] = field(default_factory=list)
    dev_share: float = 0.01
    text_style: str = "none"
    max_tokens: int = 512
    max_batch_tokens: int = 16384
    bucket_steps: int = 16
    workers: int = 0
    seed: int = 1
    steps: int = 1000
    global_batch: int = 64
    peak_lr: float = 5e-4
    precision: str = "fp32"
    model: dict = field(default_factory=dict)
    logging: LogConfig = field(default_factory=LogConfig)
    debug_sentences: int | None = None

    def __post_init__(self):
        if not self.texts:
            raise UserError("texts is empty; name a manifest or a text file")
        for name in ("max_tokens", "max_batch_tokens"):
            require_count(name, getattr(self, name))
        if not self.dev_texts and not 0 < self.dev_share < 1:
            raise UserError(
                f"dev_share is {self.dev_share}; give a share between 0 and 1,"
                " or dev_texts"
            )
        choices = {"precision": PRECISIONS, "text_style": STYLES}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"{name} is {getattr(self, name)!r}; choose from "
                    + ", ".join(known)
                )
        optim = self.optim
        if optim.freeze_encoder_steps or optim.head_lr_scale != 1:
            raise UserError(
                "optim: head_lr_scale and freeze_encoder_steps are for models "
                "with an encoder; leave them out"
            )
