"""From a run's configuration to what trains, and to its best weights.

RunConfig + tokenizer -> objective -> model (-> pre-trained encoder) -> NarBrain
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from speechbrain.utils.run_opts import RunOptions
from speechbrain.utils.train_logger import (
    FileTrainLogger,
    TensorboardLogger,
    TrainLogger,
)
from torch import nn

from nar_asr_lobes.dataio.datasets import WaveTransform
from nar_asr_lobes.dataio.synthesis.phones import Lexicon
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.model import ModelConfig
from nar_asr_lobes.objectives.base import Objective
from nar_asr_lobes.storage import cannot_write
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.checkpoint import NOTED, CheckpointFolder
from nar_asr_lobes.training.config import LogConfig, RunConfig
from nar_asr_lobes.training.data import run_lexicon
from nar_asr_lobes.training.facts import speech_facts
from nar_asr_lobes.training.frozen import freeze_parts, without_idle_keys
from nar_asr_lobes.training.init_from import load_pretrained, reinit_parts
from nar_asr_lobes.training.lm.config import LmRunConfig
from nar_asr_lobes.training.options import TrainOptions
from nar_asr_lobes.training.scheduler import WarmupCosine

logger = logging.getLogger(__name__)


def make_brain(
    config: RunConfig, tokenizer: Tokenizer | None, run_opts: RunOptions
) -> NarBrain:
    """Put the parts of a run together.

    Arguments
    ---------
    config : RunConfig
        The run.
    tokenizer : Tokenizer, optional
        For a fine-tuning.
    run_opts : RunOptions
        SpeechBrain's options.

    Returns
    -------
    NarBrain
        Ready to fit.

    Raises
    ------
    UserError
        When a section is missing or cannot be used, or the pre-trained
        encoder does not fit.
    """
    for name in ("optim", "objective"):
        if getattr(config, name) is None:
            raise UserError(
                f"{config.task}: section {name!r} is missing in the YAML; "
                "include a fragment of hparams/"
            )
    config = without_idle_keys(config)
    sizes = ModelConfig.from_dict(config.model)
    torch.manual_seed(config.seed)
    lexicon = None if tokenizer is None else run_lexicon(config)
    objective = make_objective(config, tokenizer, lexicon)
    check_optimizer(config.optim.optimizer)
    check_augment(config.wave_augment)
    model = objective.build_model(sizes)
    freeze_parts(model, objective, config)
    facts = speech_facts(config, sizes.to_dict(), objective)
    if tokenizer is not None:
        facts["tokenizer"] = tokenizer.fingerprint
    if lexicon is not None:
        facts["phones"] = " ".join(lexicon.phones)
    reinit: tuple[str, ...] = ()
    if config.init_from is not None:
        reinit = reinit_parts(config.reinit_layers, sizes.encoder_layers)
    brain = wrap_brain(config, model, objective, facts, run_opts, reinit)
    if config.init_from is not None and brain.checkpoints.newest() is None:
        load_pretrained(model, config.init_from, facts, reinit)
    return brain


def wrap_brain(
    config: RunConfig | LmRunConfig,
    model: nn.Module,
    objective: Objective,
    facts: dict,
    run_opts: RunOptions,
    reinit: tuple[str, ...] = (),
) -> NarBrain:
    """Give a model the trainer that the run's configuration describes.

    Arguments
    ---------
    config : RunConfig or LmRunConfig
        For the optimiser, the schedule, the log and the output folder.
    model : torch.nn.Module
        What is trained.
    objective : Objective
        On what.
    facts : dict
        Compared on resume.
    run_opts : RunOptions
        SpeechBrain's options.
    reinit : tuple of str
        Parts of a pre-trained encoder that begin anew; see ``reinit_parts``.

    Returns
    -------
    NarBrain
        Ready to fit.
    """
    optim, log = config.optim, config.logging
    output = Path(config.output_folder)
    brain = NarBrain(
        model,
        objective,
        optim.optimizer,
        WarmupCosine(
            config.peak_lr, config.steps, optim.warmup_ratio, optim.final_lr
        ),
        TrainOptions(
            max_grad_norm=optim.max_grad_norm,
            log_interval=log.log_interval,
            valid_interval=log.valid_interval,
            checkpoint_interval=log.checkpoint_interval,
            head_lr_scale=optim.head_lr_scale,
            reinit_parts=reinit,
            freeze_encoder_steps=optim.freeze_encoder_steps,
            max_skipped=optim.max_skipped,
            seed=config.seed,
        ),
        CheckpointFolder(output / "checkpoints", log.keep_checkpoints),
        make_logger(log, output),
        facts,
        run_opts,
        resolve_precision(config.precision),
    )
    augment = getattr(config, "wave_augment", None)
    brain.facts[NOTED] = {  # one may have to change them to go on
        "precision": brain.precision,
        "max_grad_norm": optim.max_grad_norm,
        "freeze_encoder_steps": optim.freeze_encoder_steps,
        "wave_augment": re.sub(" at 0x[0-9a-f]+", "", repr(augment)),
    }
    return brain


def make_objective(
    config: RunConfig, tokenizer: Tokenizer | None, lexicon: Lexicon | None
) -> Objective:
    """Give a fine-tuning's objective its tokenizer and its phones.

    Raises
    ------
    UserError
        When the YAML's objective is that of another task or cannot be made.
    """
    labelled = tokenizer is not None
    fits = callable if labelled else lambda x: hasattr(x, "build_model")
    if not fits(config.objective):
        wanted = "!name:…RecognitionObjective" if labelled else "!new:…"
        raise UserError(
            f"objective: {config.task} needs {wanted}; see the recipe's YAML "
            "for this task"
        )
    if not labelled:
        return config.objective
    try:
        return config.objective(tokenizer=tokenizer, lexicon=lexicon)
    except TypeError as error:
        raise UserError(f"objective: {error}; correct its keys") from error


def check_optimizer(optimizer: Callable) -> None:
    """Try the YAML's optimiser on one number, before anything big is built."""
    try:
        optimizer([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"optim: optimizer: {error}; correct it") from error


def resolve_precision(precision: str) -> str:
    """Turn ``auto`` into what this machine does fastest.

    Example
    -------
    >>> resolve_precision("auto") in ("fp32", "bf16")
    True
    """
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = (
        torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
    )
    return "bf16" if native else "fp32"


def check_augment(augment: WaveTransform | None) -> None:
    """Try the YAML's waveform augmentation on a tenth of a second."""
    if augment is None:
        return
    try:
        augment(np.ones(1600, dtype=np.float32), 0)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"wave_augment: {error}; name a WaveAugment as in the recipe's "
            "YAML and correct its numbers"
        ) from error


class StepTensorboard(TensorboardLogger):
    """TensorBoard with the optimiser's step as x-axis.

    SpeechBrain's logger counts its calls, from 1 again after a resume.

    Arguments
    ---------
    save_dir : str or path
        Where the events go.
    """

    def log_stats(
        self,
        stats_meta: dict[str, float],
        train_stats: dict[str, float] | None = None,
        valid_stats: dict[str, float] | None = None,
        test_stats: dict[str, float] | None = None,
        verbose: bool = False,
    ) -> None:
        """Write numbers, ``stats_meta["step"]`` among them."""
        if self.writer is None:  # not the main process
            return
        found = {"train": train_stats, "valid": valid_stats, "test": test_stats}
        for split, stats in found.items():
            for name, value in (stats or {}).items():
                self.writer.add_scalar(
                    f"{name}/{split}", value, stats_meta["step"]
                )


class LenientLogger(TrainLogger):
    """A train logger that loses a line rather than the training.

    Arguments
    ---------
    inner : speechbrain TrainLogger
        What writes.
    place : str or path
        Where, for the warning.
    """

    def __init__(self, inner: TrainLogger, place: str | os.PathLike):
        self.inner, self.place = inner, place

    def log_stats(self, stats_meta: dict[str, float], *stats, **more) -> None:
        """Write numbers; warn where the disk does not take them."""
        try:
            self.inner.log_stats(stats_meta, *stats, **more)
        except OSError as error:
            what = f"the losses of step {stats_meta['step']} "
            logger.warning("%s", cannot_write(self.place, error, what))


def make_logger(log: LogConfig, output: Path) -> TrainLogger:
    """Choose where losses are written.

    Raises
    ------
    UserError
        When TensorBoard is asked for and not installed.
    """
    if not log.tensorboard:
        path = str(output / "train_log.txt")
        return LenientLogger(FileTrainLogger(path, precision=3), path)
    try:
        path = output / "tensorboard"
        return LenientLogger(StepTensorboard(path), path)
    except ImportError as error:
        raise UserError(
            "logging: tensorboard is not installed; run "
            "`pip install tensorboard` or set logging.tensorboard to False"
        ) from error


def load_best(brain: NarBrain) -> nn.Module:
    """Load the checkpoint with the lowest score on the dev split."""
    best = brain.checkpoints.best() or brain.checkpoints.newest()
    brain.model.load_state_dict(best.load("model", brain.device))
    brain.model.eval()
    score = best.facts.get("score")
    if score is None:
        logger.info("newest checkpoint: %s", best.path)
    else:
        name = brain.objective.score
        logger.info("best checkpoint: %s (%s %.3f)", best.path, name, score)
    return brain.model
