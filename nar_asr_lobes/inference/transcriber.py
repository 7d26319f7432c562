"""Audio of any length and format to text with word times.

files or arrays -> blocks -> pieces of <= 25 s -> batches of similar length
      -> Recognizer -> words with times -> one Transcript per input, in order

Of an input only the pieces that wait for a batch are held, not the whole.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from nar_asr_lobes.dataio.audio.silence import (
    MAX_PIECE_SECONDS,
    cut_at_quiet,
    silence_before,
    with_silence,
)
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.batching import validation_batches
from nar_asr_lobes.dataio.text.normalization import is_spaceless
from nar_asr_lobes.decoding.alignment import (
    Word,
    hypothesis_spans,
    word_times,
)
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.decoding.modes import find_mode, hot_word_modes
from nar_asr_lobes.decoding.recognizer import Recognition, Recognizer
from nar_asr_lobes.errors import AudioError, UserError
from nar_asr_lobes.inference.bundle import Bundle
from nar_asr_lobes.inference.device import usable_device
from nar_asr_lobes.inference.sources import Source, open_source, source_name

if TYPE_CHECKING:
    from nar_asr_lobes.decoding.hotwords.tables import HotWords

_POOL = 4  # batches read ahead, so that pieces of like length can meet

# oneDNN keeps 1,024 compiled kernels by default, some for each new shape of a
# batch: 300 MB more after an hour of audio. It reads this at its first use.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")


@dataclass(frozen=True)
class Transcript:
    """The result for one input.

    Arguments
    ---------
    path : str
        The file; "array" for an array.
    seconds : float
        Its length; 0 if it could not be read.
    text : str
        The recognised text; empty for silence, or if it could not be read.
    words : tuple of Word
        The words of the text, in order, with their times in the audio and
        confidences.
    error : str or None
        One sentence on why it could not be read.
    warnings : tuple of str
        A sentence for each fault that did not keep it from being read.
    """

    path: str
    seconds: float
    text: str
    words: tuple[Word, ...] = ()
    error: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(eq=False)
class _Chunk:
    """A piece of an input: its start, samples and result."""

    start: float  # seconds
    wav: np.ndarray | None  # until it is recognised
    text: str = ""
    words: list[Word] = field(default_factory=list)


@dataclass
class _File:
    path: str
    seconds: float = 0.0
    chunks: list[_Chunk] = field(default_factory=list)
    error: str | None = None
    warnings: tuple[str, ...] = ()
    is_read: bool = False

    @property
    def is_done(self) -> bool:
        return self.is_read and all(c.wav is None for c in self.chunks)

    def transcript(self) -> Transcript:
        return Transcript(
            path=self.path,
            seconds=self.seconds,
            text=_joined(self.chunks),
            words=tuple(
                _inside(word, self.seconds)
                for chunk in self.chunks
                for word in chunk.words
            ),
            error=self.error,
            warnings=self.warnings,
        )


class Transcriber:
    """Turns audio into text; ``nar_asr_lobes.load`` gives one.

    Arguments
    ---------
    bundle : Bundle
        From ``load_bundle``.
    mode : str or None
        Decoding mode; None for the bundle's own.
    device : str
        Where the model runs: "cpu", "cuda", "cuda:1", or "auto" for a GPU
        where there is one.
    max_seconds : float
        Longest input accepted: a day and the padding of a codec.
    batch_seconds : float
        Audio recognised at once, padding included.
    hot_words : HotWords or path or None
        Phrases to prefer; of a file, one a line or with commas between them.

    Raises
    ------
    UserError
        For an unknown mode or device, a mode that lacks a part it needs, or
        hot words in a mode that does not use them.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> from nar_asr_lobes.decoding.modes import DecodingOptions
    >>> from nar_asr_lobes.lm.models import LanguageModels
    >>> from nar_asr_lobes.lobes.model import ModelConfig, build_model
    >>> tokenizer = CharTokenizer(" ab")
    >>> model = build_model(ModelConfig.tiny(), tokenizer.size)
    >>> options = DecodingOptions()
    >>> lms = LanguageModels()
    >>> bundle = Bundle(model, tokenizer, lms, options, "nar", "none")
    >>> transcriber = Transcriber(bundle)
    >>> transcriber.transcribe(torch.zeros(4000), sample_rate=8000).seconds
    0.5
    >>> transcriber.transcribe(["no.wav"])[0].error
    'no.wav: is missing; check the path'
    """

    def __init__(
        self,
        bundle: Bundle,
        mode: str | None = None,
        device: str = "auto",
        max_seconds: float = 90000.0,
        batch_seconds: float = 100.0,
        hot_words: HotWords | str | os.PathLike | None = None,
    ):
        self.mode = mode or bundle.default_mode
        find_mode(
            self.mode,
            bundle.present,
            f"this bundle has none, so use {bundle.default_mode}",
        )
        if hot_words is not None and self.mode not in hot_word_modes():
            raise UserError(
                f"decoding mode {self.mode} does not use hot words; choose "
                "from " + ", ".join(hot_word_modes())
            )
        if isinstance(hot_words, (str, os.PathLike)):
            from nar_asr_lobes.decoding.hotwords.tables import read_hot_words

            text = bundle.tokenizer, bundle.text_style
            hot_words = read_hot_words(hot_words, *text)
        self.device = usable_device(device)
        self.recognizer = Recognizer(
            bundle.model.to(self.device),
            bundle.tokenizer,
            bundle.options,
            bundle.lms,
            hot_words=hot_words,
        )
        self.max_seconds, self.batch_seconds = max_seconds, batch_seconds

    def transcribe(
        self,
        source: Source | Iterable[Source],
        sample_rate: int | None = None,
    ) -> Transcript | list[Transcript]:
        """Transcribe one input, or several.

        Arguments
        ---------
        source : str, path, numpy.ndarray, torch.Tensor, or several of them
            Audio files of any format, rate, number of channels and length,
            pipes, "-" for standard input; or samples [S] or [S, channels],
            floats from -1 to 1 or signed integers.
        sample_rate : int, optional
            Of the arrays, in Hz; needed for these only.

        Returns
        -------
        Transcript or list of Transcript
            One for one input, a list in order for several. Of several, one
            that cannot be read has an ``error`` and does not keep the others
            from being done.

        Raises
        ------
        AudioError
            If the only input cannot be read.
        UserError
            For an array without ``sample_rate``, or if the model's outputs
            are not numbers (damaged weights).
        """
        if not isinstance(source, Source):
            return list(self.stream(source, sample_rate))
        [transcript] = self.stream([source], sample_rate)
        if transcript.error:
            raise AudioError(transcript.error)
        return transcript

    def stream(
        self, sources: Iterable[Source], sample_rate: int | None = None
    ) -> Iterator[Transcript]:
        """Transcribe any number of inputs; see ``transcribe``.

        Yields
        ------
        Transcript
            One per input, in order, while later ones are still to be read.
        """
        files: deque[_File] = deque()
        batches = self._batches(sources, sample_rate, files)
        for batch, found in self._recognized(batches, [self.mode]):
            self._fill(batch, found)
            while files and files[0].is_done:
                yield files.popleft().transcript()
        while files:  # behind the last batch, all are done
            yield files.popleft().transcript()

    def posteriors(
        self, source: Source, piece_seconds: float = MAX_PIECE_SECONDS
    ) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
        """Compute the CTC posteriors of one file, of any length.

        Arguments
        ---------
        source : str, path, numpy.ndarray or torch.Tensor
            The file; see ``transcribe``.
        piece_seconds : float
            Longest piece that the model is given, at least 2.

        Yields
        ------
        (float, numpy.ndarray, numpy.ndarray)
            For each piece of the file in order its start in seconds, its
            samples [S] and log-probabilities [T, V]. A file that is too short
            has silence around it, and then a start below 0.

        Raises
        ------
        AudioError
            If the file cannot be read.
        """
        files: deque[_File] = deque()
        done: dict[float, np.ndarray] = {}
        yielded = 0
        batches = self._batches([source], None, files, piece_seconds)
        for batch, found in self._recognized(batches, []):
            for chunk, log_probs in zip(batch, found.log_probs, strict=True):
                done[chunk.start] = log_probs.numpy()
            for chunk in files[0].chunks[yielded:]:
                if chunk.start not in done:
                    break
                yielded += 1
                wav, chunk.wav = chunk.wav, None
                yield chunk.start, wav, done.pop(chunk.start)
        if files[0].error:
            raise AudioError(files[0].error)

    def _recognized(
        self, batches: Iterator[list[_Chunk]], modes: list[str]
    ) -> Iterator[tuple[list[_Chunk], Recognition]]:
        begun: deque[list[_Chunk]] = deque()
        inputs = (self._inputs(batch, begun) for batch in batches)
        for found in self.recognizer.recognize_batches(inputs, modes):
            yield begun.popleft(), found

    def _batches(
        self,
        sources: Iterable[Source],
        sample_rate: int | None,
        files: deque[_File],
        piece_seconds: float = MAX_PIECE_SECONDS,
    ) -> Iterator[list[_Chunk]]:
        """Read files, and batch their pieces once enough are read."""
        pool: list[_Chunk] = []
        for source in sources:
            file = _File(source_name(source))
            files.append(file)
            for chunk in self._read(file, source, sample_rate, piece_seconds):
                if self._is_full(pool):
                    yield from _batches(pool, self.batch_seconds)
                    pool = []
                file.chunks.append(chunk)
                pool.append(chunk)
            if file.error:
                pool = [c for c in pool if c not in file.chunks]
                file.seconds, file.chunks = 0.0, []
            file.is_read = True
            if self._is_full(pool):
                yield from _batches(pool, self.batch_seconds)
                pool = []
        yield from _batches(pool, self.batch_seconds)

    def _inputs(
        self, batch: list[_Chunk], begun: deque[list[_Chunk]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad the samples of a batch, and note that it is begun."""
        begun.append(batch)
        lengths = torch.tensor([len(chunk.wav) for chunk in batch])
        wavs = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(chunk.wav) for chunk in batch], batch_first=True
        )
        wav_lens = lengths / wavs.shape[1]
        return wavs.to(self.device), wav_lens.to(self.device)

    def _read(
        self,
        file: _File,
        source: Source,
        sample_rate: int | None,
        piece_seconds: float,
    ) -> Iterator[_Chunk]:
        path = file.path
        try:
            with open_source(source, sample_rate, self.max_seconds) as stream:
                path = stream.path  # of a pipe's copy, which nobody knows
                for start, wav in cut_at_quiet(stream, piece_seconds):
                    file.seconds = (start + len(wav)) / SAMPLE_RATE
                    yield _chunk(start, wav)
                file.warnings = tuple(
                    str(warning).replace(path, file.path, 1)
                    for warning in stream.warnings
                )
        except AudioError as error:
            file.error = str(error).replace(path, file.path, 1)

    def _is_full(self, pool: list[_Chunk]) -> bool:
        seconds = sum(len(chunk.wav) for chunk in pool) / SAMPLE_RATE
        return seconds >= _POOL * self.batch_seconds

    def _fill(self, batch: list[_Chunk], found: Recognition) -> None:
        """Put texts and words into the chunks of a batch."""
        result = found.modes[self.mode]
        for chunk, text, best, log_probs in zip(
            batch, result.texts, result.best, found.log_probs, strict=True
        ):
            chunk.text = text
            chunk.words = self._words(log_probs, best, chunk.start)
            chunk.wav = None

    def _words(
        self, log_probs: torch.Tensor, best: Hypothesis, start: float
    ) -> list[Word]:
        words = word_times(
            hypothesis_spans(log_probs, best),
            self.recognizer.tokenizer,
            self.recognizer.model.frame_seconds,
        )
        return [
            replace(word, start=start + word.start, end=start + word.end)
            for word in words
        ]


def _joined(chunks: list[_Chunk]) -> str:
    """Join texts by a space, or by none where the script has none."""
    text = ""
    for chunk in chunks:
        if text and chunk.text:
            if is_spaceless(text[-1]) and is_spaceless(chunk.text[0]):
                chunk.words[0] = replace(chunk.words[0], space_before=False)
            else:
                text += " "
        text += chunk.text
    return text


def _chunk(first: int, wav: np.ndarray) -> _Chunk:
    """Make a chunk that may begin with silence, before its first sample."""
    start = (first - silence_before(len(wav))) / SAMPLE_RATE
    return _Chunk(start, with_silence(wav))


def _inside(word: Word, seconds: float) -> Word:
    """Move a time in the silence added around short audio to its edge."""
    start, end = (min(max(t, 0.0), seconds) for t in (word.start, word.end))
    return replace(word, start=start, end=end)


def _batches(pool: list[_Chunk], seconds: float) -> Iterator[list[_Chunk]]:
    """Group chunks into batches of so many seconds, padding included."""
    durations = [len(chunk.wav) / SAMPLE_RATE for chunk in pool]
    for indices in validation_batches(durations, seconds):
        yield [pool[i] for i in indices]
