"""How to train, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from nar_asr_lobes.errors import UserError


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Arguments
    ---------
    max_grad_norm : float
        L2 norm to which the gradient of all parameters is clipped.
    log_interval, valid_interval, checkpoint_interval : int
        Optimiser steps between log lines, validations and checkpoints.
    head_lr_scale : float
        Learning rate of what is not in the encoder, relative to the encoder.
    reinit_parts : tuple of str
        Parts of the encoder that learn as if they were not in it.
    freeze_encoder_steps : int
        First steps in which a pre-trained encoder does not move.
    max_skipped : int
        Steps in a row that may be skipped for a NaN before training stops.
    seed : int
        Rank r draws its dropout from seed + r.

    Example
    -------
    >>> TrainOptions(max_grad_norm=-1.0)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: max_grad_norm is -1.0; it is an L2 norm \
above 0
    """

    max_grad_norm: float = 1.0
    log_interval: int = 50
    valid_interval: int = 500
    checkpoint_interval: int = 500
    head_lr_scale: float = 1.0
    reinit_parts: tuple[str, ...] = ()
    freeze_encoder_steps: int = 0
    max_skipped: int = 20
    seed: int = 0

    def __post_init__(self):
        if not self.max_grad_norm > 0:
            raise UserError(
                f"max_grad_norm is {self.max_grad_norm}; it is an L2 norm "
                "above 0"
            )
        for name in ("log_interval", "valid_interval", "checkpoint_interval"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"{name} is {getattr(self, name)}; give the optimiser "
                    "steps between two of them, at least 1"
                )
