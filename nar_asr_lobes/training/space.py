"""The space that a run will need on its disk, estimated before it starts."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from nar_asr_lobes.storage import describe_size, free_space
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.data import read_split
from nar_asr_lobes.training.lm.config import LmRunConfig

logger = logging.getLogger(__name__)
_MOMENTS = 2  # numbers that Adam keeps for each weight


def warn_of_space(config: RunConfig | LmRunConfig, model: nn.Module) -> None:
    """Warn, on the main process, when a run will need more than is free.

    Arguments
    ---------
    config : RunConfig or LmRunConfig
        A run whose data are prepared.
    model : torch.nn.Module
        Its model.
    """
    output = Path(config.output_folder)
    there = sum(f.stat().st_size for f in (output / "checkpoints").rglob("*"))
    need = space_needed(config, model) - there
    free = free_space(output)
    if free is not None and need > free:
        logger.warning(
            "%s: this run will need about %s more, but %s are free on that "
            "disk; free some, or lower log.keep_checkpoints",
            output,
            describe_size(need),
            describe_size(free),
        )


def space_needed(config: RunConfig | LmRunConfig, model: nn.Module) -> int:
    """Estimate the bytes of checkpoints, bundle and posteriors.

    Arguments
    ---------
    config, model :
        As for ``warn_of_space``.

    Returns
    -------
    int
        n-grams are not in it; their size shows only in the making.
    """
    state, weights = model.state_dict().values(), model.parameters()
    model_bytes = sum(tensor.nbytes for tensor in state)
    trained = sum(w.nbytes for w in weights if w.requires_grad)
    # besides the newest: the best, and the one being written
    kept = config.logging.keep_checkpoints + 2
    need = kept * (model_bytes + _MOMENTS * trained)
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
