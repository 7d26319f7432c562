"""Masked frames, common to the pre-training objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.lobes.masking import SpecAugment, draw_span_mask
from nar_asr_lobes.lobes.model import ModelConfig, SpeechEncoder
from nar_asr_lobes.objectives.base import ModelInputs, check_spec_augment
from nar_asr_lobes.schema import require_count, require_number


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
