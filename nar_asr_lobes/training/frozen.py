"""What rests in a run, and what cannot."""

from __future__ import annotations

import logging
from dataclasses import replace

from torch import nn

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.objectives.base import Objective
from nar_asr_lobes.training.config import RunConfig

logger = logging.getLogger(__name__)


def without_idle_keys(config: RunConfig) -> RunConfig:
    """Set aside, and log, what is for a pre-trained encoder where none is."""
    steps = config.optim.freeze_encoder_steps
    if config.init_from is not None or not (steps or config.reinit_layers):
        return config
    logger.info(
        "freeze_encoder_steps (%d) and reinit_layers (%d) are for an "
        "init_from: not used",
        steps,
        config.reinit_layers,
    )
    optim = replace(config.optim, freeze_encoder_steps=0)
    return replace(config, optim=optim, reinit_layers=0)


def freeze_parts(
    model: nn.Module, objective: Objective, config: RunConfig
) -> None:
    """Freeze what the run says.

    Arguments
    ---------
    model : torch.nn.Module
        With an ``encoder``.
    objective : Objective
        What it learns.
    config : RunConfig
        Its ``freeze``.

    Raises
    ------
    UserError
        For random weights that would stay so and are no features (random
        convolutions of Gabor features do for targets of a pre-training), and
        for a penalty on what is frozen.
    """
    if config.freeze == "none":
        return
    frontend = model.encoder.frontend
    recognises = config.freeze == "frontend" and config.task == "finetune"
    noise = recognises or not frontend.stem.useful_at_init
    if noise and config.init_from is None:
        raise UserError(
            f"freeze: {config.freeze} would leave convolutions at random; set "
            "it to none, or name an init_from"
        )
    frontend.freeze(config.freeze)
    learns = any(p.requires_grad for p in frontend.stem.parameters())
    if objective.weights.get("penalty") and not learns:
        raise UserError(
            f"objective: penalty_weight does nothing with freeze: "
            f"{config.freeze}; set it to 0"
        )
