"""Tiny data sets of tone speech in the layouts that the recipes read.

words -> tone_speech -> FLAC files + transcripts, a few seconds a split
"""

import random
from pathlib import Path

import numpy as np
import soundfile

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE
from nar_asr_lobes.dataio.prepare import UTTERANCE_COLUMNS
from tests.tones import tone_speech

LIBRISPEECH_SPLITS = (
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)
# Few letters, so that a handful of sentences holds all of them.
WORDS = ("ten", "tan", "net", "ant", "eat", "tea", "neat", "rent", "rate")


def sentence(rng: random.Random) -> str:
    """Draw two or three words."""
    return " ".join(rng.choices(WORDS, k=rng.randint(2, 3)))


def say(path: Path, text: str) -> float:
    """Write tone speech with a pause around it; return its seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = tone_speech(f" {text} ")
    soundfile.write(path, samples, SAMPLE_RATE)
    return len(samples) / SAMPLE_RATE


def make_librispeech(root: Path, splits=LIBRISPEECH_SPLITS, chapters=2) -> Path:
    """Write SPLIT/SPEAKER/CHAPTER/*.flac and *.trans.txt, as published.

    Each split has ``chapters`` speakers with one chapter of three utterances.
    """
    for number, split in enumerate(splits):
        for speaker in range(chapters):
            name = f"{100 + 10 * number + speaker}-7"
            folder = root / split / name.replace("-", "/")
            rng = random.Random(f"{split} {speaker}")
            lines = []
            for count in range(3):
                text = sentence(rng)
                say(folder / f"{name}-{count:04d}.flac", text)
                lines.append(f"{name}-{count:04d} {text.upper()}\n")
            (folder / f"{name}.trans.txt").write_text("".join(lines))
    return root


def make_table(root: Path, rows) -> Path:
    """Write utterances.tsv and its audio from (id, speaker, split, text).

    A text of letters that have no tones, such as Arabic ones, sounds like
    Latin letters that stand for them.
    """
    lines = ["\t".join(UTTERANCE_COLUMNS)]
    for name, speaker, split, text in rows:
        sound = "".join(c if c < "{" else chr(97 + ord(c) % 26) for c in text)
        audio = f"audio/{name}.flac"
        seconds = say(root / audio, sound)
        row = (name, audio, speaker, split, f"{seconds:.4f}", text)
        lines.append("\t".join(row))
    (root / "utterances.tsv").write_text(
        "\n".join(lines) + "\n", encoding="utf-8"
    )
    return root


def make_arabic_commands(root: Path) -> Path:
    """Write eight clips of one word in each official split."""
    words = ("خلف", "أمام", "نعم", "قف")
    return make_table(
        root,
        [
            (f"{split}{number}", f"s-{split}", split, words[number % 4])
            for split in ("train", "val", "test")
            for number in range(8)
        ],
    )


def make_speechocean(root: Path) -> Path:
    """Write 24 speakers with one sentence each in train, 4 in test."""
    rng = random.Random(5)
    return make_table(
        root,
        [
            (f"{split}{number}", f"{split}-s{number}", split, sentence(rng))
            for split, count in (("train", 24), ("test", 4))
            for number in range(count)
        ],
    )


def make_lowresource(root: Path) -> Path:
    """Write the five data sets of the low-resource experiment."""
    make_speechocean(root / "speechocean762")
    make_arabic_commands(root / "arabic_commands")
    rng = random.Random(6)
    for name, splits in (
        ("yoruba", ("train", "extra", "val", "test")),
        ("swahili", ("train", "val", "test")),
        ("kathleen_en", ("",)),
    ):
        rows = [
            (f"{split}-{number}", f"{name}1", split, sentence(rng))
            for split in splits
            for number in range(8)
        ]
        make_table(root / name, rows)
    return root


def corrupt(path: Path, fault: str) -> None:
    """Damage an audio file, or put one with a fault in its place."""
    whole = path.read_bytes()
    if fault == "missing":
        path.unlink()
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "no samples":
        soundfile.write(path, np.zeros(0), SAMPLE_RATE, format="WAV")
    elif fault == "unreadable":
        path.write_bytes(b"this is no audio" * 100)
    elif fault == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif fault == "nan":
        samples = np.full(SAMPLE_RATE, np.nan, dtype=np.float32)
        soundfile.write(
            path, samples, SAMPLE_RATE, format="WAV", subtype="FLOAT"
        )
    else:
        raise ValueError(fault)
