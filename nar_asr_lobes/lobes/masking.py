"""Masks drawn per utterance: SpecAugment and the spans of pre-training.

A raw-waveform model has no spectrogram, so its SpecAugment needs a place. We
mask the normalised features of the stem, not bands and spans of the signal:
the stem normalises every channel over the utterance, so a band taken out of
the signal would come back as amplified leakage, while a zero here is the
channel's mean (but for the bias that the norm learns). With the Gabor stem the
channels lie in mel order, so a run of channels is a frequency band; with the
wav2vec 2.0 stem it is a run of learned channels, as in that model's own channel
masks.

Every draw comes from the utterance's own seed, never from a shared stream: the
masks do not depend on the batch, the rank or the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.schema import Checked, count, number

FeatureMasker = Callable[[torch.Tensor], torch.Tensor]
"""Masks features [B, C, F]."""


@dataclass(frozen=True)
class SpecAugment(Checked):
    """SpecAugment with a fixed number of masks for every utterance.

    Park et al., https://arxiv.org/abs/1904.08779.

    Arguments
    ---------
    freq_masks, time_masks : int
        Number of masks of each kind.
    freq_share : float
        Widest frequency mask, as a share of the channels.
    time_share : float
        Widest time mask, as a share of the utterance's valid frames.

    Example
    -------
    >>> masker = SpecAugment().masker([7], [100], 80)
    >>> out = masker(torch.ones(1, 80, 100))
    >>> bool((out == 0).any()), out.shape
    (True, torch.Size([1, 80, 100]))
    """

    freq_masks: int = count(2)
    time_masks: int = count(2)
    freq_share: float = number(0.3, 0.0, 1.0)
    time_share: float = number(0.15, 0.0, 1.0)

    def spans(
        self, seeds: Sequence[int], lengths: Sequence[int], channels: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw the masks.

        Arguments
        ---------
        seeds : sequence of int
            One for each utterance.
        lengths : sequence of int
            Valid frames of each utterance.
        channels : int
            Number of channels.

        Returns
        -------
        freq, time : numpy.ndarray
            [start, end) of each mask, shapes [B, freq_masks, 2] and
            [B, time_masks, 2]; every mask is at least one wide and lies
            inside the channels and the valid frames.
        """
        freq = np.zeros((len(seeds), self.freq_masks, 2), dtype=np.int64)
        time = np.zeros((len(seeds), self.time_masks, 2), dtype=np.int64)
        for i, (seed, length) in enumerate(zip(seeds, lengths, strict=True)):
            rng = np.random.default_rng([int(seed), 1])
            freq[i] = _draw(rng, self.freq_masks, channels, self.freq_share)
            time[i] = _draw(rng, self.time_masks, int(length), self.time_share)
        return freq, time

    def masker(
        self, seeds: Sequence[int], lengths: Sequence[int], channels: int
    ) -> SpanMasker:
        """Draw what hides spans of the features of these utterances.

        Arguments
        ---------
        seeds, lengths, channels :
            As for ``spans``.

        Returns
        -------
        SpanMasker
        """
        freq, time = self.spans(seeds, lengths, channels)
        return SpanMasker(torch.from_numpy(freq), torch.from_numpy(time))


@dataclass(frozen=True)
class SpanMasker:
    """Hide spans of channels and of frames.

    Drawn before a batch goes to the device, which need not be asked for its
    lengths then.

    Arguments
    ---------
    freq, time : torch.Tensor
        [start, end) of each span, shapes [B, N, 2].

    Example
    -------
    >>> freq, time = torch.tensor([[[0, 1]]]), torch.tensor([[[1, 3]]])
    >>> masker = SpanMasker(freq, time)
    >>> masker(torch.ones(1, 2, 4)).int().tolist()
    [[[0, 0, 0, 0], [1, 0, 0, 1]]]
    """

    freq: torch.Tensor
    time: torch.Tensor

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Mask features [B, C, F]."""
        channels = _cover(self.freq, features.shape[1])
        frames = _cover(self.time, features.shape[2])
        hidden = channels[..., None] | frames[:, None]
        return features.masked_fill(hidden, 0.0)


def _draw(
    rng: np.random.Generator, masks: int, size: int, share: float
) -> np.ndarray:
    if size == 0:
        return np.zeros((masks, 2), dtype=np.int64)
    widths = rng.integers(1, max(1, int(share * size)), masks, endpoint=True)
    starts = rng.integers(0, size - widths, endpoint=True)
    return np.stack([starts, starts + widths], axis=1)


def _cover(spans: torch.Tensor, size: int) -> torch.Tensor:
    """Mark positions inside any of the spans [B, N, 2]; gives [B, size]."""
    steps = torch.arange(size, device=spans.device)
    inside = (steps >= spans[..., :1]) & (steps < spans[..., 1:])
    return inside.any(dim=1)


def draw_span_mask(
    seeds: Sequence[int],
    lengths: torch.Tensor,
    share: float,
    span: int,
) -> torch.Tensor:
    """Draw the frames that pre-training hides, in spans, per utterance.

    Arguments
    ---------
    seeds : sequence of int
        One for each utterance.
    lengths : torch.Tensor
        Valid frames, shape [B].
    share : float
        Sum of the span lengths over the utterance's length; overlaps make the
        hidden share 1 - exp(-share) or so.
    span : int
        Frames of a span; shorter utterances get a span of half their length.

    Returns
    -------
    torch.Tensor
        True where hidden, shape [B, max(lengths)], but with one column at
        least, as the frontend gives; at least one span in each utterance of
        two frames or more.

    Example
    -------
    >>> mask = draw_span_mask([1, 2], torch.tensor([100, 50]), 0.5, 10)
    >>> mask.shape, bool(mask[1, 50:].any()), bool(mask.any(1).all())
    (torch.Size([2, 100]), False, True)
    """
    size = max(1, int(lengths.max()))
    mask = np.zeros((len(lengths), size), dtype=bool)
    for row, seed, length in zip(mask, seeds, lengths.tolist(), strict=True):
        rng = np.random.default_rng([int(seed), 2])
        width = min(span, length // 2)
        if width == 0:
            continue
        count = max(1, int(share * length / width + rng.random()))
        for start in rng.integers(0, length - width, count, endpoint=True):
            row[start : start + width] = True
    return torch.as_tensor(mask, device=lengths.device)


@dataclass(frozen=True)
class FrameMasker:
    """Hide whole encoder frames: every feature that such a frame reads.

    Arguments
    ---------
    mask : torch.Tensor
        True where hidden, shape [B, T].
    subsampling : sequence of (int, int)
        (kernel, stride) of the convolutions from features to frames.
    before : callable, optional
        Masks the features first (SpecAugment).

    Example
    -------
    >>> masker = FrameMasker(torch.tensor([[False, True]]), ((3, 2),))
    >>> masker(torch.ones(1, 1, 6)).int().tolist()
    [[[1, 1, 0, 0, 0, 1]]]
    """

    mask: torch.Tensor
    subsampling: Sequence[tuple[int, int]]
    before: FeatureMasker | None = None

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Mask features [B, C, F]."""
        if self.before is not None:
            features = self.before(features)
        hidden = self.mask[:, None].to(features.dtype)
        for kernel, stride in reversed(self.subsampling):
            ones = hidden.new_ones(1, 1, kernel)
            hidden = F.conv_transpose1d(hidden, ones, stride=stride)
        short = features.shape[-1] - hidden.shape[-1]
        return features.masked_fill(F.pad(hidden, (0, short)) > 0, 0.0)


def draw_token_mask(
    seeds: Sequence[int], token_lens: torch.Tensor, size: int
) -> torch.Tensor:
    """Draw the slots that masked-language-model training hides.

    The number of masks is uniform in 1 .. U (all masked included), the places
    are drawn without replacement (Ghazvininejad et al.,
    https://arxiv.org/abs/1904.09324).

    Arguments
    ---------
    seeds : sequence of int
        One for each utterance.
    token_lens : torch.Tensor
        Tokens U of each utterance, shape [B].
    size : int
        Padded number of slots.

    Returns
    -------
    torch.Tensor
        True where masked, shape [B, size].

    Example
    -------
    >>> mask = draw_token_mask([3, 4], torch.tensor([5, 2]), 5)
    >>> bool(mask.any(1).all()), bool(mask[1, 2:].any())
    (True, False)
    """
    mask = np.zeros((len(token_lens), size), dtype=bool)
    for row, seed, length in zip(mask, seeds, token_lens.tolist(), strict=True):
        rng = np.random.default_rng([int(seed), 3])
        if length:
            count = rng.integers(1, length, endpoint=True)
            row[rng.permutation(length)[:count]] = True
    valid = valid_mask(token_lens, size)
    return torch.as_tensor(mask, device=token_lens.device) & valid
