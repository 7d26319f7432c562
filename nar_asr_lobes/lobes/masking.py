"""Masks drawn per utterance: SpecAugment, masked frames, masked tokens.

SpecAugment masks the normalised features of the stem, for a raw-waveform model
has no spectrogram. Masking the waveform would not do: the stem normalises each
channel over the utterance, so a band taken out of the signal would come back
as amplified leakage, while a zero feature is the channel's mean. Channels of
the Gabor stem lie in mel order, so that a run of channels is a frequency band;
those of the wav2vec 2.0 stem are learned, as in that model's channel masks.

All draws come from the utterance's own seed: masks depend neither on the batch
nor on the rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from nar_asr_lobes.dataio.augment import ramp
from nar_asr_lobes.dataio.seeds import Stream, generator
from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.schema import Checked, count, number

MaskFn = Callable[[torch.Tensor], torch.Tensor]
"""Masks features [B, C, F]."""


@dataclass(frozen=True)
class SpecAugment(Checked):
    """SpecAugment with a fixed number of masks for every utterance.

    Park et al., https://arxiv.org/abs/1904.08779.

    Arguments
    ---------
    freq_masks, time_masks : int
        Number of masks of each kind.
    freq_ratio : float
        Widest frequency mask, relative to the number of channels.
    time_ratio : float
        Widest time mask, relative to the utterance's valid frames.
    start, full : float
        Shares of the run's steps: there is no mask before ``start``, then
        their widths grow evenly, up to the ratios above at ``full``.

    Example
    -------
    >>> mask_fn = SpecAugment().draw([7], [100], 80)
    >>> out = mask_fn(torch.ones(1, 80, 100))
    >>> bool((out == 0).any()), out.shape
    (True, torch.Size([1, 80, 100]))
    """

    freq_masks: int = count(2)
    time_masks: int = count(2)
    freq_ratio: float = number(0.3, 0.0, 1.0)
    time_ratio: float = number(0.15, 0.0, 1.0)
    start: float = number(0.0, 0.0, below=1.0)
    full: float = number(0.0, 0.0, 1.0)

    def draw(
        self,
        seeds: Sequence[int],
        lengths: Sequence[int],
        channels: int,
        progress: float = 1.0,
    ) -> SpanMask | None:
        """Draw the masks of a batch, from a seed and a length an utterance.

        Each span is at least one wide and lies inside the channels and the
        valid frames. ``progress`` is the share of the run's steps already
        made; None where that is too early for masks.
        """
        strength = ramp(progress, self.start, self.full)
        if strength == 0:
            return None
        freq_ratio = strength * self.freq_ratio
        time_ratio = strength * self.time_ratio
        freq = np.zeros((len(seeds), self.freq_masks, 2), dtype=np.int64)
        time = np.zeros((len(seeds), self.time_masks, 2), dtype=np.int64)
        for i, (seed, length) in enumerate(zip(seeds, lengths, strict=True)):
            rng = generator(seed, Stream.SPEC_AUGMENT)
            freq[i] = _spans(rng, self.freq_masks, channels, freq_ratio)
            time[i] = _spans(rng, self.time_masks, int(length), time_ratio)
        return SpanMask(torch.from_numpy(freq), torch.from_numpy(time))


@dataclass(frozen=True)
class SpanMask:
    """Zero spans of channels and of frames.

    Arguments
    ---------
    freq, time : torch.Tensor
        [start, end) of each span, shapes [B, N, 2].

    Example
    -------
    >>> freq, time = torch.tensor([[[0, 1]]]), torch.tensor([[[1, 3]]])
    >>> SpanMask(freq, time)(torch.ones(1, 2, 4)).int().tolist()
    [[[0, 0, 0, 0], [1, 0, 0, 1]]]
    """

    freq: torch.Tensor
    time: torch.Tensor

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Mask features [B, C, F]."""
        channels = _cover(self.freq, features.shape[1])  # [B, C]
        frames = _cover(self.time, features.shape[2])  # [B, F]
        masked = channels[..., None] | frames[:, None]
        return features.masked_fill(masked, 0.0)


def _spans(
    rng: np.random.Generator, masks: int, size: int, ratio: float
) -> np.ndarray:
    if size == 0:
        return np.zeros((masks, 2), dtype=np.int64)
    widths = rng.integers(1, max(1, int(ratio * size)), masks, endpoint=True)
    starts = rng.integers(0, size - widths, endpoint=True)
    return np.stack([starts, starts + widths], axis=1)


def _cover(spans: torch.Tensor, size: int) -> torch.Tensor:
    """Mark positions inside any of the spans [B, N, 2]; shape [B, size]."""
    steps = torch.arange(size, device=spans.device)
    inside = (steps >= spans[..., :1]) & (steps < spans[..., 1:])
    return inside.any(dim=1)


def draw_span_mask(
    seeds: Sequence[int], lengths: torch.Tensor, prob: float, span: int
) -> torch.Tensor:
    """Draw masked frames in spans, for pre-training; shape [B, T].

    Span lengths add up to ``prob`` times the utterance's length (``lengths``
    [B]); spans overlap: about 1 - exp(-prob) of the frames are masked. A span
    has ``span`` frames, at most half the utterance, and each utterance of two
    frames or more has one.
    """
    size = max(1, int(lengths.max()))
    mask = np.zeros((len(lengths), size), dtype=bool)
    for row, seed, length in zip(mask, seeds, lengths.tolist(), strict=True):
        rng = generator(seed, Stream.SPAN_MASK)
        width = min(span, length // 2)
        if width == 0:
            continue
        count = max(1, int(prob * length / width + rng.random()))
        for start in rng.integers(0, length - width, count, endpoint=True):
            row[start : start + width] = True
    return torch.as_tensor(mask, device=lengths.device)


@dataclass(frozen=True)
class FrameMask:
    """Zero every feature that a masked encoder frame reads.

    Arguments
    ---------
    mask : torch.Tensor
        True where masked, shape [B, T].
    subsampling : sequence of (int, int)
        (kernel, stride) of the convolutions from features to frames.
    before : callable, optional
        Masks the features first (SpecAugment).

    Example
    -------
    >>> mask_fn = FrameMask(torch.tensor([[False, True]]), ((3, 2),))
    >>> mask_fn(torch.ones(1, 1, 6)).int().tolist()
    [[[1, 1, 0, 0, 0, 1]]]
    """

    mask: torch.Tensor
    subsampling: Sequence[tuple[int, int]]
    before: MaskFn | None = None

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Mask features [B, C, F]."""
        if self.before is not None:
            features = self.before(features)
        masked = self.mask[:, None].to(features.dtype)  # [B, 1, T]
        for kernel, stride in reversed(self.subsampling):
            ones = masked.new_ones(1, 1, kernel)
            masked = F.conv_transpose1d(masked, ones, stride=stride)
        short = features.shape[-1] - masked.shape[-1]
        return features.masked_fill(F.pad(masked, (0, short)) > 0, 0.0)


def draw_token_mask(
    seeds: Sequence[int], token_lens: torch.Tensor, size: int
) -> torch.Tensor:
    """Draw masked tokens: uniformly 1 to all, without replacement.

    As in Mask-Predict (https://arxiv.org/abs/1904.09324); shape [B, size].
    """
    mask = np.zeros((len(token_lens), size), dtype=bool)
    for row, seed, length in zip(mask, seeds, token_lens.tolist(), strict=True):
        rng = generator(seed, Stream.TOKEN_MASK)
        if length:
            count = rng.integers(1, length, endpoint=True)
            row[rng.permutation(length)[:count]] = True
    valid = valid_mask(token_lens, size)
    return torch.as_tensor(mask, device=token_lens.device) & valid
