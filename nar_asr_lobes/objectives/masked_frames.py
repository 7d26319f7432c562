"""What the objectives of pre-training have in common: how frames are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.lobes.masking import SpecAugment, draw_span_mask
from nar_asr_lobes.objectives.recognition import Prepared, check_spec_augment
from nar_asr_lobes.schema import require_count, require_number


@dataclass(frozen=True, kw_only=True)
class PreparedFrames(Prepared):
    """Hidden frames; ``places`` are those that the model is asked for."""

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
    visible_weight : float
        Of the loss on frames that are not hidden; 0 for none. In a short run
        hidden frames teach little more than silence and loudness, and the
        encoder forgets what else its frames hold; asked for what it sees too,
        it forgets less. HuBERT's loss has such a part (Hsu et al.,
        https://arxiv.org/abs/2106.07447).

    Example
    -------
    >>> HiddenFrames(0.5, 10, None, visible_weight=1.0).visible
    {'visible': 1.0}
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
        visible_weight: float = 0.0,
    ):
        require_number("mask_share", mask_share, 0.0, 3.0)  # 3 hides 95 %
        require_count("mask_span", mask_span)
        check_spec_augment(spec_augment)
        require_number("visible_weight", visible_weight, 0.0)
        self.visible = {"visible": visible_weight} if visible_weight else {}
        self.mask_share, self.mask_span = mask_share, mask_span
        self.spec_augment = spec_augment

    def draw(
        self, batch: Batch, model: nn.Module
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the frames to hide and the valid ones, [B, T] on the CPU."""
        lengths = model.output_lengths(batch.samples).cpu()
        mask = draw_span_mask(
            batch.seeds, lengths, self.mask_share, self.mask_span
        )
        return mask, valid_mask(lengths, mask.shape[1])

    def begin(self, model: nn.Module, prepared: Sequence[Prepared]) -> None:
        """Fit nothing."""
