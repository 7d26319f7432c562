"""SpeechBrain's lobes as its recipes for CTC and for CTC/attention join them.

    wavs [B, S] -> Fbank -> InputNormalization -> SpectrogramDrop
      -> ConvolutionFrontEnd (4 times shorter) -> Conformer -> CTC [B, T, V]
                                             \\-> Transformer decoder [B, U, V]

Sizes are those of its conformer_small.yaml with 6 layers and feed-forward
layers of 4 times the width.
"""

from __future__ import annotations

import torch
from speechbrain.augment.freq_domain import SpectrogramDrop
from speechbrain.augment.time_domain import SpeedPerturb
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.convolution import ConvolutionFrontEnd
from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.losses import ctc_loss, kldiv_loss
from speechbrain.processing.features import InputNormalization

from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE

BLANK = PAD = 0
CTC_WEIGHT = 0.3
FRAME_SECONDS = 0.04
_MELS, _WIDTH, _HEADS, _FFN, _LAYERS = 80, 144, 4, 576, 6


class SpeechBrainModel(torch.nn.Module):
    """Conformer with a CTC head and, where it has layers, a decoder.

    Arguments
    ---------
    pieces : int
        Size of the tokenizer, the blank included. A decoder has two more,
        begin and end of a sentence.
    decoder_layers : int
        0 for CTC alone.
    """

    def __init__(self, pieces: int, decoder_layers: int = 0):
        super().__init__()
        self.pieces, self.decoder_layers = pieces, decoder_layers
        self.begin, self.end = pieces, pieces + 1
        outputs = pieces + 2 if decoder_layers else pieces
        self.speed = SpeedPerturb(SAMPLE_RATE, [95, 100, 105])
        self.features = Fbank(sample_rate=SAMPLE_RATE, n_fft=400, n_mels=_MELS)
        self.normalize = InputNormalization(norm_type="sentence")
        self.drops = torch.nn.ModuleList(
            SpectrogramDrop(low, high, 1, 2, replace="mean", dim=dim)
            for low, high, dim in ((5, 25, 1), (5, 15, 2))
        )
        self.cnn = ConvolutionFrontEnd(
            (8, 10, _MELS),
            num_blocks=2,
            num_layers_per_block=1,
            out_channels=(64, 32),
            kernel_sizes=(3, 3),
            strides=(2, 2),
            residuals=(False, False),
        )
        self.transformer = TransformerASR(
            input_size=640,
            tgt_vocab=outputs,
            d_model=_WIDTH,
            nhead=_HEADS,
            num_encoder_layers=_LAYERS,
            num_decoder_layers=decoder_layers,
            d_ffn=_FFN,
            dropout=0.1,
            activation=torch.nn.GELU,
            encoder_module="conformer",
            attention_type="RelPosMHAXL",
            normalize_before=True,
            causal=False,
        )
        self.ctc_lin = Linear(input_size=_WIDTH, n_neurons=outputs)
        if decoder_layers:
            self.seq_lin = Linear(input_size=_WIDTH, n_neurons=outputs)

    def front_end(
        self, wavs: torch.Tensor, lengths: torch.Tensor, augment: bool
    ) -> torch.Tensor:
        """Turn wavs [B, S] into frames [B, T, 20, 32]."""
        with torch.no_grad():
            if augment:
                wavs = self.speed(wavs)
            frames = self.normalize(self.features(wavs), lengths)
            for drop in self.drops if augment else ():
                frames = drop(frames)
        return self.cnn(frames)

    def encode(self, wavs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Encode wavs [B, S] without augmentation as [B, T, D]."""
        frames = self.front_end(wavs, lengths, augment=False)
        return self.transformer.encode(frames, lengths)

    def ctc(self, encoded: torch.Tensor) -> torch.Tensor:
        """Give the log posteriors of the tokenizer's pieces [B, T, V]."""
        logits = self.ctc_lin(encoded).float()
        return logits[..., : self.pieces].log_softmax(dim=-1)

    def loss(
        self,
        wavs: torch.Tensor,
        lengths: torch.Tensor,
        tokens: list[torch.Tensor],
        augment: bool,
    ) -> dict[str, torch.Tensor]:
        """Give the losses of a batch; "loss" is the one to minimise."""
        targets, target_lengths = _padded(tokens)
        frames = self.front_end(wavs, lengths, augment)
        if not self.decoder_layers:
            encoded, _ = self.transformer(frames, None, lengths, PAD)
            loss = self._ctc_loss(encoded, targets, lengths, target_lengths)
            return {"loss": loss, "ctc": loss.detach()}
        begin, end = torch.tensor([self.begin]), torch.tensor([self.end])
        inputs, _ = _padded([torch.cat([begin, row]) for row in tokens])
        outputs, output_lengths = _padded(
            [torch.cat([row, end]) for row in tokens]
        )
        encoded, decoded = self.transformer(frames, inputs, lengths, PAD)
        ctc = self._ctc_loss(encoded, targets, lengths, target_lengths)
        log_probs = self.seq_lin(decoded).float().log_softmax(dim=-1)
        attention = kldiv_loss(
            log_probs, outputs, output_lengths, reduction="batchmean"
        )
        loss = CTC_WEIGHT * ctc + (1 - CTC_WEIGHT) * attention
        parts = {"ctc": ctc.detach(), "attention": attention.detach()}
        return {"loss": loss, **parts}

    def _ctc_loss(self, encoded, targets, lengths, target_lengths):
        log_probs = self.ctc_lin(encoded).float().log_softmax(dim=-1)
        return ctc_loss(
            log_probs, targets, lengths, target_lengths, BLANK, "batchmean"
        )


def _padded(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad with the blank's index; return also the relative lengths."""
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return padded, torch.tensor([len(r) for r in rows]) / padded.shape[1]
