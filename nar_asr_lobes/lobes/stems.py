"""The feature extractors of raw waveforms, called stems.

wav [B, S] -> features [B, C, F] -> (masks) -> subsample -> [B, C', T]

``GaborStem`` (25 Hz) starts as a bank of mel-spaced Gabor filters and stays
trainable; it learns from a few hours. ``Wav2Vec2Stem`` (50 Hz) is the stack of
wav2vec 2.0 (Baevski et al., https://arxiv.org/abs/2006.11477), for published
weights. Another stem has their methods and attributes, and a row in
``lobes.config.STEMS``:

- ``hop_length``: samples from one frame to the next; for BEST-RQ a multiple
  of 160
- ``subsampling``: (kernel, stride) of the convolutions after the features
- ``feature_channels``: C
- ``useful_at_init``: whether random weights give features to work with
- ``check_config``: raises UserError for sizes that it cannot have
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.lengths import conv_output_lengths, valid_mask

if TYPE_CHECKING:
    from nar_asr_lobes.lobes.config import ModelConfig

SAMPLE_RATE = 16000

_MAPS = 32  # channels of the convolutions over frequency and time
_SILENCE = 1e-3  # log energy, 90 dB below the waveform's


class MaskedInstanceNorm(nn.Module):
    """Normalise each channel over the valid frames of its own utterance.

    Instance normalisation as in wav2vec 2.0's first layer, but unlike that
    independent of the padding.

    Arguments
    ---------
    channels : int
        Number of channels C.
    eps : float
        Added to the variance.

    Example
    -------
    >>> norm = MaskedInstanceNorm(2)
    >>> x = torch.randn(1, 2, 50)
    >>> y = norm(F.pad(x, (0, 7)), torch.tensor([50]))
    >>> torch.allclose(y[..., :50], norm(x, torch.tensor([50])), atol=1e-6)
    True
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor,
        counted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Normalise x [B, C, F]; frames beyond ``lengths`` become zero.

        ``counted`` [B, 1, F] marks the frames that mean and variance use.
        """
        valid = valid_mask(lengths, x.shape[-1]).unsqueeze(1)
        counted = valid if counted is None else valid & counted
        count = counted.sum(-1, keepdim=True).clamp_min(1)
        mean = (x * counted).sum(-1, keepdim=True) / count
        var = ((x - mean) * counted).square().sum(-1, keepdim=True) / count
        scaled = (x - mean) * valid * torch.rsqrt(var + self.eps)
        return (
            scaled * self.weight.unsqueeze(-1) + self.bias.unsqueeze(-1) * valid
        )


def gabor_filters(filters: int, kernel: int) -> torch.Tensor:
    """Make mel-spaced Gabor filters, cosine and sine parts.

    Gaussian-windowed sinusoids with the bandwidths of mel triangles, as far as
    the kernel can hold them (LEAF, https://arxiv.org/abs/2101.08596).
    ``filters`` centre frequencies lie between 60 and 7800 Hz; each pair has
    unit energy. Shape [2 * filters, 1, kernel].
    """
    low, high = (2595 * math.log10(1 + f / 700) for f in (60.0, 7800.0))
    mels = torch.linspace(low, high, filters + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    centre = hertz[1:-1, None]
    half_width = (hertz[2:] - hertz[:-2])[:, None] / 2
    time = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
    time = time / SAMPLE_RATE
    # A Gaussian with this deviation in time has -3 dB at half_width in Hz.
    sigma = math.sqrt(math.log(2) / 2) / (math.pi * half_width)
    sigma = sigma.clamp_max(kernel / SAMPLE_RATE / 5)
    window = torch.exp(-0.5 * (time / sigma) ** 2)
    phase = 2 * math.pi * centre * time
    bank = torch.cat([window * phase.cos(), window * phase.sin()])
    energy = bank.square().sum(-1).view(2, filters).sum(0).repeat(2)
    bank = bank / energy.sqrt()[:, None]
    # Arithmetic with the subnormal tails of the windows takes ten times as
    # long on some processors; -200 dB is nothing.
    bank[bank.abs() < 1e-10] = 0.0
    return bank.unsqueeze(1).float()


def _trim_to_stride(x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    """Cut the frames at the end of x [..., F] that ``conv`` does not reach."""
    # With such a remainder, oneDNN 3.10's bfloat16 kernel for the gradient of
    # strided filters reads uninitialised memory behind x: NaN, at times.
    kernel, stride = conv.kernel_size[-1], conv.stride[-1]
    return x[..., : x.shape[-1] - (x.shape[-1] - kernel) % stride]


class GaborStem(nn.Module):
    """Trainable Gabor energies, then two strided convolutions: 25 Hz.

    conv k400/s80 (quadrature pairs) -> squared modulus -> low-pass k6/s2 ->
    log -> MaskedInstanceNorm (100 Hz, ``filters`` channels in mel order) ->
    two convolutions k3/s2 over frequency and time -> linear.

    Arguments
    ---------
    filters : int
        Number of filter pairs.
    channels : int
        Output channels.

    Example
    -------
    >>> stem = GaborStem(filters=8, channels=16)
    >>> lengths = torch.tensor([16000])
    >>> features = stem.features(torch.randn(1, 16000), lengths)
    >>> features.shape[-1] == stem.feature_lengths(lengths).item()
    True
    """

    hop_length = 640
    subsampling: Sequence[tuple[int, int]] = ((3, 2), (3, 2))
    useful_at_init = True  # a filterbank

    def __init__(self, filters: int = 80, channels: int = 192):
        super().__init__()
        self.filters = self.feature_channels = filters
        self.gabor = nn.Conv1d(1, 2 * filters, 400, stride=80, bias=False)
        self.gabor.weight.data = gabor_filters(filters, 400)
        self.lowpass = nn.Conv1d(
            filters, filters, 6, stride=2, groups=filters, bias=False
        )
        window = torch.hann_window(8, periodic=False)[1:-1]
        self.lowpass.weight.data = (
            (window / window.sum()).expand(filters, 1, 6).clone()
        )
        self.norm = MaskedInstanceNorm(filters)
        self.conv1 = nn.Conv2d(1, _MAPS, 3, stride=2, padding=(1, 0))
        self.conv2 = nn.Conv2d(_MAPS, _MAPS, 3, stride=2, padding=(1, 0))
        bands = math.ceil(math.ceil(filters / 2) / 2)
        self.linear = nn.Linear(_MAPS * bands, channels)

    @classmethod
    def from_config(cls, config: ModelConfig) -> GaborStem:
        """Build it from a model's sizes."""
        return cls(config.stem_filters, config.stem_channels)

    @staticmethod
    def check_config(config: ModelConfig) -> None:
        """Accept all sizes."""

    def feature_lengths(self, samples: torch.Tensor) -> torch.Tensor:
        """Count the 100 Hz feature frames of ``samples``."""
        pairs = conv_output_lengths(samples, 400, 80)
        return conv_output_lengths(pairs, 6, 2)

    def features(
        self, wavs: torch.Tensor, samples: torch.Tensor
    ) -> torch.Tensor:
        """Compute normalised log energies [B, filters, F] of wavs [B, S]."""
        # bfloat16 rounding is noise at -50 dB: pauses would differ between
        # training and recognition.
        with torch.autocast(wavs.device.type, enabled=False):
            energy = self.lowpass(self._energies(wavs.float()))
        # The waveform has unit variance, so the floor is 60 dB below it; log1p
        # is zero there, so that rounding cannot turn silence into features.
        log_energy = torch.log1p(1e6 * energy.clamp_min(0))
        # Statistics skip digital silence, such as that around a short clip:
        # speech gives the same features with and without it.
        audible = log_energy.amax(1, keepdim=True) > _SILENCE
        return self.norm(log_energy, self.feature_lengths(samples), audible)

    def _energies(self, wavs: torch.Tensor) -> torch.Tensor:
        """Sum the squares of each filter pair's outputs, [B, filters, P]."""
        # A matrix product instead of self.gabor(wavs.unsqueeze(1)) takes three
        # quarters of its time on a CPU, forward and backward.
        (kernel,), (stride,) = self.gabor.kernel_size, self.gabor.stride
        positions = wavs.unfold(1, kernel, stride)  # [B, P, kernel]
        weight = self.gabor.weight.squeeze(1)
        pairs = weight @ positions.reshape(-1, kernel).mT  # [2 filters, B P]
        real, imaginary = pairs.chunk(2)
        energies = real.square() + imaginary.square()
        return energies.unflatten(1, positions.shape[:2]).transpose(0, 1)

    def freeze_filters(self) -> None:
        """Freeze the layers that read the waveform."""
        for part in (self.gabor, self.lowpass):
            part.requires_grad_(False)

    def subsample(self, features: torch.Tensor) -> torch.Tensor:
        """Subsample features [B, filters, F] to frames [B, channels, T]."""
        maps = features.unsqueeze(1)  # [B, maps, bands, frames]
        for conv in (self.conv1, self.conv2):
            maps = F.gelu(conv(_trim_to_stride(maps, conv)))
        return self.linear(maps.flatten(1, 2).mT).mT


class Wav2Vec2Stem(nn.Module):
    """The seven convolutions of wav2vec 2.0: 50 Hz.

    Arguments
    ---------
    channels : int
        Channels of every layer (512 in the published models).
    norm : str
        ``"group"`` (Base: the first layer normalised over time) or
        ``"layer"`` (Large: every layer normalised over channels).
    bias : bool
        Whether the convolutions have a bias.

    Example
    -------
    >>> stem = Wav2Vec2Stem(channels=8)
    >>> stem.feature_lengths(torch.tensor([400, 16000])).tolist()
    [1, 49]
    """

    hop_length = 320
    subsampling: Sequence[tuple[int, int]] = ()
    useful_at_init = False
    layout = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))

    def __init__(
        self, channels: int = 512, norm: str = "group", bias: bool = False
    ):
        super().__init__()
        self.feature_channels = channels
        sizes = [1] + [channels] * len(self.layout)
        self.convs = nn.ModuleList(
            nn.Conv1d(sizes[i], sizes[i + 1], kernel, stride=stride, bias=bias)
            for i, (kernel, stride) in enumerate(self.layout)
        )
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight)
        self.first_norm = (
            MaskedInstanceNorm(channels) if norm == "group" else None
        )
        self.layer_norms = nn.ModuleList(
            nn.LayerNorm(channels) for _ in self.layout if norm == "layer"
        )

    @classmethod
    def from_config(cls, config: ModelConfig) -> Wav2Vec2Stem:
        """Build it from a model's sizes."""
        return cls(config.stem_channels, config.stem_norm, config.stem_bias)

    @staticmethod
    def check_config(config: ModelConfig) -> None:
        """Refuse an unknown norm."""
        if config.stem_norm not in ("group", "layer"):
            raise UserError(
                f"stem_norm is {config.stem_norm!r}; choose group or layer"
            )

    def feature_lengths(self, samples: torch.Tensor) -> torch.Tensor:
        """Count the 50 Hz frames of ``samples``."""
        for kernel, stride in self.layout:
            samples = conv_output_lengths(samples, kernel, stride)
        return samples

    def features(
        self, wavs: torch.Tensor, samples: torch.Tensor
    ) -> torch.Tensor:
        """Compute frames [B, channels, T] of wavs [B, S]."""
        x, lengths = wavs.unsqueeze(1), samples
        for i, conv in enumerate(self.convs):
            x = conv(x)
            lengths = conv_output_lengths(lengths, *self.layout[i])
            if self.first_norm is not None and i == 0:
                x = self.first_norm(x, lengths)
            elif self.first_norm is None:
                x = self.layer_norms[i](x.transpose(1, 2)).transpose(1, 2)
            x = F.gelu(x)
        return x

    def freeze_filters(self) -> None:
        """Freeze the convolutions and their norms."""
        self.requires_grad_(False)

    def subsample(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features, which are the frames."""
        return features
