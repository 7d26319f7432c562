"""The keys of a run's YAML; ``hparams`` reads it.

Every key has a field here that states its limits; a key without one is
refused, so none can do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nar_asr_lobes.dataio.text.normalization import STYLES
from nar_asr_lobes.dataio.text.tokenizer import KINDS
from nar_asr_lobes.decoding.hotwords.tables import DEFAULT_BOOST, MAX_BOOST
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LmFiles
from nar_asr_lobes.lm.ngram.training import MAX_ORDER
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.transformer_lm import LmSizes
from nar_asr_lobes.schema import (
    Checked,
    FilePath,
    count,
    number,
    one_of,
    require_number,
)

_TASKS = ("pretrain", "finetune", "evaluate", "label")
BUNDLE_TASKS = ("evaluate", "label")  # that train nothing
PRECISIONS = ("auto", "fp32", "bf16")
_FREEZE = ("none", "filters", "frontend")


@dataclass(frozen=True)
class DataConfig(Checked):
    """Which data, and how it is batched.

    Arguments
    ---------
    train, dev : str
        Splits, as the recipe's ``prepare`` names them.
    test : list of str
        Splits to evaluate.
    index : dict of str to str
        Folders of ``nar-asr index`` by names of one's own, to train on
        instead of the data folder.
    weights : dict of str to float
        Share of each of these in a step, relative to the others'; in
        proportion to their utterances where not given.
    options : dict
        Passed on to the recipe's ``prepare``.
    text_style : str
        Normalisation of transcripts; see ``normalize_text``.
    min_seconds, max_seconds : float
        Utterances outside are left out of training, counted and named; longer
        ones of a split without transcripts are cut at quiet places instead.
    check_audio : bool
        Whether every file is decoded before training starts, so that a
        damaged one is left out instead of stopping the run later.
    max_damaged : int
        Utterances that may turn out to be damaged while training: they are
        left out of their steps and named in damaged.txt.
    cache : bool
        Whether decoded audio is kept in memory (115 MB an hour).
    workers : int
        Processes that read audio ahead; 0 reads in the training process.
    max_batch_seconds : float
        Padded seconds of a micro-batch; bounds the memory.
    bucket_steps : int
        Steps filled together from similar lengths; 1 shuffles fully.
    sorted_epochs : int
        First passes that go from short to long utterances.
    """

    train: str = "train"
    dev: str = "dev"
    test: list[str] = field(default_factory=lambda: ["test"])
    index: dict = field(default_factory=dict)
    weights: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    text_style: str = one_of(STYLES, "none")
    min_seconds: float = number(0.0, least=0)
    max_seconds: float = number(30.0, above=0)
    check_audio: bool = True
    max_damaged: int = count(100)
    cache: bool = False
    workers: int = count(0)
    max_batch_seconds: float = number(240.0, above=0)
    bucket_steps: int = count(16, least=1)
    sorted_epochs: int = count(0)

    def __post_init__(self):
        super().__post_init__()
        for name, folder in self.index.items():
            if not isinstance(folder, str):
                raise UserError(f"index: {name} is {folder!r}; give a folder")
        for name, weight in self.weights.items():
            require_number(f"weights: {name}", weight, above=0)


@dataclass(frozen=True)
class OptimConfig(Checked):
    """How weights are updated.

    Arguments
    ---------
    optimizer : callable
        Takes parameter groups, such as ``!name:torch.optim.AdamW``.
    scheduler : callable
        Takes ``steps``, such as ``!name:`` of a ``WarmupCosine``, and
        returns a schedule like that.
    max_grad_norm : float
        L2 norm to which the gradient of all parameters is clipped.
    head_lr_scale : float
        Learning rate of all but the encoder, relative to the encoder's.
    freeze_encoder_steps : int
        First steps in which a pre-trained encoder does not move.
    max_skipped : int
        Steps in a row that may be skipped for a NaN or a spike.
    max_roll_backs : int
        How often, after more than these, the weights of the newest checkpoint
        before them are taken and training goes on with the data after them;
        then it stops.
    spike_ratio : float
        A step is skipped, too, whose gradient norm is over so many times the
        median of the last 100; 0 skips none.
    stretch_schedule : bool
        Whether a run may go on with another number of steps: from there on
        the learning rate is that of a schedule of the new length.
    compress_gradients : bool
        Whether processes send one another gradients as bfloat16, half the
        bytes of float32.
    """

    optimizer: Callable
    scheduler: Callable
    max_grad_norm: float = number(1.0, above=0)
    head_lr_scale: float = number(1.0, above=0)
    freeze_encoder_steps: int = count(0)
    max_skipped: int = count(20)
    max_roll_backs: int = count(3)
    spike_ratio: float = number(0.0, least=0)
    stretch_schedule: bool = False
    compress_gradients: bool = False


@dataclass(frozen=True)
class LogConfig(Checked):
    """When training logs, validates and saves.

    Arguments
    ---------
    log_interval, valid_interval, checkpoint_interval : int
        Optimiser steps between two of them.
    keep_checkpoints : int
        Newest checkpoints kept, besides the best; two, so that one remains
        when the newest is damaged.
    tensorboard : bool
        TensorBoard events instead of SpeechBrain's text file.
    stall_seconds : float
        A training without progress on any rank for so long is ended, with the
        rank at fault named, for the launcher to start it again; 0 never.
        Collective operations time out a minute later. Raise it where one
        micro-batch, the compilation of the first or a checkpoint takes longer.
    """

    log_interval: int = count(50, least=1)
    valid_interval: int = count(500, least=1)
    checkpoint_interval: int = count(500, least=1)
    keep_checkpoints: int = count(2, least=2)
    tensorboard: bool = False
    stall_seconds: float = number(180.0, least=0)


@dataclass(frozen=True)
class TokenizerConfig(Checked):
    """The tokens of the model, and of its intermediate layers.

    Arguments
    ---------
    kind : str
        char, unigram or bpe.
    size : int, optional
        Number of pieces, of the latter two.
    phones : str, optional
        An espeak-ng language, such as en-us, whose phones the intermediate
        layers learn; without it they learn the pieces.
    path : str, optional
        A tokenizer to use as it is, by its file or by the folder or bundle of
        a fine-tuning, instead of a new one of this kind. A run that starts
        from that fine-tuning (``init_from``) then takes its heads, too.
    """

    kind: str = one_of(KINDS, "char")
    size: int | None = None
    phones: str | None = None
    path: FilePath | None = None


@dataclass(frozen=True)
class LmConfig(Checked):
    """The language models; all predict the tokenizer's pieces.

    Arguments
    ---------
    order : int
        Of the n-gram, which is trained here.
    unit : str
        ``pieces``, or ``words``, on text of several words a line.
    texts : list of str
        Text files with a sentence a line, besides the training transcripts;
        a path is relative to the data folder.
    transcripts : bool
        Whether the training transcripts are text for it, too; not where a
        model made them.
    tune : bool
        Whether the weights and the token bonus, and how much ``nar`` and
        ``nar_beam5_lm`` trust CTC, are tuned on the dev split.
    neural : str, optional
        Folder of a neural language model, as ``recipes/LM`` writes it.
    """

    order: int = count(6, least=1, most=MAX_ORDER)
    unit: str = one_of(("pieces", "words"), "pieces")
    texts: list[FilePath] = field(default_factory=list)
    transcripts: bool = True
    tune: bool = True
    neural: FilePath | None = None


@dataclass(frozen=True)
class RunConfig(Checked):
    """One run of a recipe.

    Arguments
    ---------
    task : str
        ``pretrain``, ``finetune``, ``evaluate``, or ``label``, which
        recognises the split ``data.train``.
    data_folder, output_folder : str
        Where the data set lies and where everything is written.
    seed : int
        Of weights, shuffling, masks and augmentation.
    init_from : str, optional
        Output folder of a run, or of ``nar-asr import-encoder``, whose
        encoder is taken over; see ``with_imported_sizes``.
    reinit_layers : int
        The last encoder layers that stay random; see ``load_pretrained``.
    freeze : str
        The frozen part: none, filters (which read the waveform) or frontend
        (all in front of the layers).
    freeze_layers : int
        The lowest encoder layers that are frozen, with all in front of them;
        the backward pass ends above them.
    bundle : str, optional
        For ``evaluate`` and ``label``, the model's folder.
    steps, global_batch : int
        Optimiser steps, and utterances of a step over all processes.
    peak_lr : float
        For the scheduler, which refers to it.
    precision : str
        ``fp32``, ``bf16``, or ``auto``: bf16 where the processor has
        instructions for it. ``--precision`` goes before it.
    data, tokenizer, model, optim, logging, lm, decoding : mapping
        Sections; see their classes (``ModelConfig``, ``DecodingOptions``).
        For a bundle, lm and decoding go before its own.
    modes : list of str, optional
        Decoding modes to evaluate, all where not given; of ``label``, one.
    save_posteriors : bool
        Whether the CTC posteriors of each test split are written to a file.
    hot_words, hot_boost : str, optional, and float
        List of phrases that a bundle prefers, by so many nats a token.
    objective : callable or Objective
        The loss to learn by, and its model.
    wave_augment : WaveAugment, optional
        On the waveform.
    train_share : float
        Share of the utterances of ``data.train`` that are used, chosen by the
        hash of their ids, so that a smaller share is part of a larger one.
    debug_utterances : int, optional
        Use only so many of each split, for a quick check of a recipe.
    """

    task: str = one_of(_TASKS)
    data_folder: FilePath
    output_folder: FilePath
    seed: int = count(1)
    init_from: FilePath | None = None
    reinit_layers: int = count(0)
    freeze: str = one_of(_FREEZE, "none")
    freeze_layers: int = count(0)
    bundle: FilePath | None = None
    steps: int = count(1000, least=1)
    global_batch: int = count(16, least=1)
    peak_lr: float = number(5e-4, above=0)
    precision: str = one_of(PRECISIONS, "fp32")
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig | None = None
    logging: LogConfig = field(default_factory=LogConfig)
    lm: LmConfig | None = None
    decoding: dict = field(default_factory=dict)
    modes: list[str] | None = None
    save_posteriors: bool = False
    hot_words: FilePath | None = None
    hot_boost: float = number(DEFAULT_BOOST, least=0, most=MAX_BOOST)
    objective: Any = None
    wave_augment: Any = None
    train_share: float = number(1.0, above=0, most=1)
    debug_utterances: int | None = count(None, least=1)


@dataclass(frozen=True)
class EvaluationConfig(RunConfig):
    """A run with a bundle, whose section lm names files."""

    lm: LmFiles | None = None


LM_TASK = "lm"


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
