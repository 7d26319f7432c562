"""Keys of the YAML of a neural language model.

As in ``config``, every key has a field here and one without is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nar_asr_lobes.dataio.text.normalization import STYLES
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.transformer_lm import LmSizes
from nar_asr_lobes.schema import Checked, FilePath, count, number, one_of
from nar_asr_lobes.training.config import (
    PRECISIONS,
    LogConfig,
    OptimConfig,
)

TASK = "lm"


@dataclass(frozen=True)
class LmRunConfig(Checked):
    """One training of a Transformer language model.

    Arguments
    ---------
    task : str
        ``lm``.
    tokenizer : str
        The fine-tuning's: its file, or the folder or bundle that holds it.
    texts, dev_texts : list of str
        Manifests (``.jsonl``) and text files with a sentence a line.
    dev_ratio : float
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
        For the scheduler, which refers to it.
    precision : str
        As in ``RunConfig``.
    model : LmSizes
        Its sizes.
    logging : LogConfig
        Logging while training.
    debug_sentences : int, optional
        Use only so many of each split, for a quick check of a recipe.
    """

    task: str
    tokenizer: FilePath
    texts: list[FilePath]
    output_folder: FilePath
    optim: OptimConfig
    dev_texts: list[FilePath] = field(default_factory=list)
    dev_ratio: float = number(0.01, least=0)
    text_style: str = one_of(STYLES, "none")
    max_tokens: int = count(512, least=1)
    max_batch_tokens: int = count(16384, least=1)
    bucket_steps: int = count(16, least=1)
    workers: int = count(0)
    seed: int = count(1)
    steps: int = count(1000, least=1)
    global_batch: int = count(64, least=1)
    peak_lr: float = number(5e-4, above=0)
    precision: str = one_of(PRECISIONS, "fp32")
    model: LmSizes = field(default_factory=LmSizes)
    logging: LogConfig = field(default_factory=LogConfig)
    debug_sentences: int | None = count(None, least=1)

    def __post_init__(self):
        super().__post_init__()
        if not self.texts:
            raise UserError("texts is empty; name a manifest or a text file")
        if not self.dev_texts and not 0 < self.dev_ratio < 1:
            raise UserError(
                f"dev_ratio is {self.dev_ratio}; give a share between 0 and 1,"
                " or dev_texts"
            )
        optim = self.optim
        if optim.freeze_encoder_steps or optim.head_lr_scale != 1:
            raise UserError(
                "optim: head_lr_scale and freeze_encoder_steps are for models "
                "with an encoder; leave them out"
            )
