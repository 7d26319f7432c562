"""A bundle as a ``Pretrained`` model of SpeechBrain."""

from __future__ import annotations

import os
from typing import Any

import torch
from speechbrain.inference.interfaces import Pretrained

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.audio.silence import with_silence
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.inference.transcriber import Transcriber
from nar_asr_lobes.lobes.lengths import absolute_lengths


class BundleASR(Pretrained):
    """A trained recogniser behind the methods of ``EncoderDecoderASR``.

    ``mods.model`` is the ``NarAsr``, ``tokenizer`` the one it was trained
    with. Use ``from_hparams`` to open a bundle.

    Arguments
    ---------
    *args, **kwargs
        Those of ``Pretrained``; ``hparams`` holds "bundle" and "mode".

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> from nar_asr_lobes.decoding.modes import DecodingOptions
    >>> from nar_asr_lobes.inference.bundle import BundleCard, write_bundle
    >>> from nar_asr_lobes.lobes.model import ModelConfig, build_model
    >>> tokenizer = CharTokenizer(" ab")
    >>> model = build_model(ModelConfig.tiny(), tokenizer.size)
    >>> parts = model, tokenizer, DecodingOptions()
    >>> card = BundleCard("Tiny")
    >>> folder = write_bundle(tempfile.mkdtemp(), *parts, card=card)
    >>> asr = BundleASR.from_hparams(folder, run_opts={"device": "cpu"})
    >>> texts, tokens = asr(torch.randn(2, 16000), torch.tensor([1.0, 0.5]))
    >>> len(texts), len(tokens)
    (2, 2)
    """

    HPARAMS_NEEDED = ["bundle", "mode"]
    MODULES_NEEDED = ["model"]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        bundle = self.hparams.bundle
        self.tokenizer = bundle.tokenizer
        self.transcriber = Transcriber(bundle, self.hparams.mode, self.device)

    @classmethod
    def from_hparams(
        cls,
        source: str | os.PathLike,
        mode: str | None = None,
        savedir: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> BundleASR:
        """Open a bundle; nothing in it is run or instantiated by name.

        Arguments
        ---------
        source : str or path
            The folder that a fine-tuning wrote.
        mode : str, optional
            Decoding mode; the bundle's own by default.
        savedir : str or path, optional
            Accepted as by SpeechBrain's classes; a bundle is read in place.
        **kwargs
            ``run_opts`` and ``freeze_params`` of ``Pretrained``.

        Returns
        -------
        BundleASR

        Raises
        ------
        UserError
            For a folder that is no bundle or is damaged, or a mode that
            cannot be used.
        """
        bundle = load_bundle(source)
        hparams = {"bundle": bundle, "mode": mode}
        return cls({"model": bundle.model}, hparams, **kwargs)

    def load_audio(
        self, path: str | os.PathLike, savedir: str | os.PathLike | None = None
    ) -> torch.Tensor:
        """Read an audio file of any format as 16 kHz samples [S]."""
        return torch.from_numpy(read_audio(path)).to(self.device)

    def transcribe_file(self, path: str | os.PathLike, **kwargs: Any) -> str:
        """Transcribe an audio file of any format and length.

        Arguments
        ---------
        path : str or path
            The file; long ones are cut at pauses.
        **kwargs
            Accepted as by SpeechBrain's classes; not used.

        Returns
        -------
        str

        Raises
        ------
        AudioError
            If the file cannot be read.
        """
        return self.transcriber.transcribe(path).text

    def encode_batch(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor
    ) -> torch.Tensor:
        """Encode a batch, with gradients where parameters are not frozen.

        Arguments
        ---------
        wavs : torch.Tensor
            16 kHz samples [B, S].
        wav_lens : torch.Tensor
            Lengths relative to S, [B].

        Returns
        -------
        torch.Tensor
            States [B, T, D].
        """
        wavs = wavs.float().to(self.device)
        return self.mods.model.encode(wavs, wav_lens.to(self.device)).states

    def transcribe_batch(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor
    ) -> tuple[list[str], list[list[int]]]:
        """Transcribe a batch of utterances, up to some 30 s each.

        Arguments
        ---------
        wavs, wav_lens : torch.Tensor
            As for ``encode_batch``.

        Returns
        -------
        texts : list of str
            The text of each utterance.
        tokens : list of list of int
            Its tokens.
        """
        counts = absolute_lengths(wav_lens.cpu(), wavs.shape[1]).tolist()
        rows = [  # with the silence that a transcription of files adds
            torch.from_numpy(with_silence(wav[: max(1, count)].numpy()))
            for wav, count in zip(wavs.float().cpu(), counts, strict=True)
        ]
        lengths = torch.tensor([len(row) for row in rows])
        wavs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mode = self.transcriber.mode
        found = self.transcriber.recognizer.recognize(
            wavs.to(self.device),
            (lengths / wavs.shape[1]).to(self.device),
            [mode],
        )
        result = found.modes[mode]
        return result.texts, [list(best.tokens) for best in result.best]

    def forward(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor
    ) -> tuple[list[str], list[list[int]]]:
        """Transcribe a batch; see ``transcribe_batch``."""
        return self.transcribe_batch(wavs, wav_lens)
