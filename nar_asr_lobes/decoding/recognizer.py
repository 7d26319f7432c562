"""All modes of recognition over one encoder pass.

    wavs [B, S] -> encode, once -> CTC posteriors and states
        -> a mode: greedy, NAR decoder, a beam, re-scoring -> texts [B]

On a GPU the CPU searches the posteriors of a batch while the next one is
encoded; only modes that use the model again wait for their turn on the GPU.

Each mode's own seconds are measured, so its real-time factor is
(encoder seconds + its seconds) / seconds of audio.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.modes import (
    MODES,
    DecodingOptions,
    Job,
    available_modes,
    find_mode,
    parts_present,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
    from nar_asr_lobes.decoding.hotwords.tables import HotWords
    from nar_asr_lobes.lobes.model import EncoderOutput, NarAsr


@dataclass(frozen=True)
class ModeResult:
    """The result of one mode for a batch.

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
    """The results of all requested modes for a batch.

    Arguments
    ---------
    modes : dict of str to ModeResult
        The result of each mode requested.
    encoder_seconds : float
        Time of the encoder pass they share.
    log_probs : list of torch.Tensor
        CTC posteriors [T, V] of each utterance, on the CPU.
    """

    modes: dict[str, ModeResult]
    encoder_seconds: float
    log_probs: list[torch.Tensor]


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
        Language models over the tokenizer's tokens; None for none.
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
            Names of modes; None for those of ``available_modes``.

        Returns
        -------
        Recognition
            Texts, hypotheses and seconds of each mode, utterances in order.

        Raises
        ------
        UserError
            For an unknown mode, a mode that lacks a part it needs, or NaN in
            the model's outputs.
        """
        [found] = self.recognize_batches([(wavs, wav_lens)], modes)
        return found

    def recognize_batches(
        self,
        batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
        modes: Iterable[str] | None = None,
    ) -> Iterator[Recognition]:
        """Recognise batch after batch.

        On a GPU the CPU searches a batch while the next one is read and
        encoded, so a result comes one batch late; the results are the same.

        Arguments
        ---------
        batches : iterable of tuple of torch.Tensor
            ``wavs`` and ``wav_lens`` as for ``recognize``.
        modes : iterable of str or None
            As for ``recognize``.

        Yields
        ------
        Recognition
            Of each batch, in order.

        Raises
        ------
        UserError
            As for ``recognize``, once the batches before have their results.
        """
        modes = self._checked(modes)
        with ThreadPoolExecutor(1) as pool:
            begun = (self._begin(*batch, modes, pool) for batch in batches)
            for searched in _in_turn(begun, _batches_ahead(self._device)):
                found = self._finish(searched.result(), modes)
                del searched  # its states, before the next batch is encoded
                yield found

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
        return self._finish(_Batch(encoded), self._checked(modes)).modes

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _checked(self, modes: Iterable[str] | None) -> list[str]:
        """Refuse modes that do not exist or cannot work; get ready."""
        present = parts_present(self.model, self.lms)
        if modes is None:
            modes = available_modes(present)
        modes = list(modes)
        for mode in modes:
            found = find_mode(mode, present)
            for before, _ in found.builds_on(self.options):
                find_mode(before, present)
        self.model.eval()
        if self.lms.neural is not None:
            self.lms.neural.to(self._device)
        return modes

    @torch.inference_mode()
    def _begin(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        modes: list[str],
        pool: ThreadPoolExecutor,
    ) -> Future[_Batch]:
        """Encode a batch, and let the CPU search it as far as it can."""
        start = time.perf_counter()
        batch = _Batch(self.model.encode(wavs, wav_lens))
        batch.encoder_seconds = time.perf_counter() - start
        return pool.submit(self._search_on_cpu, batch, modes)

    @torch.inference_mode()
    def _search_on_cpu(self, batch: _Batch, modes: list[str]) -> _Batch:
        for mode in modes:
            self._run(mode, self._options(mode), batch, on_device=False)
        return batch

    @torch.inference_mode()
    def _finish(self, batch: _Batch, modes: list[str]) -> Recognition:
        """Run the modes that are left."""
        results = {
            mode: self._run(mode, self._options(mode), batch) for mode in modes
        }
        log_probs = posteriors(batch.on_cpu)
        return Recognition(results, batch.encoder_seconds, log_probs)

    def _options(self, mode: str) -> Any:
        return getattr(self.options, mode, None)

    def _run(
        self, name: str, options: Any, batch: _Batch, on_device: bool = True
    ) -> ModeResult | None:
        """Return the result of a mode, after those it builds on.

        Without ``on_device`` a mode that needs the device is left out, but not
        the modes that it builds on.
        """
        mode, key = MODES[name], (name, options)
        if key in batch.done:
            return batch.done[key]
        before = [
            self._run(*step, batch, on_device)
            for step in mode.builds_on(self.options)
        ]
        if mode.on_device and not on_device:
            return None
        start = time.perf_counter()
        found = mode.search(
            Job(
                self,
                batch.encoded,
                batch.on_cpu,
                options,
                [result.nbest for result in before],
            )
        )
        seconds = time.perf_counter() - start
        batch.done[key] = ModeResult(
            found,
            [self.tokenizer.decode(nbest[0].tokens) for nbest in found],
            seconds + sum(result.seconds for result in before),
        )
        return batch.done[key]


class _Batch:
    """An encoded batch, and the results of the modes that have searched it."""

    def __init__(self, encoded: EncoderOutput):
        self.encoded = encoded
        # waits for the device, which then is free for the next batch
        self.on_cpu = replace(
            encoded,
            log_probs=encoded.log_probs.cpu(),
            lengths=encoded.lengths.cpu(),
        )
        self.encoder_seconds = 0.0
        self.done: dict[tuple[str, Any], ModeResult] = {}


def _batches_ahead(device: torch.device) -> int:
    """Count the batches encoded ahead of the search: none on the CPU itself."""
    return int(device.type == "cuda")


def _in_turn(begun: Iterator[Future], ahead: int) -> Iterator[Future]:
    """Give each piece of work when so many others are begun, in order.

    An error in the beginning of one is raised after all those before it.
    """
    waiting, failure, more = deque(), None, True
    while more or waiting:
        try:
            if more:
                waiting.append(next(begun))
        except StopIteration:
            more = False
        except Exception as error:
            more, failure = False, error
        if waiting and (len(waiting) > ahead or not more):
            yield waiting.popleft()
    if failure is not None:
        raise failure
