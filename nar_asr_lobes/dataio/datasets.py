"""The one audio and text pipeline: utterances -> batches.

Utterance -> read_audio -> augment -> silence around short ones -> wav [S]  \\
          -> normalised text -> pieces [U]                          /  Batch
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.audio.silence import (
    SHORTEST,
    least_samples,
    with_silence,
)
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.batching import Sample, StepPlan, StepSampler
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.tokenizer import (
    Tokenizer,
    UnknownCharactersError,
)
from nar_asr_lobes.errors import AudioError, UserError

WaveTransform = Callable[[np.ndarray, int, float], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Padded utterances.

    ``ids``, ``texts`` and ``places`` (file and line) of the B utterances;
    ``seeds``, one for each random draw that concerns an utterance; ``wavs``
    [B, S]; ``wav_lens`` [B] relative; ``samples`` [B] exact; ``tokens`` [B, U]
    padded with 0, and ``token_lens`` [B] (no columns and zeros for unlabelled
    audio); ``seconds`` of audio in all, silence added to short clips not
    counted.
    """

    ids: list[str]
    texts: list[str]
    seeds: list[int]
    wavs: torch.Tensor
    wav_lens: torch.Tensor
    samples: torch.Tensor
    tokens: torch.Tensor
    token_lens: torch.Tensor
    seconds: float
    places: list[str]

    def to(self, device: torch.device | str) -> Batch:
        """Move the tensors to a device."""
        names = ("wavs", "wav_lens", "samples", "tokens", "token_lens")
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in names
        }
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        """Put the tensors where a GPU can fetch them by itself."""
        names = ("wavs", "wav_lens", "samples", "tokens", "token_lens")
        pinned = {name: getattr(self, name).pin_memory() for name in names}
        return replace(self, **pinned)


class StepBatches(list):
    """The micro-batches of a step on one rank, maybe none.

    ``damaged`` has a line for each utterance that was left out of them: its
    place and the fault.

    Example
    -------
    >>> StepBatches([], ["a.tar: byte 0: is damaged"]).damaged
    ['a.tar: byte 0: is damaged']
    """

    def __init__(self, batches: Iterable = (), damaged: Iterable[str] = ()):
        super().__init__(batches)
        self.damaged = list(damaged)


def make_batch(
    utterances: Sequence[Utterance],
    wavs: Sequence[np.ndarray],
    tokens: Sequence[Sequence[int]],
    seeds: Sequence[int],
    least: Sequence[int] | None = None,
    memory: np.ndarray | None = None,
) -> Batch:
    """Pad waveforms and pieces into a batch.

    Arguments
    ---------
    utterances : sequence of Utterance
        For ids, texts and places.
    wavs : sequence of numpy.ndarray
        Float32 samples, each [S].
    tokens : sequence of sequence of int
        Pieces of each; empty for unlabelled audio.
    seeds : sequence of int
        One for each utterance.
    least : sequence of int, optional
        Samples of each at least; shorter ones get silence on both sides. See
        ``least_samples``, which gives it where it is left out.
    memory : numpy.ndarray, optional
        float32 [B or more, S]; becomes the batch where its S is right. Each
        waveform may lie at the start of its own row, or of a later one.

    Returns
    -------
    Batch

    Example
    -------
    >>> batch = make_batch(
    ...     [Utterance("a", "a.wav", 0.1, "hi")],
    ...     [np.zeros(1600, dtype=np.float32)],
    ...     [[1, 2]],
    ...     [0],
    ... )
    >>> batch.wavs.shape, batch.tokens.tolist()
    (torch.Size([1, 12280]), [[1, 2]])
    """
    seconds = sum(len(wav) for wav in wavs) / SAMPLE_RATE
    least = least_samples(tokens) if least is None else least
    wavs = list(map(with_silence, wavs, least))
    samples = torch.tensor([len(wav) for wav in wavs])
    token_lens = torch.tensor([len(row) for row in tokens])
    shape = len(wavs), int(samples.max())
    if memory is None or memory.shape[1] != shape[1]:
        memory = np.empty(shape, np.float32)
    padded = memory[: len(wavs)]
    pieces = torch.zeros(len(wavs), int(token_lens.max()), dtype=torch.long)
    for i, (wav, row) in enumerate(zip(wavs, tokens, strict=True)):
        padded[i, : len(wav)] = wav  # numpy skips what is there already
        padded[i, len(wav) :] = 0
        pieces[i, : len(row)] = torch.tensor(row, dtype=torch.long)
    return Batch(
        ids=[u.id for u in utterances],
        texts=[u.text or "" for u in utterances],
        seeds=list(seeds),
        wavs=torch.from_numpy(padded),
        wav_lens=samples / padded.shape[1],
        samples=samples,
        tokens=pieces,
        token_lens=token_lens,
        seconds=seconds,
        places=[u.where or u.id for u in utterances],
    )


class Example(NamedTuple):
    """An utterance as it is read: its audio [S], pieces and least samples."""

    utterance: Utterance
    wav: np.ndarray
    tokens: Sequence[int]
    least: int


class SpeechDataset(Dataset):
    """Utterances, read and augmented when asked for.

    Arguments
    ---------
    utterances : sequence of Utterance
        The data.
    tokenizer : Tokenizer, optional
        Encodes the texts; without it the audio is unlabelled.
    augment : callable, optional
        (wav, seed, progress) -> wav.
    cache : bool
        Whether to keep the decoded audio in memory as int16 (32 kB/s); for
        sets of a few hours that are read many times.
    samples_for : callable, optional
        Frames -> samples that give them: a clip whose target needs more gets
        more silence.

    Example
    -------
    >>> len(SpeechDataset([Utterance("a", "a.wav", 1.0)]))
    1
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokenizer: Tokenizer | None = None,
        augment: WaveTransform | None = None,
        cache: bool = False,
        samples_for: Callable[[int], int] | None = None,
    ):
        self.utterances = list(utterances)
        self.augment = augment
        self.tokens = [
            encode_text(u, tokenizer) if tokenizer else []
            for u in self.utterances
        ]
        self.least = least_samples(self.tokens, samples_for)
        self.cached: dict[int, np.ndarray] | None = {} if cache else None

    def __len__(self) -> int:
        """Count the utterances."""
        return len(self.utterances)

    @property
    def durations(self) -> list[float]:
        """Seconds of each in a batch, with the silence it gets."""
        return [
            max(u.duration, least / SAMPLE_RATE)
            for u, least in zip(self.utterances, self.least, strict=True)
        ]

    def silence(self) -> str:
        """Count the clips that get silence, for a log; empty where none do."""
        samples = [round(u.duration * SAMPLE_RATE) for u in self.utterances]
        short = sum(count < SHORTEST for count in samples)
        tight = sum(
            max(count, SHORTEST) < least
            for count, least in zip(samples, self.least, strict=True)
        )
        if not short and not tight:
            return ""
        return (
            f"silence is put around {short} clips below "
            f"{SHORTEST / SAMPLE_RATE:.2f} s and around {tight} whose text "
            "needs more frames than they have"
        )

    def _read(self, index: int) -> np.ndarray:
        row = self.utterances[index]
        if self.cached is None:
            return _read_audio(row)
        if index not in self.cached:
            wav = _read_audio(row)
            self.cached[index] = np.round(wav.clip(-1, 1) * 32767).astype(
                np.int16
            )
        return self.cached[index].astype(np.float32) / 32767

    def allocate(self, samples: Sequence[Sample]) -> np.ndarray:
        """Make memory [N, S] that some utterances can be read into: none."""
        return np.empty((len(samples), 0), np.float32)

    def load(self, index: int, memory: np.ndarray | None = None) -> Example:
        """Read one utterance; only an index uses ``memory``."""
        row, tokens = self.utterances[index], self.tokens[index]
        return Example(row, self._read(index), tokens, self.least[index])

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Read and augment some samples into one batch."""
        memory = self.allocate(samples)
        read = list(map(self._draw, samples, memory))
        return self._join(samples, read, memory)

    def _draw(self, sample: Sample, memory: np.ndarray) -> Example:
        """Read and augment an utterance."""
        example = self.load(sample.index, memory)
        if self.augment is None:
            return example
        wav = self.augment(example.wav, sample.seed, sample.progress)
        return example._replace(wav=wav)

    def _join(
        self,
        samples: Sequence[Sample],
        read: Sequence[Example],
        memory: np.ndarray,
    ) -> Batch:
        return make_batch(
            [example.utterance for example in read],
            [example.wav for example in read],
            [example.tokens for example in read],
            [s.seed for s in samples],
            [example.least for example in read],
            memory,
        )

    def __getitem__(self, plan: StepPlan) -> StepBatches:
        """Read all micro-batches of a step, without what is damaged."""
        step = StepBatches()
        for samples in plan.micro_batches:
            good, read = [], []
            memory = self.allocate(samples)
            for sample, row in zip(samples, memory, strict=True):
                try:
                    read.append(self._draw(sample, row))
                    good.append(sample)
                except UserError as error:
                    step.damaged.append(str(error))
            if good:
                step.append(self._join(good, read, memory))
        return step


def _read_audio(utterance: Utterance) -> np.ndarray:
    """Read the audio; name a faulty file by the line that describes it."""
    try:
        return read_audio(utterance.audio, **utterance.stretch)
    except AudioError as error:
        if utterance.where is None:
            raise
        raise UserError(
            f"{utterance.where}: its audio {error.problem}; {error.remedy}"
        ) from None  # its message has the file's name


def encode_text(utterance: Utterance, tokenizer: Tokenizer) -> list[int]:
    """Encode a transcript; name the place of one with unknown characters."""
    try:
        return tokenizer.encode(utterance.text or "")
    except UnknownCharactersError as error:
        place = utterance.where or f"utterance {utterance.id}"
        raise UserError(f"{place}: {error}") from error


def _ignore_signals(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def step_loader(
    dataset: SpeechDataset, sampler: StepSampler, workers: int = 0
) -> DataLoader:
    """Load the steps of a sampler; each item is a list of micro-batches.

    Arguments
    ---------
    dataset : SpeechDataset
        The utterances.
    sampler : StepSampler
        Chooses the utterances of each step.
    workers : int
        Processes that read ahead; 0 reads in this one.

    Returns
    -------
    torch.utils.data.DataLoader

    Example
    -------
    >>> sampler = StepSampler([1.0], global_batch=1, steps=1)
    >>> utterances = [Utterance("a", "a.wav", 1.0)]
    >>> len(step_loader(SpeechDataset(utterances), sampler))
    1
    """
    # Signals are for the process that saves: workers leave them to it.
    # A generator of its own: the loader draws a number when it starts, which
    # would otherwise come from the stream that a resume has restored.
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
        worker_init_fn=_ignore_signals,
    )


def read_steps(loader: Iterable[list[Batch]]) -> Iterator[list[Batch]]:
    """Yield a loader's batches; however that ends, so do its workers."""
    steps = iter(loader)
    try:
        yield from steps
    finally:
        if isinstance(steps, _MultiProcessingDataLoaderIter):
            # They ignore the SIGTERM that PyTorch would send them at the end.
            steps._shutdown_workers()
