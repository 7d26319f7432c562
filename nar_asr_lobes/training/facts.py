"""What a resumed run must have in common with its beginning."""

from __future__ import annotations

from pathlib import Path

from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.objectives.base import Objective
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.fingerprint import read_digests
from nar_asr_lobes.training.lm.config import LmRunConfig


def run_facts(config: RunConfig | LmRunConfig, sizes: dict) -> dict:
    """Note what any run has.

    Arguments
    ---------
    config : RunConfig or LmRunConfig
        The run.
    sizes : dict
        Of its model.

    Returns
    -------
    dict
        For ``Checkpoint.require``; the caller adds what its task has.
    """
    facts = {"task": config.task, "model": sizes}
    facts["data"] = read_digests(config.output_folder)
    for key in ("seed", "global_batch"):  # they decide on the data's order
        facts[key] = getattr(config, key)
    return facts


def speech_facts(config: RunConfig, sizes: dict, objective: Objective) -> dict:
    """Note what a pre-training or a fine-tuning has besides.

    Arguments
    ---------
    config : RunConfig
        The run.
    sizes : dict
        Of its model.
    objective : Objective
        What it learns.

    Returns
    -------
    dict
        As ``run_facts``.
    """
    facts = run_facts(config, sizes)
    for key in ("bucket_steps", "sorted_epochs"):
        facts[key] = getattr(config.data, key)
    facts["freeze"] = config.freeze
    if config.task == "pretrain":
        facts["targets"] = objective.targets
    facts["objective"] = plain_values(objective)
    facts["init_from"] = None
    if config.init_from is not None:
        facts["init_from"] = str(Path(config.init_from).resolve())
        facts["reinit_layers"] = config.reinit_layers
    return facts


def plain_values(part: object) -> dict:
    """Give those of an object's attributes that JSON can hold.

    Arguments
    ---------
    part : object
        Such as an objective; of its SpecAugment, the same.

    Returns
    -------
    dict
        As JSON gives it back.

    Example
    -------
    >>> plain_values(SpecAugment(time_masks=1))["time_masks"]
    1
    """
    found = {}
    for name, value in vars(part).items():
        if isinstance(value, SpecAugment):
            found[name] = plain_values(value)
        elif value is None or isinstance(value, int | float | str | dict):
            found[name] = value
    return found
