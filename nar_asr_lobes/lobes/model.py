"""The recogniser: encoder, CTC head and parallel decoder.

wavs [B, S] -> SpeechEncoder -> states [B, T, D] -> CTC head -> [B, T, V]
                                       |
                       tokens [B, U] -> NarDecoder -> [B, U, V]

``SpeechEncoder`` is the part that pre-training and fine-tuning share.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nar_asr_lobes.lobes.alignment import token_frames
from nar_asr_lobes.lobes.config import ENCODERS, STEMS, ModelConfig
from nar_asr_lobes.lobes.encoder import LayerHook
from nar_asr_lobes.lobes.frontend import WaveformFrontend
from nar_asr_lobes.lobes.masking import MaskFn
from nar_asr_lobes.lobes.nar_decoder import NarDecoder
from nar_asr_lobes.lobes.stems import SAMPLE_RATE


@dataclass
class EncoderOutput:
    """Encoder states and CTC predictions of a batch.

    ``states`` [B, T, D]; ``lengths`` [B] valid frames; ``log_probs``
    [B, T, V] of the CTC head; ``inter_log_probs``, those of the intermediate
    CTC layers.
    """

    states: torch.Tensor
    lengths: torch.Tensor
    log_probs: torch.Tensor
    inter_log_probs: list[torch.Tensor]


class SpeechEncoder(nn.Module):
    """Waveform to states: the part that is pre-trained.

    Arguments
    ---------
    config : ModelConfig
        The sizes.

    Example
    -------
    >>> encoder = SpeechEncoder(ModelConfig.tiny())
    >>> states, lengths = encoder(torch.randn(1, 16000), torch.ones(1))
    >>> states.shape, lengths.tolist()
    (torch.Size([1, 23, 32]), [23])
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.frontend = WaveformFrontend(
            STEMS[config.stem].from_config(config),
            config.stem_channels,
            config.d_model,
            config.dropout,
            config.frame_norm,
            config.normalize_audio,
        )
        self.layers = ENCODERS[config.encoder].from_config(config)

    def forward(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        mask_fn: MaskFn | None = None,
        hook: LayerHook | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states [B, T, D] and their valid lengths [B]."""
        frames, lengths = self.frontend(wavs, wav_lens, mask_fn)
        return self.layers(frames, lengths, hook), lengths


def _make_decoder(config: ModelConfig, vocab_size: int) -> NarDecoder | None:
    if config.decoder_layers == 0:
        return None
    return NarDecoder(
        vocab_size,
        config.decoder_layers,
        config.d_model,
        config.decoder_heads_used,
        config.decoder_ffn_dim or config.ffn_dim,
        config.dropout,
    )


class NarAsr(nn.Module):
    """Encoder, CTC head and non-autoregressive decoder.

    ``decoder`` is None where the configuration has no decoder layers.

    Arguments
    ---------
    config : ModelConfig
        The sizes; kept as ``config``.
    vocab_size : int
        V, the tokenizer's size, with the blank at 0.

    Example
    -------
    >>> model = build_model(ModelConfig.tiny(), vocab_size=12).eval()
    >>> encoded = model.encode(torch.randn(1, 16000), torch.ones(1))
    >>> encoded.log_probs.shape
    torch.Size([1, 23, 12])
    >>> tokens = torch.tensor([[3, model.mask_id]])
    >>> model.decode(encoded, tokens, torch.tensor([2])).shape
    torch.Size([1, 2, 12])
    """

    def __init__(self, config: ModelConfig, vocab_size: int):
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.mask_id = vocab_size
        self.encoder = SpeechEncoder(config)
        self.ctc_head = nn.Linear(config.d_model, vocab_size)
        self.inter_head = (
            nn.Linear(config.d_model, config.inter_vocab_size)
            if config.inter_vocab_size
            else None
        )
        for head in (self.ctc_head, self.inter_head):
            if head is not None:
                nn.init.zeros_(head.bias)  # marks a new head
        self.condition = (
            nn.Linear(config.inter_vocab_size or vocab_size, config.d_model)
            if config.self_condition
            else None
        )
        if self.condition is not None:
            # Zero, so that a pre-trained encoder starts unchanged.
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)
        self.decoder = _make_decoder(config, vocab_size)

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.encoder.frontend.stem.hop_length / SAMPLE_RATE

    def output_lengths(self, samples: torch.Tensor) -> torch.Tensor:
        """Count the frames of utterances of ``samples`` samples."""
        return self.encoder.frontend.output_lengths(samples)

    def _ctc(self, states: torch.Tensor, head: nn.Linear) -> torch.Tensor:
        return torch.log_softmax(head(states).float(), dim=-1)

    def encode(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        mask_fn: MaskFn | None = None,
    ) -> EncoderOutput:
        """Encode waveforms and apply the CTC head.

        Arguments
        ---------
        wavs : torch.Tensor
            16 kHz samples, shape [B, S].
        wav_lens : torch.Tensor
            Relative lengths in [0, 1], shape [B].
        mask_fn : callable, optional
            Masks the stem's features (training only).

        Returns
        -------
        EncoderOutput
            States, lengths and log-probabilities.
        """
        inter = []
        inter_head = self.inter_head or self.ctc_head

        def inter_ctc(number: int, x: torch.Tensor) -> torch.Tensor:
            if number not in self.config.inter_ctc_layers:
                return x
            normed = self.encoder.layers.output_norm(x)
            inter.append(self._ctc(normed, inter_head))
            if self.condition is None:
                return x
            return x + self.condition(inter[-1].exp().to(x.dtype))

        states, lengths = self.encoder(wavs, wav_lens, mask_fn, inter_ctc)
        log_probs = self._ctc(states, self.ctc_head)
        return EncoderOutput(states, lengths, log_probs, inter)

    def decode(
        self,
        encoded: EncoderOutput,
        tokens: torch.Tensor,
        token_lens: torch.Tensor,
        target_frames: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict all tokens in parallel; see ``NarDecoder.forward``."""
        return self.decoder(
            tokens, token_lens, encoded.states, encoded.lengths, target_frames
        )

    def forward(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        tokens: torch.Tensor,
        token_lens: torch.Tensor,
        mask: torch.Tensor,
        mask_fn: MaskFn | None = None,
    ) -> tuple[EncoderOutput, torch.Tensor | None]:
        """Encode and decode in one call, as training under DDP needs it.

        Arguments
        ---------
        wavs, wav_lens, mask_fn :
            As for ``encode``.
        tokens : torch.Tensor
            Reference tokens, shape [B, U].
        token_lens : torch.Tensor
            Their number, shape [B].
        mask : torch.Tensor
            True where the token is masked for the decoder, shape [B, U].

        Returns
        -------
        encoded : EncoderOutput
        log_probs : torch.Tensor or None
            The decoder's, shape [B, U, V]; None without a decoder.
        """
        encoded = self.encode(wavs, wav_lens, mask_fn)
        if self.decoder is None:
            return encoded, None
        frames = token_frames(
            encoded.log_probs, encoded.lengths, tokens, token_lens
        )
        masked = tokens.masked_fill(mask, self.mask_id)
        return encoded, self.decode(encoded, masked, token_lens, frames)


def build_model(config: ModelConfig | dict, vocab_size: int) -> NarAsr:
    """Build a recogniser.

    Arguments
    ---------
    config : ModelConfig or dict
        The sizes; a dictionary's unknown key is a ``UserError``.
    vocab_size : int
        The tokenizer's size.

    Returns
    -------
    NarAsr
        With random weights.

    Example
    -------
    >>> build_model({"d_model": 32, "heads": 2}, 12).config.d_model
    32
    """
    if isinstance(config, dict):
        config = ModelConfig.from_dict(config)
    return NarAsr(config, vocab_size)
