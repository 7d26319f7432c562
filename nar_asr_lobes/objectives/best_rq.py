"""The model of BEST-RQ pre-training: encoder, frozen targets, classifiers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nar_asr_lobes.lobes.masking import FeatureMasker, FrameMasker
from nar_asr_lobes.lobes.model import ModelConfig, SpeechEncoder
from nar_asr_lobes.objectives.quantizer import RandomProjectionQuantizer


@dataclass(frozen=True)
class BestRqOutput:
    """What the loss needs of a batch, of M frames asked for.

    ``logits`` [M, codebooks, codes] and ``targets`` [M, codebooks]; ``soft``,
    if any, the softmax of the codes' similarities, shaped as the logits;
    ``states`` [B, T, D] and their ``lengths`` [B].
    """

    logits: torch.Tensor
    targets: torch.Tensor
    soft: torch.Tensor | None
    states: torch.Tensor
    lengths: torch.Tensor


class BestRq(nn.Module):
    """Predict the codes of hidden frames.

    Arguments
    ---------
    config : ModelConfig or dict
        The encoder's sizes.
    codebooks, codes : int
        As in ``RandomProjectionQuantizer``.
    soft_temperature : float, optional
        Of the softmax over the cosines to the codes; without it there are no
        soft targets.
    projection : str
        As in ``RandomProjectionQuantizer``.

    Example
    -------
    >>> model = BestRq(ModelConfig.tiny(), codebooks=2, codes=64)
    >>> wavs, wav_lens = torch.randn(1, 16000), torch.ones(1)
    >>> mask = torch.zeros(1, 21, dtype=torch.bool)
    >>> mask[:, 5:15] = True
    >>> out = model(wavs, wav_lens, mask, torch.arange(5, 15))
    >>> out.logits.shape, out.targets.shape
    (torch.Size([10, 2, 64]), torch.Size([10, 2]))
    """

    def __init__(
        self,
        config: ModelConfig | dict,
        codebooks: int = 1,
        codes: int = 1024,
        soft_temperature: float | None = None,
        projection: str = "random",
    ):
        super().__init__()
        if isinstance(config, dict):
            config = ModelConfig.from_dict(config)
        self.config = config
        self.codebooks = codebooks
        self.soft_temperature = soft_temperature
        self.encoder = SpeechEncoder(config)
        self.quantizer = RandomProjectionQuantizer(
            self.encoder.frontend, codebooks, codes, projection=projection
        )
        self.classifier = nn.Linear(config.d_model, codebooks * codes)

    def output_lengths(self, samples: torch.Tensor) -> torch.Tensor:
        """Count the frames of utterances of ``samples`` samples."""
        return self.encoder.frontend.output_lengths(samples)

    def forward(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        mask: torch.Tensor,
        places: torch.Tensor,
        masker: FeatureMasker | None = None,
    ) -> BestRqOutput:
        """Classify frames.

        Arguments
        ---------
        wavs : torch.Tensor
            16 kHz samples, shape [B, S].
        wav_lens : torch.Tensor
            Relative lengths in [0, 1], shape [B].
        mask : torch.Tensor
            True where a frame is hidden, shape [B, T].
        places : torch.Tensor
            The frames asked for, as places in the flattened mask, shape [M];
            found where the mask was drawn, for on a GPU the search would have
            to wait for all that was queued.
        masker : callable, optional
            Masks the stem's features further (SpecAugment).

        Returns
        -------
        BestRqOutput
        """
        projected = self.quantizer.project(wavs, wav_lens)
        similarities = self.quantizer.similarities(_take(projected, places))
        soft = None
        if self.soft_temperature is not None:
            soft = (similarities / self.soft_temperature).softmax(-1)
        subsampling = self.encoder.frontend.stem.subsampling
        hide = FrameMasker(mask, subsampling, before=masker)
        states, lengths = self.encoder(wavs, wav_lens, hide)
        logits = self.classifier(_take(states, places))
        return BestRqOutput(
            logits=logits.unflatten(-1, (self.codebooks, -1)),
            targets=similarities.argmax(-1),
            soft=soft,
            states=states,
            lengths=lengths,
        )


def _take(frames: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Take frames [B, T, ...] at places [M] of the flattened [B T]."""
    return frames.flatten(0, 1).index_select(0, places)
