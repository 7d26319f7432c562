"""The interface of training objectives, and their base on masked frames.

An objective turns a batch into sums of losses and their counts. The trainer
adds the counts of all micro-batches on all ranks before the first backward
pass, so that every loss is divided by its global count. A name in ``weights``
is trained on; every other one is a statistic, reported as sum / count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import nn

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.lobes.masking import MaskFn, SpecAugment, draw_span_mask
from nar_asr_lobes.lobes.model import ModelConfig, SpeechEncoder
from nar_asr_lobes.schema import require_count, require_number


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
    spec_augment: SpecAugment | None,
    batch: Batch,
    model: nn.Module,
    progress: float,
) -> MaskFn | None:
    """Draw SpecAugment's masks for a batch on the CPU."""
    if spec_augment is None:
        return None
    stem = model.encoder.frontend.stem
    lengths = stem.feature_lengths(batch.samples).tolist()
    channels = stem.feature_channels
    return spec_augment.draw(batch.seeds, lengths, channels, progress)


@dataclass(frozen=True, kw_only=True)
class MaskedInputs(ModelInputs):
    """Masked frames; ``positions`` are the frames to predict."""

    positions: torch.Tensor

    def model_args(self, training: bool) -> tuple:
        """Return the arguments of the model's forward."""
        batch, mask_fn = self.batch, self.mask_fn if training else None
        return batch.wavs, batch.wav_lens, self.mask, self.positions, mask_fn


class MaskedModel(nn.Module):
    """Base class of the models that predict masked frames."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.encoder = SpeechEncoder(config)

    def output_lengths(self, samples: torch.Tensor) -> torch.Tensor:
        """Count the frames of utterances of ``samples`` samples."""
        return self.encoder.frontend.output_lengths(samples)


class MaskedFrames:
    """Base class of the objectives that predict masked frames.

    Arguments
    ---------
    mask_prob : float
        Sum of the span lengths divided by the utterance's length. Spans
        overlap, so that about 1 - exp(-mask_prob) of the frames are masked.
    mask_span : int
        Frames of a span.
    spec_augment : SpecAugment, optional
        Further masks on the stem's features in training.
    unmasked_loss_weight : float
        Weight of the loss on unmasked frames; 0 for none. Short runs on masked
        frames alone learn little but silence and loudness, and the encoder
        loses other information; this loss counters that. HuBERT's has the same
        term (Hsu et al., https://arxiv.org/abs/2106.07447).

    Example
    -------
    >>> MaskedFrames(0.5, 10, None, unmasked_loss_weight=1.0).unmasked
    {'unmasked': 1.0}
    >>> MaskedFrames(0.5, 0, None)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: mask_span is 0; it must be a whole number \
of at least 1
    """

    remedies: ClassVar[Mapping[str, str]] = {
        "feature_std": "lower peak_lr or lengthen the warm-up"
    }

    def __init__(
        self,
        mask_prob: float,
        mask_span: int,
        spec_augment: SpecAugment | None,
        unmasked_loss_weight: float = 0.0,
    ):
        require_number("mask_prob", mask_prob, 0.0, 3.0)  # 3 masks 95 %
        require_count("mask_span", mask_span)
        check_spec_augment(spec_augment)
        require_number("unmasked_loss_weight", unmasked_loss_weight, 0.0)
        self.unmasked = (
            {"unmasked": unmasked_loss_weight} if unmasked_loss_weight else {}
        )
        self.mask_prob, self.mask_span = mask_prob, mask_span
        self.spec_augment = spec_augment

    def draw_masks(
        self, batch: Batch, model: nn.Module
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return masked and valid frames, both [B, T] on the CPU."""
        lengths = model.output_lengths(batch.samples).cpu()
        mask = draw_span_mask(
            batch.seeds, lengths, self.mask_prob, self.mask_span
        )
        return mask, valid_mask(lengths, mask.shape[1])

    def init_from_batch(
        self, model: nn.Module, inputs: Sequence[ModelInputs]
    ) -> None:
        """Initialise nothing."""
