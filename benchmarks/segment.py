"""Boundaries that `nar-asr segment` finds in long recordings of known times.

python benchmarks/segment.py --data_folder=DIR --bundle=DIR --split=test

Joins utterances of a data set to recordings of 30 minutes with 0.3 to 2.5 s of
faint noise between them. Their own silence is cut off at the edges, up to 50 ms
within 25 dB of the loudest 20 ms. 5 % of the sentences are missing in the
transcript; 5 % come from other splits and were not spoken. With --untold=5 the
transcript also lacks 5 minutes from a third of the recording on. Prints how
many boundaries are within 0.2 s, how many sentences that were not spoken got a
place, time and memory.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import tsv_utterances
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.inference.segmenter import Segmentation, segment_recording
from nar_asr_lobes.inference.transcriber import Transcriber

_STEP = SAMPLE_RATE // 100
_SHARE = 0.05


@dataclass(frozen=True)
class Recording:
    """A joined recording: its transcript, and the true times by line."""

    sentences: list[str]
    times: dict[int, tuple[float, float]]
    seconds: float


def trim(wav: np.ndarray) -> np.ndarray:
    """Cut off the edges up to 50 ms within 25 dB of the loudest 20 ms."""
    steps = wav[: len(wav) // _STEP * _STEP].reshape(-1, _STEP)
    power = (steps**2).mean(axis=1)
    power = np.convolve(power, [0.5, 0.5])[: len(power)]
    # A click of the recorder is shorter.
    loud = np.convolve(power > power.max() * 10**-2.5, np.ones(5), "valid")
    found = np.flatnonzero(loud == 5)
    return wav[max(0, found[0] - 1) * _STEP : (found[-1] + 5) * _STEP]


def join(
    path: str,
    utterances: list[Utterance],
    foreign: list[str],
    seconds: float,
    untold: float,
    rng: random.Random,
) -> Recording:
    """Write a recording, taking its utterances off the end of the list."""
    noise = np.random.default_rng(rng.randrange(2**32))
    times, sentences, place = {}, [], 0
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        while utterances and place < seconds * SAMPLE_RATE:
            pause = noise.normal(
                scale=1e-3, size=int(rng.uniform(0.3, 2.5) * SAMPLE_RATE)
            )
            file.write(pause)
            utterance = utterances.pop()
            wav = trim(read_audio(utterance.audio))
            file.write(wav)
            start = place + len(pause)
            place = start + len(wav)
            if rng.random() < _SHARE:
                sentences.append(foreign.pop())
            told = not 0 <= start / SAMPLE_RATE - seconds / 3 < untold
            if rng.random() >= _SHARE and told:
                times[len(sentences)] = start / SAMPLE_RATE, place / SAMPLE_RATE
                sentences.append(utterance.text)
        file.write(pause)
    return Recording(sentences, times, place / SAMPLE_RATE)


def measure(recording: Recording, found: Segmentation) -> dict[str, list]:
    """Compare with the true times."""
    errors, kept, foreign = [], [], []
    for line, segment in enumerate(found.segments):
        true = recording.times.get(line)
        if true is None:
            foreign.append((segment.score, segment.left_out))
            continue
        if segment.score is None:
            edges = [np.inf, np.inf]
        else:
            edges = [segment.start - true[0], segment.end - true[1]]
        errors += edges
        kept.append((segment.score, max(map(abs, edges)), segment.left_out))
    return {"errors": errors, "kept": kept, "foreign": foreign}


def main() -> None:
    """Print the figures of each recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_folder", type=Path, required=True)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--untold", type=float, default=0)
    parser.add_argument("--recordings", type=int, default=2)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    transcriber = Transcriber(bundle, device="cpu")
    splits = tsv_utterances(options.data_folder)
    rng = random.Random(0)
    utterances = [u for u in splits.pop(options.split) if u.text]
    rng.shuffle(utterances)
    spoken = {u.text for u in utterances}
    foreign = {u.text for rows in splits.values() for u in rows if u.text}
    foreign = sorted(foreign - spoken)
    rng.shuffle(foreign)
    seconds = 60 * options.minutes, 60 * options.untold
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.recordings):
            path = f"{folder}/recording.wav"
            recording = join(path, utterances, foreign, *seconds, rng)
            begun = time.process_time()
            found = segment_recording(
                transcriber, path, recording.sentences, bundle.text_style
            )
            _print(recording, found, time.process_time() - begun)


def _print(recording: Recording, found: Segmentation, seconds: float) -> None:
    figures = measure(recording, found)
    errors = np.array(figures["errors"])
    kept = [row for row in figures["kept"] if not row[2]]
    errors_kept = [row[1] for row in kept]
    placed = [row for row in figures["foreign"] if row[0] is not None]
    passed = [row for row in placed if not row[1]]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{recording.seconds / 60:.1f} min, {len(recording.times)} sentences: "
        f"{100 * np.mean(np.abs(errors) <= 0.2):.1f} % of boundaries within "
        f"0.2 s; of {len(figures['foreign'])} foreign ones {len(placed)} got a "
        f"place, {len(passed)} are in the output; kept "
        f"{100 * len(kept) / len(recording.times):.1f} %, of these "
        f"{100 * np.mean(np.array(errors_kept) <= 0.2):.1f} % with both "
        f"boundaries; {seconds:.0f} s of CPU, {memory:.0f} MB"
    )


if __name__ == "__main__":
    main()
