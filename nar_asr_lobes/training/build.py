"""From a run's configuration to its brain, and to its best weights.

RunConfig + tokenizer -> objective -> model (-> pre-trained encoder) -> NarBrain
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import torch
from speechbrain.utils.run_opts import RunOptions
from torch import nn

from nar_asr_lobes.dataio.synthesis.phones import Lexicon
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.objectives.base import Objective
from nar_asr_lobes.schema import require_count, require_number
from nar_asr_lobes.storage import describe_size, free_space
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.checkpoint import MAY_CHANGE, CheckpointFolder
from nar_asr_lobes.training.config import LmRunConfig, OptimConfig, RunConfig
from nar_asr_lobes.training.data.prepare import (
    read_split,
    run_lexicon,
    train_texts,
)
from nar_asr_lobes.training.device import has_fast_bf16
from nar_asr_lobes.training.init_from import (
    freeze_parts,
    load_pretrained,
    reinit_parts,
    without_idle_keys,
)
from nar_asr_lobes.training.metadata import code_version, speech_metadata
from nar_asr_lobes.training.progress import make_logger

logger = logging.getLogger(__name__)
_MOMENTS = 2  # numbers that Adam keeps for each weight


def make_brain(
    config: RunConfig, tokenizer: Tokenizer | None, run_opts: RunOptions
) -> NarBrain:
    """Put the parts of a run together."""
    for name in ("optim", "objective"):
        if getattr(config, name) is None:
            raise UserError(
                f"{config.task}: section {name!r} is missing in the YAML; "
                "include a fragment of hparams/"
            )
    config = without_idle_keys(config)
    sizes = config.model
    torch.manual_seed(config.seed)
    lexicon = None if tokenizer is None else run_lexicon(config)
    objective = _make_objective(config, tokenizer, lexicon)
    try_parts(config)
    model = objective.build_model(sizes)
    freeze_parts(model, objective, config)
    metadata = speech_metadata(config, sizes.to_dict(), objective)
    if tokenizer is not None:
        metadata["tokenizer"] = tokenizer.fingerprint
    if lexicon is not None:
        metadata["phones"] = " ".join(lexicon.phones)
    reinit: tuple[str, ...] = ()
    if config.init_from is not None:
        reinit = reinit_parts(config.reinit_layers, sizes.encoder_layers)
    brain = wrap_brain(config, model, objective, metadata, run_opts, reinit)
    if config.init_from is not None and brain.checkpoints.newest() is None:
        load_pretrained(model, config.init_from, metadata, reinit)
    return brain


def wrap_brain(
    config: RunConfig | LmRunConfig,
    model: nn.Module,
    objective: Objective,
    metadata: dict,
    run_opts: RunOptions,
    reinit: tuple[str, ...] = (),
) -> NarBrain:
    """Give a model the trainer that the run's configuration describes."""
    output, log = Path(config.output_folder), config.logging
    brain = NarBrain(
        model,
        objective,
        config.optim,
        config.steps,
        CheckpointFolder(output / "checkpoints", log.keep_checkpoints),
        log,
        config.seed,
        reinit,
        make_logger(log, output),
        metadata,
        run_opts,
        _resolve_precision(config.precision),
        config.data.max_damaged if isinstance(config, RunConfig) else 0,
    )
    augment = getattr(config, "wave_augment", None)
    brain.metadata[MAY_CHANGE] = {  # one may have to change them to resume
        "code": code_version(),
        "precision": brain.precision,
        "max_grad_norm": config.optim.max_grad_norm,
        "freeze_encoder_steps": config.optim.freeze_encoder_steps,
        "wave_augment": re.sub(" at 0x[0-9a-f]+", "", repr(augment)),
    }
    return brain


def _make_objective(
    config: RunConfig, tokenizer: Tokenizer | None, lexicon: Lexicon | None
) -> Objective:
    """Give a fine-tuning's objective its tokenizer and its phones."""
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
        return config.objective(
            tokenizer=tokenizer,
            lexicon=lexicon,
            texts=train_texts(config, checked=True),
        )
    except UserError as error:
        raise UserError(f"objective: {error}") from error
    except TypeError as error:
        raise UserError(f"objective: {error}; correct its keys") from error


def try_parts(config: RunConfig | LmRunConfig) -> None:
    """Try the parts that the YAML names, before anything big is built."""
    optim, augment = config.optim, getattr(config, "wave_augment", None)
    wav = np.ones(1600, dtype=np.float32)
    trials = {
        "optim: optimizer": lambda: _small_optimizer(optim).param_groups,
        "optim: scheduler": lambda: _try_scheduler(optim, config.steps),
        "wave_augment": lambda: augment is None or augment(wav, 0),
    }
    for name, trial in trials.items():
        try:
            trial()
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        except (
            ArithmeticError,
            AttributeError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            raise UserError(
                f"{name}: {error}; correct it as in the recipe's YAML"
            ) from error


def _small_optimizer(optim: OptimConfig) -> torch.optim.Optimizer:
    """Make one of two groups, for training has several."""
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    return optim.optimizer([{"params": [weight]} for weight in weights])


def _try_scheduler(optim: OptimConfig, steps: int) -> None:
    """Use all that training uses of a scheduler."""
    scheduler = optim.scheduler(steps=steps)
    scheduler.step(_small_optimizer(optim))
    scheduler.load_state_dict(scheduler.state_dict())
    require_count("steps", scheduler.steps)
    require_number("warmup", scheduler.warmup, 0)


def _resolve_precision(precision: str) -> str:
    """Turn ``auto`` into the precision that is fastest on this machine."""
    if precision != "auto":
        return precision
    name = "cuda" if torch.cuda.is_available() else "cpu"
    return "bf16" if has_fast_bf16(torch.device(name)) else "fp32"


def check_space(config: RunConfig | LmRunConfig, model: nn.Module) -> None:
    """Warn, on the main process, when a run will need more than is free.

    Refuse one (``UserError``) where not even the next checkpoint fits.
    """
    output = Path(config.output_folder)
    folder, free = output / "checkpoints", free_space(output)
    if free is None or (folder / f"step_{config.steps:08d}").exists():
        return
    sizes = {f: f.stat().st_size for f in folder.rglob("*")}
    # A save that was killed; the next one removes it.
    left = sum(sizes[f] for f in sizes if f.parent.name.startswith("."))
    told = f"{describe_size(free + left)} are free on that disk"
    one = _checkpoint_bytes(model)
    if one > free + left:
        raise UserError(
            f"{output}: a checkpoint takes about {describe_size(one)}, but "
            f"{told}; free some, or give an output_folder on another"
        )
    need = _space_needed(config, model) - sum(sizes.values())
    if need > free:
        logger.warning(
            "%s: this run will need about %s more, but %s; free some, or lower "
            "logging.keep_checkpoints",
            output,
            describe_size(need),
            told,
        )


def _checkpoint_bytes(model: nn.Module) -> int:
    """Estimate the bytes of a checkpoint."""
    state, weights = model.state_dict().values(), model.parameters()
    trained = sum(w.nbytes for w in weights if w.requires_grad)
    return sum(tensor.nbytes for tensor in state) + _MOMENTS * trained


def _space_needed(config: RunConfig | LmRunConfig, model: nn.Module) -> int:
    """Estimate the bytes of checkpoints, bundle and posteriors."""
    model_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    # besides the newest: the best, and the one being written
    kept = config.logging.keep_checkpoints + 2
    need = kept * _checkpoint_bytes(model)
    if config.task == "pretrain":
        return need
    need += 2 * model_bytes  # a bundle, and the one that takes its place
    splits = []
    if config.task == "finetune":
        tuned = config.lm is not None and config.lm.tune
        splits = [config.data.dev] * tuned
        splits += config.data.test * config.save_posteriors
    for split in splits:
        seconds = sum(u.duration for u in read_split(config, split, True))
        frames = seconds / model.frame_seconds
        need += round(4 * frames * model.vocab_size)
    return need
