"""What the objectives of pre-training have in common: how frames are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.limits import require_count, require_number
from nar_asr_lobes.lobes.masking import SpecAugment, draw_span_mask
from nar_asr_lobes.training.objectives import Prepared, check_spec_augment


@dataclass(frozen=True, kw_only=True)
class PreparedFrames(Prepared):
    """Hidden frames, whose ``places`` are those that the model takes."""

    places: torch.Tensor

    def inputs(self, training: bool) -> tuple:
        """Give what a model is called with."""
        batch, masker = self.batch, self.masker if training else None
        return batch.wavs, batch.wav_lens, self.mask, self.places, masker


class HiddenFrames:
    """How frames are hidden.

    Arguments
    ---------
    mask_share : float
        Sum of span lengths over an utterance's length.
    mask_span : int
        Frames of a span.
    spec_augment : SpecAugment, optional
        More masks on the stem's features while training.

    Example
    -------
    >>> HiddenFrames(0.5, 0, None)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: mask_span is 0; it must be a whole number \
of at least 1
    """

    def __init__(
        self,
        mask_share: float,
        mask_span: int,
        spec_augment: SpecAugment | None,
    ):
        require_number("mask_share", mask_share, 0.0, 3.0)  # 3 hides 95 %
        require_count("mask_span", mask_span)
        check_spec_augment(spec_augment)
        self.mask_share, self.mask_span = mask_share, mask_span
        self.spec_augment = spec_augment

    def draw(
        self, batch: Batch, model: nn.Module
    ) -> tuple[torch.Tensor, float]:
        """Give a mask [B, T] on the CPU and the number of valid frames."""
        lengths = model.output_lengths(batch.samples).cpu()
        mask = draw_span_mask(
            batch.seeds, lengths, self.mask_share, self.mask_span
        )
        return mask, float(lengths.sum())

    def begin(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        """Fit nothing."""
