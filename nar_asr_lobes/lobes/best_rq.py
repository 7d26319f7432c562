"""The model of BEST-RQ pre-training: encoder, frozen targets, classifiers."""

from __future__ import annotations

import torch
from torch import nn

from nar_asr_lobes.lobes.frontend import FeatureMasker
from nar_asr_lobes.lobes.masking import FrameMasker
from nar_asr_lobes.lobes.model import ModelConfig, SpeechEncoder
from nar_asr_lobes.lobes.quantizer import RandomProjectionQuantizer


class BestRq(nn.Module):
    """Predict the codes of hidden frames.

    Arguments
    ---------
    config : ModelConfig or dict
        The encoder's sizes.
    codebooks, codes : int
        As in ``RandomProjectionQuantizer``.

    Example
    -------
    >>> model = BestRq(ModelConfig.tiny(), codebooks=2, codes=64)
    >>> wavs, wav_lens = torch.randn(1, 16000), torch.ones(1)
    >>> mask = torch.zeros(1, 21, dtype=torch.bool)
    >>> mask[:, 5:15] = True
    >>> logits, targets = model(wavs, wav_lens, mask)
    >>> logits.shape, targets.shape
    (torch.Size([10, 2, 64]), torch.Size([10, 2]))
    """

    def __init__(
        self,
        config: ModelConfig | dict,
        codebooks: int = 1,
        codes: int = 1024,
    ):
        super().__init__()
        if isinstance(config, dict):
            config = ModelConfig.from_dict(config)
        self.config = config
        self.codebooks = codebooks
        self.encoder = SpeechEncoder(config)
        self.quantizer = RandomProjectionQuantizer(
            self.encoder.frontend, codebooks, codes
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
        masker: FeatureMasker | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify the hidden frames.

        Arguments
        ---------
        wavs : torch.Tensor
            16 kHz samples, shape [B, S].
        wav_lens : torch.Tensor
            Relative lengths in [0, 1], shape [B].
        mask : torch.Tensor
            True where a frame is hidden, shape [B, T].
        masker : callable, optional
            Masks the stem's features further (SpecAugment).

        Returns
        -------
        logits : torch.Tensor
            Of the M hidden frames, shape [M, codebooks, codes].
        targets : torch.Tensor
            Their codes, shape [M, codebooks].
        """
        targets = self.quantizer(wavs, wav_lens)[mask]
        hide = FrameMasker(mask, self.encoder.frontend.stem.subsampling)

        def hide_all(
            features: torch.Tensor, lengths: torch.Tensor
        ) -> torch.Tensor:
            if masker is not None:
                features = masker(features, lengths)
            return hide(features, lengths)

        states, _ = self.encoder(wavs, wav_lens, hide_all)
        logits = self.classifier(states[mask])
        return logits.unflatten(-1, (self.codebooks, -1)), targets
