"""The model of wav2vec 2.0 pre-training: encoder and Gumbel quantiser.

wavs [B, S] -> stem features -> hidden frames zeroed -> SpeechEncoder -> states
                    |                                         |
                    +-> whole frames -> Gumbel quantiser      +-> contexts
                                             -> targets           [B, N, P]

Baevski et al., https://arxiv.org/abs/2006.11477. Hidden frames are hidden as
for BEST-RQ: every stem feature that such a frame reads is zeroed, before the
subsampling convolutions, where the paper puts a learned vector in the place of
the finished frame. The frames of the Gabor stem overlap by 9 of their 13
features: with the paper's way the seen neighbours would give the edges of a
span away. What a frame of zeros becomes is learned too, by the biases of the
convolutions and of the norm. The targets' frames take a second pass of the
subsampling convolutions, a small part of the stem (and none for wav2vec 2.0's).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.lobes.masking import FeatureMasker, FrameMasker
from nar_asr_lobes.lobes.model import ModelConfig, SpeechEncoder


@dataclass(frozen=True)
class Quantized:
    """Code vectors [..., G * code_dim], codes [..., G], softmax [..., G, V]."""

    vectors: torch.Tensor
    codes: torch.Tensor
    probabilities: torch.Tensor


class GumbelQuantizer(nn.Module):
    """Choose a code of each group, with a gradient for what was not chosen.

    Forward the choice is hard; backward it is the softmax that it was drawn
    from (Jang et al., https://arxiv.org/abs/1611.01144).

    Arguments
    ---------
    width : int
        Of the frames.
    groups, codes : int
        G codebooks of V codes each.
    code_dim : int
        Width of a group's code vectors.

    Example
    -------
    >>> quantizer = GumbelQuantizer(16, groups=2, codes=8, code_dim=4)
    >>> quantized = quantizer(torch.randn(1, 5, 16), temperature=2.0)
    >>> quantized.vectors.shape, quantized.codes.shape
    (torch.Size([1, 5, 8]), torch.Size([1, 5, 2]))
    """

    def __init__(self, width: int, groups: int, codes: int, code_dim: int):
        super().__init__()
        self.groups = groups
        self.scores = nn.Linear(width, groups * codes)
        # A third of fairseq's: its softmax is so sure of itself that in short
        # runs the diversity loss has no gradient, and few codes are left.
        nn.init.normal_(self.scores.weight, std=0.3)
        nn.init.zeros_(self.scores.bias)
        self.book = nn.Parameter(torch.rand(groups, codes, code_dim))

    def forward(
        self, frames: torch.Tensor, temperature: float | None
    ) -> Quantized:
        """Quantise frames [..., width], in float32.

        ``temperature`` is that of the Gumbel softmax, whose noise comes from
        torch's global generator; None takes the best code, without noise.
        """
        with torch.autocast(frames.device.type, enabled=False):
            scores = self.scores(frames.float())
            scores = scores.unflatten(-1, (self.groups, -1))
            noisy = scores
            if temperature is not None:
                waits = torch.empty_like(scores).exponential_()
                noise = -waits.clamp_min(1e-30).log()  # a 0 may be drawn
                noisy = (scores + noise) / temperature
            codes = noisy.argmax(-1)
            choice = torch.zeros_like(scores).scatter_(
                -1, codes.unsqueeze(-1), 1.0
            )
            if temperature is not None:
                soft = noisy.softmax(-1)
                choice = choice + (soft - soft.detach())
            vectors = torch.einsum("...gv,gvd->...gd", choice, self.book)
            return Quantized(vectors.flatten(-2), codes, scores.softmax(-1))


@dataclass(frozen=True)
class Wav2Vec2Output:
    """What the losses need of a batch.

    ``contexts`` and ``targets`` [B, N, P] of the frames asked for, ``codes``
    [B, N, G] of the targets; ``probabilities`` [G, V], the softmax over the
    codes averaged over the batch's hidden frames; ``penalty``, the mean square
    of the stem's frames summed over valid ones; ``states`` [B, T, D] and their
    ``lengths`` [B].
    """

    contexts: torch.Tensor
    targets: torch.Tensor
    codes: torch.Tensor
    probabilities: torch.Tensor
    penalty: torch.Tensor
    states: torch.Tensor
    lengths: torch.Tensor


class Wav2Vec2(nn.Module):
    """Compare hidden frames with quantised ones.

    Arguments
    ---------
    config : ModelConfig or dict
        The encoder's sizes.
    groups, codes, code_dim : int
        As in ``GumbelQuantizer``.
    width : int
        P, of the vectors that are compared.

    Example
    -------
    >>> model = Wav2Vec2(ModelConfig.tiny(), 2, 8, code_dim=4, width=16)
    >>> wavs, wav_lens = torch.randn(1, 16000), torch.ones(1)
    >>> mask = torch.zeros(1, 21, dtype=torch.bool)
    >>> mask[:, 5:15] = True
    >>> out = model(wavs, wav_lens, mask, torch.arange(5, 15)[None])
    >>> out.contexts.shape, out.targets.shape, out.codes.shape
    (torch.Size([1, 10, 16]), torch.Size([1, 10, 16]), torch.Size([1, 10, 2]))
    """

    def __init__(
        self,
        config: ModelConfig | dict,
        groups: int = 2,
        codes: int = 320,
        code_dim: int = 128,
        width: int = 256,
    ):
        super().__init__()
        if isinstance(config, dict):
            config = ModelConfig.from_dict(config)
        self.config = config
        self.encoder = SpeechEncoder(config)
        self.quantizer = GumbelQuantizer(
            config.stem_channels, groups, codes, code_dim
        )
        self.target = nn.Linear(groups * code_dim, width)
        self.context = nn.Linear(config.d_model, width)

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
        temperature: float | None = None,
    ) -> Wav2Vec2Output:
        """Give contexts and targets of the frames asked for.

        Arguments
        ---------
        wavs : torch.Tensor
            16 kHz samples, shape [B, S].
        wav_lens : torch.Tensor
            Relative lengths in [0, 1], shape [B].
        mask : torch.Tensor
            True where a frame is hidden, shape [B, T].
        places : torch.Tensor
            The frames asked for of each utterance, shape [B, N], filled up with
            others.
        masker : callable, optional
            Masks the stem's features further (SpecAugment).
        temperature : float, optional
            See ``GumbelQuantizer``.

        Returns
        -------
        Wav2Vec2Output
        """
        frontend = self.encoder.frontend
        hide = FrameMasker(mask, frontend.stem.subsampling, before=masker)
        whole = []  # the stem's frames, with nothing hidden

        def keep_and_hide(features: torch.Tensor) -> torch.Tensor:
            whole.append(frontend.stem.subsample(features).mT)
            return hide(features)

        states, lengths = self.encoder(wavs, wav_lens, keep_and_hide)
        [frames] = whole
        quantized = self.quantizer(
            frontend.norm(_take(frames, places)), temperature
        )
        hidden = mask.gather(1, places)
        used = quantized.probabilities * hidden[..., None, None]
        squares = frames.float().square().mean(-1)
        return Wav2Vec2Output(
            contexts=self.context(_take(states, places)),
            targets=self.target(quantized.vectors),
            codes=quantized.codes,
            probabilities=used.sum((0, 1)) / hidden.sum().clamp_min(1),
            penalty=(squares * valid_mask(lengths, squares.shape[1])).sum(),
            states=states,
            lengths=lengths,
        )


def _take(frames: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Take frames [B, T, D] at places [B, N]."""
    index = places.unsqueeze(-1).expand(-1, -1, frames.shape[-1])
    return frames.gather(1, index)
