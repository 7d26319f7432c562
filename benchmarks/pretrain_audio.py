"""Audio of the length that pre-training reads, from a set of short utterances.

utterances.tsv -> utterances of a speaker, joined -> 16-bit files on disk
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import soundfile
from torch.utils.data import DataLoader, Dataset

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE, read_audio
from nar_asr_lobes.dataio.batching import StepPlan, StepSampler
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import tsv_utterances

SHORTEST, LONGEST = 10.0, 15.0  # seconds
_STEPS = 1_000_000  # more than any run of the benchmark makes


def joined_utterances(
    data_folder: str,
    folder: Path,
    count: int,
    shortest: float = SHORTEST,
    longest: float = LONGEST,
    ending: str = "wav",
) -> list[Utterance]:
    """Write ``count`` files of 10 to 15 s, or as many as there is speech.

    Each joins neighbours in ``data_folder``/utterances.tsv until they are
    longer than a length drawn for it; what is beyond ``longest`` is cut off.
    """
    rng = np.random.default_rng(0)
    parts: list[list[str]] = [[]]
    seconds, wanted = 0.0, rng.uniform(shortest, longest)
    for split in tsv_utterances(data_folder).values():
        for row in split:
            parts[-1].append(row.audio)
            seconds += row.duration
            if seconds > wanted:
                parts.append([])
                seconds, wanted = 0.0, rng.uniform(shortest, longest)
    parts = parts[:-1][:count]  # the last one may be too short
    names = [str(folder / f"{i}.{ending}") for i in range(len(parts))]
    samples = repeat(int(longest * SAMPLE_RATE))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        lengths = list(pool.map(_join, parts, names, samples))
    return [
        Utterance(str(i), name, length / SAMPLE_RATE)
        for i, (name, length) in enumerate(zip(names, lengths, strict=True))
    ]


def _join(parts: Sequence[str], name: str, longest: int) -> int:
    wav = np.concatenate([read_audio(part) for part in parts])[:longest]
    soundfile.write(name, wav, SAMPLE_RATE, subtype="PCM_16")
    return len(wav)


def sampler(utterances: Sequence[Utterance], batch: int) -> StepSampler:
    """Plan batches of similar lengths, the same for every model."""
    durations = [u.duration for u in utterances]
    return StepSampler(durations, batch, _STEPS, max_batch_seconds=1e9)


class PeerDataset(Dataset):
    """Reads the utterances of a plan and makes a peer's batch of them.

    Arguments
    ---------
    utterances : sequence of Utterance
        The data.
    collate : callable
        List of float32 arrays [S] -> batch.
    """

    def __init__(self, utterances: Sequence[Utterance], collate: Callable):
        self.utterances, self.collate = utterances, collate

    def __getitem__(self, plan: StepPlan) -> tuple[float, object]:
        """Seconds of audio, and the batch."""
        wavs = []
        for samples in plan.micro_batches:
            for sample in samples:
                path = self.utterances[sample.index].audio
                wavs.append(soundfile.read(path, dtype="float32")[0])
        seconds = sum(map(len, wavs)) / SAMPLE_RATE
        return seconds, self.collate(wavs)


def peer_batches(
    dataset: PeerDataset, batch: int, workers: int, pin: bool
) -> Iterator[tuple[float, object]]:
    """Load batches without an end, as a training run would."""
    loader = DataLoader(
        dataset,
        sampler=sampler(dataset.utterances, batch),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
    )
    return iter(loader)
