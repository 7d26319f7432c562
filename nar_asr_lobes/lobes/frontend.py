"""From raw waveforms to encoder frames, with exact lengths.

wav [B, S] -> stem.features [B, C, F] -> (masks) -> stem.subsample [B, C', T]
           -> LayerNorm, Linear -> [B, T, D]

Convolutions have no padding, so that a valid frame reads valid samples only,
and every statistic over time counts valid frames only: an utterance's result
does not depend on its batch.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import nn
from torch.nn import functional as F

from nar_asr_lobes.lobes.attention import ByteDropout
from nar_asr_lobes.lobes.lengths import (
    absolute_lengths,
    conv_output_lengths,
    valid_mask,
)
from nar_asr_lobes.lobes.masking import MaskFn


class WaveformFrontend(nn.Module):
    """Waveform to encoder frames.

    Arguments
    ---------
    stem : torch.nn.Module
        Feature extractor, see ``lobes.stems``.
    stem_channels : int
        The stem's output channels.
    d_model : int
        Width D of the frames.
    dropout : float
        Dropout on the frames.
    norm : bool
        Whether the features are normalised before their projection.
    normalize : bool
        Whether the waveforms are normalised, see ``normalize_wavs``.

    Example
    -------
    >>> from nar_asr_lobes.lobes.stems import GaborStem
    >>> frontend = WaveformFrontend(GaborStem(8, 16), 16, d_model=32)
    >>> frames, lengths = frontend(
    ...     torch.randn(2, 16000), torch.tensor([1.0, 0.5])
    ... )
    >>> frames.shape, lengths.tolist()
    (torch.Size([2, 23, 32]), [23, 10])
    """

    def __init__(
        self,
        stem: nn.Module,
        stem_channels: int,
        d_model: int,
        dropout: float = 0.0,
        norm: bool = True,
        normalize: bool = True,
    ):
        super().__init__()
        self.stem = stem
        self.normalize = normalize
        self.norm = nn.LayerNorm(stem_channels) if norm else nn.Identity()
        self.projection = nn.Linear(stem_channels, d_model)
        self.dropout = ByteDropout(dropout)

    def output_lengths(self, samples: torch.Tensor) -> torch.Tensor:
        """Count the frames of utterances of ``samples`` samples."""
        lengths = self.stem.feature_lengths(samples)
        for kernel, stride in self.stem.subsampling:
            lengths = conv_output_lengths(lengths, kernel, stride)
        return lengths

    def min_samples(self) -> int:
        """Count the samples that one frame needs."""
        return self._min_samples

    @cached_property
    def _min_samples(self) -> int:
        counts = torch.arange(1, 8000, device="cpu")
        return int(counts[self.output_lengths(counts) > 0][0])

    def samples_for(self, frames: int) -> int:
        """Count the samples that ``frames`` frames need."""
        return self.min_samples() + (frames - 1) * self.stem.hop_length

    def freeze(self, part: str) -> None:
        """Freeze the stem's filters, or the whole ``frontend``."""
        if part == "frontend":
            self.requires_grad_(False)
        else:
            self.stem.freeze_filters()

    def forward(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        mask_fn: MaskFn | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute frames.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms at 16 kHz, padded, shape [B, S].
        wav_lens : torch.Tensor
            Relative lengths in [0, 1], shape [B].
        mask_fn : callable, optional
            Masks the stem's features, shape [B, C, F].

        Returns
        -------
        frames : torch.Tensor
            Shape [B, T, D]; padding frames are zero.
        lengths : torch.Tensor
            Valid frames, shape [B], int64.
        """
        samples = absolute_lengths(wav_lens, wavs.shape[1])
        short = self.min_samples() - wavs.shape[1]
        if self.normalize:
            wavs = normalize_wavs(wavs, samples)
        wavs = F.pad(wavs, (0, max(0, short)))
        features = self.stem.features(wavs, samples)
        if mask_fn is not None:
            features = mask_fn(features)
        frames = self.stem.subsample(features)
        frames = self.dropout(self.projection(self.norm(frames.mT)))
        lengths = self.output_lengths(samples)
        return frames * valid_mask(lengths, frames.shape[1])[..., None], lengths


def normalize_wavs(wavs: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """Give each waveform of wavs [B, S] zero mean and unit variance.

    ``samples`` [B] are the valid ones; padding stays zero, and digital silence
    stays silence.
    """
    valid = valid_mask(samples, wavs.shape[1])
    count = samples.clamp_min(1).unsqueeze(1)
    centred = (wavs - (wavs * valid).sum(1, keepdim=True) / count) * valid
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + 1e-7)
