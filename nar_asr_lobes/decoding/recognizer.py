"""All modes of recognition over one encoder pass.

    wavs [B, S] -> encode, once -> CTC posteriors and states
        -> a mode: greedy, NAR decoder, a beam, re-scoring -> texts [B]

Each mode's own seconds are measured, so its real-time factor is
(encoder seconds + its seconds) / seconds of audio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.modes import find_mode, possible_modes
from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
    from nar_asr_lobes.decoding.hotwords.tables import HotWords
    from nar_asr_lobes.lobes.model import EncoderOutput, NarAsr


@dataclass(frozen=True)
class ModeResult:
    """What one mode found for a batch.

    Arguments
    ---------
    nbest : list of list of Hypothesis
        Per utterance, best first; a single one for greedy and mask-predict.
    texts : list of str
        The best hypotheses as text.
    seconds : float
        Time of everything the mode did behind the encoder, results it shares
        with another mode included.
    """

    nbest: list[list[Hypothesis]]
    texts: list[str]
    seconds: float

    @property
    def best(self) -> list[Hypothesis]:
        """The best hypothesis of each utterance, in the batch's order."""
        return [hypotheses[0] for hypotheses in self.nbest]


@dataclass(frozen=True)
class Recognition:
    """What all requested modes found for a batch.

    Arguments
    ---------
    modes : dict of str to ModeResult
        The result of each mode requested.
    encoder_seconds : float
        Time of the encoder pass they share.
    encoded : EncoderOutput
        Its output, for alignments or for tuning.
    """

    modes: dict[str, ModeResult]
    encoder_seconds: float
    encoded: EncoderOutput


class Recognizer:
    """Recognises batches of speech in one or several modes.

    Arguments
    ---------
    model : NarAsr
        The model; put into evaluation mode whenever it is used.
    tokenizer : Tokenizer
        The tokenizer it was fine-tuned with.
    options : DecodingOptions or None
        The options of each mode; None for the defaults.
    lms : LanguageModels or None
        Language models over the tokenizer's pieces; None for none.
    hot_words : HotWords or None
        Phrases to prefer in the modes of ``hot_word_modes``.

    Raises
    ------
    UserError
        If the tokenizer's size is not the model's.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> from nar_asr_lobes.lobes.model import ModelConfig, build_model
    >>> tokenizer = CharTokenizer(" ab")
    >>> model = build_model(ModelConfig.tiny(), tokenizer.size)
    >>> recognizer = Recognizer(model, tokenizer)
    >>> found = recognizer.recognize(torch.randn(2, 8000), torch.ones(2))
    >>> list(found.modes), len(found.modes["nar"].texts)
    (['ctc_greedy', 'nar', 'beam5'], 2)
    """

    def __init__(
        self,
        model: NarAsr,
        tokenizer: Tokenizer,
        options: DecodingOptions | None = None,
        lms: LanguageModels | None = None,
        hot_words: HotWords | None = None,
    ):
        if tokenizer.size != model.vocab_size:
            raise UserError(
                f"the tokenizer has {tokenizer.size} pieces but the model "
                f"{model.vocab_size} outputs; use the tokenizer it was "
                "fine-tuned with"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.options = options or DecodingOptions()
        self.lms = lms or LanguageModels()
        self.hot_words = hot_words

    @torch.inference_mode()
    def recognize(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        modes: Iterable[str] | None = None,
    ) -> Recognition:
        """Recognise a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            16 kHz samples [B, S], padded, on the model's device.
        wav_lens : torch.Tensor
            Each utterance's share of S, in [0, 1], [B].
        modes : iterable of str or None
            Names of modes; None for those of ``possible_modes``.

        Returns
        -------
        Recognition
            Texts, hypotheses and seconds of each mode, utterances in order.

        Raises
        ------
        UserError
            For an unknown mode, a mode that lacks its language model, or NaN
            in the model's outputs.
        """
        modes = self._checked(modes)
        self.model.eval()
        encoded, seconds = _timed(
            wavs.device, lambda: self.model.encode(wavs, wav_lens)
        )
        return Recognition(self.search(encoded, modes), seconds, encoded)

    @torch.inference_mode()
    def search(
        self, encoded: EncoderOutput, modes: Iterable[str] | None = None
    ) -> dict[str, ModeResult]:
        """Search a batch that is already encoded.

        Arguments
        ---------
        encoded : EncoderOutput
            The model's encoder output for B utterances.
        modes : iterable of str or None
            As for ``recognize``.

        Returns
        -------
        dict of str to ModeResult
            The result of each mode, utterances in order.

        Raises
        ------
        UserError
            As for ``recognize``.
        """
        self.model.eval()
        if self.lms.neural is not None:
            self.lms.neural.to(encoded.states.device)
        done = {}
        modes = self._checked(modes)
        for mode in modes:
            self._run(mode, encoded, done)
        return {mode: done[mode] for mode in modes}

    def _checked(self, modes: Iterable[str] | None) -> list[str]:
        """Refuse modes that do not exist or cannot work."""
        if modes is None:
            return possible_modes(self.lms.present)
        modes = list(modes)
        for mode in modes:
            find_mode(mode, self.lms.present)
        return modes

    def _run(
        self, name: str, encoded: EncoderOutput, done: dict[str, ModeResult]
    ) -> ModeResult:
        """Put the result of a mode, and of those it builds on, in ``done``."""
        if name in done:
            return done[name]
        mode = find_mode(name)
        before = [
            self._run(other, encoded, done)
            for other in mode.builds_on(self.options)
        ]
        nbest, seconds = _timed(
            encoded.states.device,
            lambda: mode.search(self, encoded, [r.nbest for r in before]),
        )
        done[name] = ModeResult(
            nbest,
            [self.tokenizer.decode(found[0].tokens) for found in nbest],
            seconds + sum(result.seconds for result in before),
        )
        return done[name]


def _timed(device: torch.device, work: Callable) -> tuple[object, float]:
    """Do the work; return its result and the seconds it took."""
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        # the device works behind Python's back until asked to finish
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start
