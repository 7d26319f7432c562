"""Consistency of CTC between two views of an utterance.

Yao et al., "CR-CTC", https://arxiv.org/abs/2410.05101: the model sees every
utterance twice, each time with SpecAugment's masks and dropout of its own, and
learns to give equal posteriors besides CTC on both.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch.nn import functional as F

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.dataio.seeds import Stream, derived_seed
from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.lobes.model import EncoderOutput
from nar_asr_lobes.objectives.base import ModelInputs


def add_second_seeds(batch: Batch) -> Batch:
    """Return a batch for drawing masks: all utterances, then all again."""
    second = [derived_seed(seed, Stream.SECOND_VIEW) for seed in batch.seeds]
    samples = batch.samples.repeat(2)
    return replace(batch, seeds=[*batch.seeds, *second], samples=samples)


def twice(inputs: ModelInputs) -> ModelInputs:
    """Repeat the rows of all tensors, except the masks of SpecAugment."""
    repeated = _repeat(replace(inputs, mask_fn=None))
    return replace(repeated, mask_fn=inputs.mask_fn)


def _repeat(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.cat([value, value])
    if not is_dataclass(value):
        return value
    found = {f.name: _repeat(getattr(value, f.name)) for f in fields(value)}
    return replace(value, **found)


def consistency_sum(encoded: EncoderOutput) -> torch.Tensor:
    """Sum the divergence of two views over the valid frames.

    Half of KL(second || first) + KL(first || second); a gradient goes into
    the predicted distribution alone, not into its target. ``encoded`` has the
    first views [B], then the second ones.

    Example
    -------
    >>> frames = torch.randn(4, 6, 5).log_softmax(-1)  # two utterances
    >>> lengths = torch.tensor([6, 3, 6, 3])
    >>> encoded = EncoderOutput(frames, lengths, frames, [])
    >>> bool(consistency_sum(encoded) > 0)
    True
    """
    first, second = encoded.log_probs.chunk(2)
    valid = valid_mask(encoded.lengths.chunk(2)[0], first.shape[1])
    return (_divergence(first, second) + _divergence(second, first))[
        valid
    ].sum() / 2


def _divergence(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return KL(target || predicted) of each frame."""
    return F.kl_div(
        predicted, target.detach(), reduction="none", log_target=True
    ).sum(-1)
