"""Learning rates: by step (warm-up, then a cosine), and by parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from nar_asr_lobes.distributed import world
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import require_count, require_number

# Of an optimiser: set at every step, or ways to the same weights.
_NOT_COMPARED = {"params", "lr", "fused", "foreach", "capturable"}


def is_pretrained(name: str, reinit_parts: Sequence[str] = ()) -> bool:
    """Tell whether a parameter is the encoder's and not re-initialised."""
    return name.startswith("encoder.") and not name.startswith(
        tuple(reinit_parts)
    )


class EncoderFreeze:
    """Keeps a pre-trained encoder as it is in the first steps.

    Arguments
    ---------
    model : nn.Module
        Whose parameters ``is_pretrained`` names; those that do not learn
        anyway are left alone.
    steps : int
        Number of these steps.
    reinit_parts : sequence of str
        Parts of the encoder that learn from the start.

    Example
    -------
    >>> model = nn.ModuleDict({"encoder": nn.Linear(1, 1)})
    >>> freeze = EncoderFreeze(model, steps=1)
    >>> freeze.before_backward(0)
    >>> model["encoder"].weight.requires_grad
    False
    >>> freeze.before_backward(1)
    >>> model["encoder"].weight.requires_grad
    True
    """

    def __init__(
        self, model: nn.Module, steps: int, reinit_parts: Sequence[str] = ()
    ):
        self.steps = steps
        self.parameters = [
            parameter
            for name, parameter in model.named_parameters()
            if is_pretrained(name, reinit_parts) and parameter.requires_grad
        ]

    def before_backward(self, step: int) -> None:
        """Spare the backward pass where one process trains."""
        # DDP waits for the gradients of all parameters.
        if world()[1] == 1 and step <= self.steps:
            for parameter in self.parameters:
                parameter.requires_grad_(step == self.steps)

    def after_backward(self, step: int) -> None:
        """Drop the gradients where there are any."""
        if step < self.steps:
            for parameter in self.parameters:
                parameter.grad = None


def parameter_groups(
    model: nn.Module, head_lr_scale: float, reinit_parts: Sequence[str] = ()
) -> list[dict]:
    """Group the parameters: vectors without decay, heads at their rate.

    ``encoder`` learns at the schedule's rate; all else, and ``reinit_parts``
    of the encoder (see ``is_pretrained``), at ``head_lr_scale`` times it.
    ``hidden`` marks the matrices of the layers, for ``MuonAdamW``.
    """
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        is_matrix = parameter.squeeze().ndim > 1
        hidden = parameter.ndim == 2 and "layers." in name
        key = (is_pretrained(name, reinit_parts), is_matrix, hidden)
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr_scale": 1.0 if pretrained else head_lr_scale,
            "hidden": hidden,
            **({} if is_matrix else {"weight_decay": 0.0}),
        }
        for (pretrained, is_matrix, hidden), parameters in groups.items()
    ]


def load_optimizer(
    optimizer: torch.optim.Optimizer, state: dict, where: str
) -> None:
    """Take up a saved state; refuse that of other options.

    Loading alone would silently put the old options in place of the new ones.
    """
    current = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, saved in zip(current, optimizer.param_groups, strict=True):
        for key in sorted((group.keys() | saved.keys()) - _NOT_COMPARED):
            old, new = saved.get(key), group.get(key)  # None: another class
            if old != new:
                raise UserError(
                    f"{where}: was made with {key} {old}, now it is {new}; "
                    "give the old one or a new output_folder"
                )


class WarmupCosine:
    """Learning rate by step: linear warm-up, cosine decay to a floor.

    A class of another schedule that a YAML names takes ``steps`` too and has
    ``steps``, ``warmup``, ``step``, ``state_dict`` and ``load_state_dict``.

    Arguments
    ---------
    peak_lr : float
        Learning rate at the end of the warm-up.
    steps : int
        Optimiser steps of the whole run.
    warmup_ratio : float
        Share of the steps that warm up, in [0, 1).
    final_lr : float
        Floor, reached at the last step.

    Example
    -------
    >>> schedule = WarmupCosine(5e-4, steps=1000)
    >>> [f"{schedule.lr_at(s):.2e}" for s in (0, 100, 550, 1000)]
    ['0.00e+00', '5.00e-04', '2.51e-04', '1.00e-06']
    """

    def __init__(
        self,
        peak_lr: float,
        steps: int,
        warmup_ratio: float = 0.1,
        final_lr: float = 1e-6,
    ):
        require_number("peak_lr", peak_lr, above=0)
        require_number("warmup_ratio", warmup_ratio, 0, below=1)
        require_number("final_lr", final_lr, 0)
        require_count("steps", steps)
        self.peak_lr, self.final_lr = peak_lr, final_lr
        self.steps, self.warmup_ratio = steps, warmup_ratio
        self.step_count = 0

    @property
    def warmup(self) -> float:
        """Steps that warm up."""
        return self.warmup_ratio * self.steps

    def lr_at(self, step: int) -> float:
        """Give the learning rate after ``step`` steps."""
        warmup = self.warmup
        if step < warmup:
            return self.peak_lr * step / warmup
        done = min(1.0, (step - warmup) / max(1.0, self.steps - warmup))
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return self.final_lr + (self.peak_lr - self.final_lr) * cosine

    def step(self, optimizer: torch.optim.Optimizer) -> float:
        """Set the next step's learning rate; return it.

        A group's ``lr_scale`` multiplies it. The first step already has the
        rate of step 1, since one at a rate of 0 would be lost.
        """
        self.step_count += 1
        lr = self.lr_at(self.step_count)
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
        return lr

    def state_dict(self) -> dict:
        """Give the position and the numbers it depends on."""
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        """Take up a saved position; refuse another schedule's."""
        current = {k: v for k, v in vars(self).items() if k != "step_count"}
        for key, value in current.items():
            old = state.get(key)  # None: of another class
            if old != value:
                raise UserError(
                    f"checkpoint was made with {key} {old}, now it is "
                    f"{value}; give the old value or a new output_folder"
                )
        self.step_count = state["step_count"]
