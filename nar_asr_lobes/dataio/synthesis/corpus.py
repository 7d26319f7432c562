"""Sentences -> a folder of synthetic speech, as FLAC with a table.

texts -> plan (voice, speed, pitch) -> espeak-ng -> silence, noise, level

The same plan and seed give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.prepare import UTTERANCE_COLUMNS, tsv_utterances
from nar_asr_lobes.dataio.synthesis.espeak import (
    NOISE_COLOURS,
    Espeak,
    babble_noise,
    coloured_noise,
    mix_noise,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_write, cannot_write

ENGLISH_VOICES = (
    "en-us+m1",
    "en-us+f1",
    "en-us+m3",
    "en-us+f4",
    "en-us+Andy",
    "en-us+linda",
    "en-us+edward",
    "en-us+Annie",
    "en-us+zac",
    "en-us+mike2",
    "en+m2",
    "en+f2",
    "en+Alex",
    "en+aunty",
    "en-gb-x-rp+robert",
    "en-gb-x-rp+f5",
    "en-gb-scotland+m4",
    "en-gb-scotland+belinda",
    "en-us+adam",
    "en-us+anika",
    "en-us+benjamin",
    "en-us+caleb",
    "en-us+david",
    "en-us+ed",
    "en-us+john",
    "en-us+paul",
    "en-us+steph",
    "en-us+travis",
    "en+quincy",
    "en-gb-x-rp+max",
)
_SPEEDS = (140, 200)  # words a minute
_PITCHES = (30, 70)
_SILENCE = (0.05, 0.3)  # seconds before and after the sentence
_LEVELS = (-32.0, -20.0)  # RMS in dB below full scale
_BABBLE_TALKERS = 6
_NOISES = (*NOISE_COLOURS, "babble")


@dataclass(frozen=True)
class Sentence:
    """One line of the plan: text, speaker and manner."""

    id: str
    split: str
    text: str
    voice: str
    speed: int
    pitch: int


def speak_texts(
    folder: str | os.PathLike,
    texts: Sequence[str],
    voices: Sequence[str] = ENGLISH_VOICES,
    snr_db: tuple[float, float] = (10.0, 30.0),
    seed: int = 1234,
) -> list[Utterance]:
    """Speak each text once, the voices in turn, unless the folder has it.

    Synthetic speech of a data set's own transcripts teaches a model to spell
    before its few hours of human speech do.

    Arguments
    ---------
    folder : str or path
        Made when missing (about 10 s and 80 MB for an hour of speech).
    texts : sequence of str
        Lower-case sentences: espeak-ng spells some upper-case words out.
    voices : sequence of str
        As ``Espeak.speak`` takes them.
    snr_db : (float, float)
        Range of the noise's signal-to-noise ratio, drawn evenly.
    seed : int
        Of speeds, pitches and noise.

    Returns
    -------
    list of Utterance
        One for each text, in order. Raises UserError when there is no text,
        when the folder holds speech of other texts, and when espeakng-loader
        is not installed.

    Example
    -------
    >>> import pytest, tempfile
    >>> loader = pytest.importorskip("espeakng_loader")
    >>> speak_texts(tempfile.mkdtemp(), ["no chest pain"])[0].text
    'no chest pain'
    """
    if not texts:
        raise UserError(f"{folder}: there is no text to speak; give some")
    folder = Path(folder)
    asked = repr((tuple(texts), tuple(voices), tuple(snr_db), seed))
    marker = hashlib.sha256(asked.encode()).hexdigest()
    if not is_spoken(folder, marker):
        plan = plan_voices("train", texts, voices, random.Random(seed))
        speak_plan(folder, plan, snr_db, seed, marker)
    return tsv_utterances(folder)["train"]


def plan_voices(
    split: str, texts: Sequence[str], voices: Sequence[str], rng: random.Random
) -> list[Sentence]:
    """Give each text a voice in turn and its own speed and pitch.

    Example
    -------
    >>> plan = plan_voices("dev", ["yes"], ["en+m2"], random.Random(1))
    >>> plan[0].id, plan[0].voice, plan[0].speed
    ('dev-00000', 'en+m2', 148)
    """
    return [
        Sentence(
            id=f"{split}-{index:05d}",
            split=split,
            text=text,
            voice=voices[index % len(voices)],
            speed=rng.randint(*_SPEEDS),
            pitch=rng.randint(*_PITCHES),
        )
        for index, text in enumerate(texts)
    ]


def is_spoken(folder: Path, marker: str) -> bool:
    """Whether ``speak_plan`` has finished this folder with this marker.

    Raises UserError when it has finished it with another, and when the folder
    holds a data set that it did not make.
    """
    path = folder / "corpus.json"
    if not path.exists():
        if (folder / "utterances.tsv").exists():
            raise UserError(
                f"{folder}: holds a data set that was not made here; name "
                "another folder"
            )
        return False
    if path.read_text(encoding="utf-8-sig").strip() != marker.strip():
        raise UserError(
            f"{path}: this corpus was made with other options; delete "
            f"the folder {folder} or name another one"
        )
    return True


def speak_plan(
    folder: Path,
    plan: Sequence[Sentence],
    snr_db: tuple[float, float],
    seed: int,
    marker: str,
) -> None:
    """Write ``audio/*.flac``, ``utterances.tsv`` and, last, the marker.

    Arguments
    ---------
    folder : Path
        Made when missing.
    plan : sequence of Sentence
        The sentences; those of the split "train" are the babble of all.
    snr_db : (float, float)
        Range of the noise's signal-to-noise ratio, drawn evenly.
    seed : int
        Of the silence, noise and level.
    marker : str
        For ``is_spoken`` to compare. Raises UserError when the folder cannot
        be written.
    """
    try:
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        rows = list(_render(folder, plan, snr_db, seed))
        rows.insert(0, "\t".join(UTTERANCE_COLUMNS))
        write_lines(folder / "utterances.tsv", rows)
        write_lines(folder / "corpus.json", [marker])
    except (OSError, soundfile.LibsndfileError) as error:
        raise cannot_write(folder, error) from error


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file so that it is either whole or not there."""
    with atomic_write(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def _render(
    folder: Path,
    plan: Sequence[Sentence],
    snr_db: tuple[float, float],
    seed: int,
) -> Iterator[str]:
    """Write the audio files; yield the rows of the table."""
    talkers = _speak_babble(plan)
    with Espeak() as espeak:
        for index, line in enumerate(plan):
            rng = np.random.default_rng([seed, index])
            said = espeak.speak(line.text, line.voice, line.speed, line.pitch)
            samples = _disturb(said, talkers, snr_db, rng)
            audio = f"audio/{line.id}.flac"
            soundfile.write(
                folder / audio, samples, SAMPLE_RATE, subtype="PCM_16"
            )
            duration = f"{len(samples) / SAMPLE_RATE:.4f}"
            yield "\t".join(
                (line.id, audio, line.voice, line.split, duration, line.text)
            )


def _speak_babble(plan: Sequence[Sentence]) -> list[np.ndarray]:
    """Let training voices say training sentences, to be mixed as babble."""
    lines = [line for line in plan if line.split == "train"]
    lines = (lines * _BABBLE_TALKERS)[: 5 * _BABBLE_TALKERS]
    with Espeak() as espeak:
        said = [espeak.speak(line.text, line.voice) for line in lines]
    return [
        np.concatenate(said[talker::_BABBLE_TALKERS])
        for talker in range(_BABBLE_TALKERS)
    ]


def _disturb(
    speech: np.ndarray,
    talkers: list[np.ndarray],
    snr_db: tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Add silence around the speech, then noise, and set the level."""
    before, after = (rng.uniform(*_SILENCE, 2) * SAMPLE_RATE).astype(int)
    speech = np.pad(speech, (before, after))
    kind = _NOISES[rng.integers(len(_NOISES))]
    if kind == "babble":
        noise = babble_noise(talkers, len(speech), rng)
    else:
        noise = coloured_noise(len(speech), kind, rng)
    mixed = mix_noise(speech, noise, rng.uniform(*snr_db))
    level = 10 ** (rng.uniform(*_LEVELS) / 20)
    scaled = mixed * level / np.sqrt(np.mean(mixed**2))
    return np.clip(scaled, -1.0, 1.0)
