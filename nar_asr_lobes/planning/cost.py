"""Parameters and operations of a BEST-RQ pre-training, from its sizes.

ModelConfig, objective -> PretrainModel -> tensors, FLOPs of an utterance

A multiplication and an addition are two operations; those of matrix products
and convolutions are counted, as torch's FlopCounterMode does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.stems import SAMPLE_RATE
from nar_asr_lobes.objectives.best_rq import BestRqObjective
from nar_asr_lobes.objectives.quantizer import MELS, WINDOW
from nar_asr_lobes.training.config import RunConfig

_MAPS = 32  # channels of its convolutions over frequency and time
_SPECTRUM, _STACK, _CODE_DIM = 201, 4, 16  # of the quantiser


@dataclass(frozen=True)
class Operations:
    """Operations of a forward pass and of the backward pass."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """Both passes."""
        return self.forward + self.backward

    def __add__(self, other: Operations) -> Operations:
        """Add those of another part."""
        return Operations(
            self.forward + other.forward, self.backward + other.backward
        )


@dataclass(frozen=True)
class PretrainModel:
    """An encoder with the classifier of BEST-RQ.

    Arguments
    ---------
    config : ModelConfig
        Sizes; ``stem: gabor`` and ``encoder: conformer``.
    codebooks, codes : int
        Of the objective.
    predicted : float
        Share of the frames whose codes are predicted.
    frozen : str
        Frozen part, as ``freeze`` of a run.

    Example
    -------
    >>> model = PretrainModel(ModelConfig.tiny(), 4, 1024, 0.3, "filters")
    >>> model.parameters, model.trained
    (198248, 182128)
    >>> f"{model.operations(10.0).total / 10:.2e}"
    '3.52e+07'
    """

    config: ModelConfig
    codebooks: int
    codes: int
    predicted: float
    frozen: str = "filters"

    def filter_tensors(self) -> list[int]:
        """Count the elements of the tensors that read the waveform."""
        filters = self.config.stem_filters
        return [2 * filters * WINDOW, 6 * filters]

    def frontend_tensors(self) -> list[int]:
        """Count those of the tensors between filters and encoder."""
        filters, channels = self.config.stem_filters, self.config.stem_channels
        width = self.config.d_model
        convolutions = [9 * _MAPS, _MAPS, 9 * _MAPS**2, _MAPS]
        linear = [_MAPS * self._bands()[1] * channels, channels]
        projection = [channels, channels, channels * width, width]
        return [filters, filters, *convolutions, *linear, *projection]

    def layer_tensors(self) -> list[int]:
        """Count those of the tensors of an encoder layer, in order."""
        width, inner = self.config.d_model, self.config.ffn_dim
        norm = [width, width]
        feed_forward = [width * inner, inner, width * inner, width]
        attention = [width**2, width, 2 * width**2, 2 * width]
        attention += [width**2, width]
        convolution = [2 * width**2, 2 * width]
        convolution += [self.config.conv_kernel * width, width]
        convolution += [*norm, width**2, width]
        return [
            *(*norm, *feed_forward),
            *(*norm, *attention),
            *(*norm, *convolution),
            *(*norm, *feed_forward),
        ]

    def trained_tensors(self) -> list[int]:
        """Count the elements of each trained tensor, in order."""
        found = [] if self.frozen != "none" else self.filter_tensors()
        if self.frozen != "frontend":
            found += self.frontend_tensors()
        outputs, width = self.codebooks * self.codes, self.config.d_model
        found += self.layer_tensors() * self.config.encoder_layers
        return [*found, width, width, width * outputs, outputs]

    @property
    def trained(self) -> int:
        """Number of trained parameters."""
        return sum(self.trained_tensors())

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        frozen = self.filter_tensors() if self.frozen != "none" else []
        if self.frozen == "frontend":
            frozen += self.frontend_tensors()
        return self.trained + sum(frozen)

    def frames(self, seconds: float) -> int:
        """Count the encoder's frames of an utterance."""
        return self._lengths(seconds)[-1]

    def operations(self, seconds: float) -> Operations:
        """Count the operations of one utterance."""
        *_, frames = self._lengths(seconds)
        width, outputs = self.config.d_model, self.codebooks * self.codes
        classifier = 2 * width * outputs * self.predicted * frames
        layers = self.config.encoder_layers * self._layer(frames)
        learned = layers + classifier
        return (
            self._frontend(seconds)
            + Operations(learned, 2 * learned)
            + Operations(self._quantizer(seconds), 0)
        )

    def _bands(self) -> tuple[int, int]:
        first = math.ceil(self.config.stem_filters / 2)
        return first, math.ceil(first / 2)

    def _lengths(self, seconds: float) -> tuple[int, int, int, int]:
        """Count filter positions, features, and frames of both convolutions."""
        found = [round(seconds * SAMPLE_RATE)]
        for kernel, stride in ((WINDOW, 80), (6, 2), (3, 2), (3, 2)):
            found.append(max(0, (found[-1] - kernel) // stride + 1))
        return tuple(found[1:])

    def _layer(self, frames: int) -> float:
        width, inner = self.config.d_model, self.config.ffn_dim
        products = 7 * width**2 + 4 * width * inner
        convolution = self.config.conv_kernel * width
        return 2 * frames * (products + convolution + 2 * frames * width)

    def _frontend(self, seconds: float) -> Operations:
        positions, features, middle, frames = self._lengths(seconds)
        first, second = self._bands()
        config = self.config
        gabor, lowpass = self.filter_tensors()
        gabor, lowpass = 2 * gabor * positions, 2 * lowpass * features
        convolutions = 2 * 9 * _MAPS * first * middle
        convolutions += 2 * 9 * _MAPS**2 * second * frames
        linear = 2 * frames * config.stem_channels
        linear *= _MAPS * second + config.d_model
        behind = convolutions + linear
        filters = self.frozen == "none"
        # Nothing is propagated into the waveform.
        return (
            Operations(gabor, filters * gabor)
            + Operations(lowpass, 2 * filters * lowpass)
            + Operations(behind, 2 * (self.frozen != "frontend") * behind)
        )

    def _quantizer(self, seconds: float) -> float:
        frames = self.frames(seconds)
        spectra = round(seconds * SAMPLE_RATE - WINDOW) // 160 + 1
        stack = 2 * _STACK * MELS * self.codebooks * _CODE_DIM
        search = 2 * _CODE_DIM * self.codebooks * self.codes * self.predicted
        return 2 * _SPECTRUM * MELS * spectra + (stack + search) * frames


def pretrain_model(config: RunConfig) -> PretrainModel:
    """Take the sizes of a run; refuse one that is not counted here."""
    objective, sizes = config.objective, config.model
    if not isinstance(objective, BestRqObjective):
        raise UserError(
            "plan counts pre-trainings with BEST-RQ only; name such a YAML"
        )
    if (sizes.stem, sizes.encoder) != ("gabor", "conformer"):
        raise UserError(
            "plan counts stem: gabor with encoder: conformer only, not "
            f"{sizes.stem} with {sizes.encoder}"
        )
    if config.freeze_layers:
        raise UserError("plan counts no freeze_layers; leave it out")
    # Spans overlap; all frames are predicted where unmasked ones count too.
    share = 1.0 if objective.unmasked else 1 - math.exp(-objective.mask_prob)
    return PretrainModel(
        sizes, objective.codebooks, objective.codes, share, config.freeze
    )
