"""SpeechBrain's BEST-RQ with the sizes of its recipe, out of its own classes.

wav -> Fbank, normalised -> hidden frames become noise -> two convolutions
    -> Conformer, 12 x 576 -> linear, 8192 codes
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from speechbrain.core import Brain
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.BESTRQ import brq_mask_collate_fn
from speechbrain.lobes.models.convolution import ConvolutionFrontEnd
from speechbrain.lobes.models.transformer.TransformerASR import (
    EncoderWrapper,
    TransformerASR,
)
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.quantisers import RandomProjectionQuantizer
from speechbrain.processing.features import InputNormalization
from torch import nn
from torch.nn import functional as F

MELS, STACK, WIDTH, CODES = 80, 4, 576, 8192
MASK_SHARE, MASK_LENGTH, NOISE = 0.15, 4, 0.1


def collate(wavs: list[np.ndarray]) -> tuple:
    """Pad and draw the mask with the recipe's own function."""
    samples = [
        {"id": str(i), "sig": torch.from_numpy(wav)}
        for i, wav in enumerate(wavs)
    ]
    return brq_mask_collate_fn(
        samples,
        get_out_len_fn=lambda samples: samples // 160 + 1,
        mask_prob=MASK_SHARE,
        mask_length=MASK_LENGTH,
        n_mels=MELS,
    )


def make_modules() -> dict[str, nn.Module]:
    """Build the recipe's modules."""
    transformer = TransformerASR(
        input_size=640,
        tgt_vocab=2048,
        d_model=WIDTH,
        nhead=8,
        num_encoder_layers=12,
        num_decoder_layers=0,
        d_ffn=2048,
        dropout=0.1,
        activation=nn.GELU,
        conformer_activation=nn.GELU,
        encoder_module="conformer",
        attention_type="RelPosMHAXL",
        normalize_before=True,
        causal=False,
        layerdrop_prob=0.0,
    )
    return {
        "CNN": ConvolutionFrontEnd(
            input_shape=(8, 10, MELS),
            num_blocks=2,
            num_layers_per_block=1,
            out_channels=(128, 32),
            kernel_sizes=(3, 3),
            strides=(2, 2),
            residuals=(False, False),
        ),
        "wrapper": EncoderWrapper(transformer),
        "Quantizer": RandomProjectionQuantizer(
            input_dim=MELS * STACK, cb_dim=16, cb_vocab=CODES
        ),
        "normalize": InputNormalization(norm_type="sentence"),
        "features": Fbank(sample_rate=16000, n_fft=400, n_mels=MELS),
        "linear": Linear(input_size=WIDTH, n_neurons=CODES),
    }


class BestRqBrain(Brain):
    """Predicts the codes of the hidden frames."""

    def compute_forward(self, batch, stage):
        """Give logits [M, codes] and targets [M] of the hidden frames."""
        wavs, wav_lens, mask = (part.to(self.device) for part in batch)
        modules = self.modules
        features = modules.normalize(modules.features(wavs), wav_lens, epoch=1)
        features = F.pad(features, (0, 0, -features.shape[1] % STACK, 0))
        hidden = mask[::STACK] // STACK  # among the encoder's frames
        stacked = features.unflatten(1, (-1, STACK)).flatten(2)
        targets = modules.Quantizer(stacked[:, hidden])
        features[:, mask] = NOISE * torch.randn_like(features[:, mask])
        states = modules.wrapper(modules.CNN(features), wav_lens)
        logits = modules.linear(states)[:, hidden]
        return logits.flatten(0, 1), targets.flatten()

    def compute_objectives(self, predictions, batch, stage):
        """Mean cross-entropy."""
        return F.cross_entropy(*predictions)


def make_brain(device: str, precision: str, optimizer: Callable) -> Brain:
    """Give the modules to a Brain, as the recipe does."""
    options = {"device": device, "precision": precision, "max_grad_norm": 10.0}
    return BestRqBrain(make_modules(), optimizer, run_opts=options)
