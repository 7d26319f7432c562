"""All modes of recognition over one encoder pass.

    wavs [B, S] -> encode, once -> CTC posteriors and states
        -> ctc_greedy | nar | beam5 | beam5_lm | nar_beam5_lm -> texts [B]

Each mode's own seconds are measured, so its real-time factor is
(encoder seconds + its seconds) / seconds of audio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.decoding.hot_words import HotWords
from nar_asr_lobes.decoding.hypotheses import Hypothesis, LanguageModel
from nar_asr_lobes.decoding.mask_predict import mask_predict
from nar_asr_lobes.decoding.options import DecodingOptions
from nar_asr_lobes.decoding.prefix_beam import prefix_beam_search
from nar_asr_lobes.decoding.rescore import rescore
from nar_asr_lobes.decoding.slot_beam import slot_beam_search
from nar_asr_lobes.errors import UserError

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.tokenizer import Tokenizer
    from nar_asr_lobes.lm.neural import NeuralLM
    from nar_asr_lobes.lobes.model import Encoded, NarAsr

MODES = ("ctc_greedy", "nar", "beam5", "beam5_lm", "nar_beam5_lm")
KNOWN_MODES = (*MODES, "nar_lm")  # the last one only where it is named
MODES_WITH_LM = ("beam5_lm", "nar_beam5_lm", "nar_lm")
MODES_WITH_HOT_WORDS = ("beam5", "beam5_lm", "nar_beam5_lm")


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
    encoded : Encoded
        Its output, for alignments or for tuning.
    """

    modes: dict[str, ModeResult]
    encoder_seconds: float
    encoded: Encoded


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
    lm : LanguageModel or None
        Language model over the tokenizer's pieces.
    neural, lodr : NeuralLM or None, LanguageModel or None
        What re-scores besides, see ``rescore``.
    hot_words : HotWords or None
        Phrases to prefer in the ``MODES_WITH_HOT_WORDS``.

    Raises
    ------
    UserError
        If the tokenizer's size is not the model's.

    Example
    -------
    >>> from nar_asr_lobes.dataio.tokenizer import CharTokenizer
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
        lm: LanguageModel | None = None,
        neural: NeuralLM | None = None,
        lodr: LanguageModel | None = None,
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
        self.lm, self.neural, self.lodr = lm, neural, lodr
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
            Names out of ``KNOWN_MODES``; None for ``MODES``, or without a
            language model for those that need none.

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
        self, encoded: Encoded, modes: Iterable[str] | None = None
    ) -> dict[str, ModeResult]:
        """Search a batch that is already encoded.

        Arguments
        ---------
        encoded : Encoded
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
        done = {}
        modes = self._checked(modes)
        for mode in modes:
            self._run(mode, encoded, done)
        return {mode: done[mode] for mode in modes}

    def _checked(self, modes: Iterable[str] | None) -> list[str]:
        """Refuse modes that do not exist or cannot work."""
        if modes is None:
            without = [mode for mode in MODES if mode not in MODES_WITH_LM]
            return list(MODES) if self.lm is not None else without
        modes = list(modes)
        for mode in modes:
            if mode not in KNOWN_MODES:
                raise UserError(
                    f"unknown decoding mode {mode!r}; choose from "
                    + ", ".join(KNOWN_MODES)
                )
            if mode in MODES_WITH_LM and self.lm is None:
                raise UserError(
                    f"decoding mode {mode} needs a language model; give one "
                    "or leave the mode out"
                )
        return modes

    def _run(
        self, mode: str, encoded: Encoded, done: dict[str, ModeResult]
    ) -> ModeResult:
        """Put the result of a mode, and of those it builds on, in ``done``."""
        if mode in done:
            return done[mode]
        before = [self._run(m, encoded, done) for m in self._needs(mode)]
        nbest, seconds = _timed(
            encoded.states.device,
            lambda: self._search(mode, encoded, [r.nbest for r in before]),
        )
        done[mode] = ModeResult(
            nbest,
            [self.tokenizer.decode(found[0].tokens) for found in nbest],
            seconds + sum(result.seconds for result in before),
        )
        return done[mode]

    def _needs(self, mode: str) -> list[str]:
        """List the modes whose results a mode builds on."""
        if mode == "nar_lm":
            return [self.options.nar_lm.start]
        if mode != "nar_beam5_lm":
            return []
        return ["beam5_lm"] + ["nar"] * self.options.rescore.include_nar

    def _search(
        self, mode: str, encoded: Encoded, before: list
    ) -> list[list[Hypothesis]]:
        """Return a mode's N-best of each utterance."""
        options = self.options
        if mode == "ctc_greedy":
            paths = greedy_paths(encoded.log_probs, encoded.lengths)
            return [[path.hypothesis()] for path in paths]
        if mode == "nar":
            found = mask_predict(self.model, encoded, options.mask_predict)
            return [[hypothesis] for hypothesis in found]
        if mode == "beam5":
            return prefix_beam_search(
                posteriors(encoded), options.beam, hot_words=self.hot_words
            )
        if mode == "beam5_lm":
            return prefix_beam_search(
                posteriors(encoded),
                options.beam_lm,
                self.lm,
                hot_words=self.hot_words,
            )
        if mode == "nar_lm":
            starts = [found[0].tokens for found in before[0]]
            return slot_beam_search(
                self.model, encoded, starts, options.nar_lm, self.lm
            )
        candidates = [sum(lists, []) for lists in zip(*before, strict=True)]
        return rescore(
            self.model,
            encoded,
            candidates,
            options.rescore,
            self.lm,
            self.neural,
            self.lodr,
            self.hot_words,
        )


def _timed(device: torch.device, work: Callable) -> tuple[object, float]:
    """Do the work; return its result and the seconds it took."""
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        # the device works behind Python's back until asked to finish
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start
