"""The interface of training objectives, and the inputs they make of a batch.

An objective turns a batch into sums of losses and their counts. The trainer
adds the counts of all micro-batches on all ranks before the first backward
pass, so that every loss is divided by its global count. A name in ``weights``
is trained on; every other one is a statistic, reported as sum / count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.masking import MaskFn, SpecAugment
from nar_asr_lobes.lobes.model import ModelConfig


@dataclass(frozen=True)
class ModelInputs:
    """A batch with its random draws made and its targets counted.

    Arguments
    ---------
    batch : Batch
        Waveforms, and the tokens of a labelled batch.
    mask : torch.Tensor
        True where masked: frames [B, T] or tokens [B, U].
    counts : dict
        Denominator of every loss and statistic, by name.
    mask_fn : callable, optional
        SpecAugment's masks on the features; used in training only.
    """

    batch: Batch
    mask: torch.Tensor
    counts: dict[str, float]
    mask_fn: MaskFn | None = None


class Objective(Protocol):
    """Interface of an objective, as the trainer uses it.

    ``weights`` are the weights of the losses. ``score`` names the statistic
    that ranks checkpoints (lower is better). ``remedies`` says, for each
    statistic that shows a collapse, how to avoid it. A pre-training objective
    also has ``targets``, a description of the predicted targets: a run with
    equal ``targets`` can take over the heads of another.
    """

    weights: Mapping[str, float]
    score: str
    remedies: Mapping[str, str]

    def build_model(self, config: ModelConfig) -> nn.Module:
        """Build the model that this objective trains."""

    def init_from_batch(
        self, model: nn.Module, inputs: Sequence[ModelInputs]
    ) -> None:
        """Initialise from the first step's batches, just before that step.

        Called on all ranks, each with its own micro-batches.
        """

    def make_inputs(
        self, batch: Batch, model: nn.Module, progress: float = 0.0
    ) -> ModelInputs:
        """Make the random draws of a batch, which is still on the CPU.

        ``progress`` is the fraction of the run's steps already made.
        """

    def losses(
        self, model: Callable, inputs: ModelInputs, training: bool
    ) -> dict[str, torch.Tensor]:
        """Run the model; return sums by the names in ``inputs.counts``."""


def check_spec_augment(value: object) -> None:
    """Refuse anything but a SpecAugment or None with a ``UserError``."""
    if not isinstance(value, SpecAugment | None):
        raise UserError(
            f"spec_augment is {value!r}; name a SpecAugment as in the "
            "recipe's YAML, or null"
        )


def draw_spec_augment(
    spec_augment: SpecAugment | None, batch: Batch, model: nn.Module
) -> MaskFn | None:
    """Draw SpecAugment's masks for a batch on the CPU."""
    if spec_augment is None:
        return None
    stem = model.encoder.frontend.stem
    lengths = stem.feature_lengths(batch.samples).tolist()
    return spec_augment.draw(batch.seeds, lengths, stem.feature_channels)
