"""Makes the Synthetic corpus: draws the sentences, speaks and disturbs them.

grammar.txt -> sentences -> espeak-ng voices -> silence, noise, level -> FLAC

Written are ``audio/*.flac`` (16 kHz mono), ``utterances.tsv`` (one row each),
``lm.txt`` (sentences of the same grammar without those of dev and test) and,
last, ``corpus.json`` with the options. The same options give the same bytes.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from synthetic_grammar import Grammar, read_grammar

from nar_asr_lobes.dataio.audio import SAMPLE_RATE
from nar_asr_lobes.dataio.prepare import UTTERANCE_COLUMNS
from nar_asr_lobes.dataio.synth import (
    NOISE_COLOURS,
    Espeak,
    babble_noise,
    coloured_noise,
    mix_noise,
)
from nar_asr_lobes.errors import UserError

logger = logging.getLogger(__name__)

# No variant (what stands after the plus sign) is in two of the three lists.
TRAIN_VOICES = (
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
DEV_VOICES = ("en-us+Michael", "en-us+grandma", "en+shelby")
TEST_VOICES = (
    "en-us+f3",
    "en-us+m7",
    "en-us+rob",
    "en-us+victor",
    "en+m6",
    "en-gb-x-rp+boris",
)
_VOICES = {
    "train": TRAIN_VOICES,
    "extra": TRAIN_VOICES,
    "dev": DEV_VOICES,
    "test": TEST_VOICES,
}
_SPEEDS = (140, 200)  # words a minute
_PITCHES = (30, 70)
_SILENCE = (0.05, 0.3)  # seconds before and after the sentence
_LEVELS = (-32.0, -20.0)  # RMS in dB below full scale
_BABBLE_TALKERS = 6
_NOISES = (*NOISE_COLOURS, "babble")


@dataclass(frozen=True)
class CorpusOptions:
    """What the corpus holds; every number may be given as a recipe option.

    Arguments
    ---------
    train, dev, test : int
        Numbers of transcribed utterances.
    extra : int
        Utterances that only the unlabelled pool holds, beside those of train.
    lm_sentences : int
        Sentences of text for the language model.
    snr_low, snr_high : float
        Limits of the signal-to-noise ratio in dB, drawn evenly between them.
    seed : int
        Another seed gives other sentences, voices and noise.
    """

    train: int = 900
    dev: int = 100
    test: int = 200
    extra: int = 150
    lm_sentences: int = 20000
    snr_low: float = 10.0
    snr_high: float = 30.0
    seed: int = 1234

    def __post_init__(self) -> None:
        for name in ("train", "dev", "test", "lm_sentences"):
            if getattr(self, name) < 1:
                raise UserError(f"option {name} is below 1; ask for 1 or more")
        if not self.snr_low <= self.snr_high:
            raise UserError("snr_low is above snr_high; exchange the two")


@dataclass(frozen=True)
class Sentence:
    """One line of the plan: what is said, by whom, and how."""

    id: str
    split: str
    text: str
    voice: str
    speed: int
    pitch: int


def read_options(options: dict[str, object]) -> CorpusOptions:
    """Turn a recipe's options into CorpusOptions.

    Raises UserError for a name that is none of its fields.
    """
    known = [field.name for field in fields(CorpusOptions)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(
            f"the Synthetic corpus has no option {unknown[0]!r}; use "
            f"{', '.join(known)}"
        )
    return CorpusOptions(**options)


def make_corpus(folder: Path, options: CorpusOptions) -> None:
    """Write the corpus into a folder, unless it is there.

    Arguments
    ---------
    folder : Path
        Made when missing. Raises UserError when it holds a corpus that was
        made with other options.
    options : CorpusOptions
        What to make.
    """
    marker = folder / "corpus.json"
    wanted = json.dumps(asdict(options), indent=1) + "\n"
    if marker.exists():
        if marker.read_text(encoding="utf-8") != wanted:
            raise UserError(
                f"{marker}: this corpus was made with other options; delete "
                f"the folder {folder} or name another one"
            )
        return
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    grammar = read_grammar(Path(__file__).with_name("grammar.txt"))
    plan, lm_lines = _plan(grammar, options)
    _write_lines(folder / "lm.txt", lm_lines)
    rows = ["\t".join(UTTERANCE_COLUMNS), *_render(folder, plan, options)]
    _write_lines(folder / "utterances.tsv", rows)
    _write_lines(marker, [wanted.rstrip("\n")])
    logger.info("made %d utterances in %s", len(plan), folder)


def _plan(
    grammar: Grammar, options: CorpusOptions
) -> tuple[list[Sentence], list[str]]:
    """Draw the sentences of every split and of the language model's text."""
    taken: set[str] = set()
    plan: list[Sentence] = []
    for number, split in enumerate(("test", "dev", "train", "extra")):
        if split == "train":
            held_out = frozenset(taken)
        rng = random.Random(options.seed * 10 + number)
        count = getattr(options, split)
        texts = list(islice(grammar.unique(rng, taken), count))
        taken.update(texts)
        plan += _assign_voices(split, texts, rng)
    rng = random.Random(options.seed * 10 + 9)
    lm_lines = islice(grammar.unique(rng, held_out), options.lm_sentences)
    return plan, list(lm_lines)


def _assign_voices(
    split: str, texts: list[str], rng: random.Random
) -> list[Sentence]:
    """Give each sentence a voice in turn and its own speed and pitch."""
    voices = _VOICES[split]
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


def _render(
    folder: Path, plan: list[Sentence], options: CorpusOptions
) -> Iterator[str]:
    """Write the audio files; yield the rows of the table."""
    talkers = _speak_babble(plan)
    with Espeak() as espeak:
        for index, line in enumerate(plan):
            rng = np.random.default_rng([options.seed, index])
            said = espeak.speak(line.text, line.voice, line.speed, line.pitch)
            samples = _disturb(said, talkers, options, rng)
            audio = f"audio/{line.id}.flac"
            soundfile.write(
                folder / audio, samples, SAMPLE_RATE, subtype="PCM_16"
            )
            duration = f"{len(samples) / SAMPLE_RATE:.4f}"
            yield "\t".join(
                (line.id, audio, line.voice, line.split, duration, line.text)
            )


def _speak_babble(plan: list[Sentence]) -> list[np.ndarray]:
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
    options: CorpusOptions,
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
    snr_db = rng.uniform(options.snr_low, options.snr_high)
    mixed = mix_noise(speech, noise, snr_db)
    level = 10 ** (rng.uniform(*_LEVELS) / 20)
    scaled = mixed * level / np.sqrt(np.mean(mixed**2))
    return np.clip(scaled, -1.0, 1.0)


def _write_lines(path: Path, lines: list[str]) -> None:
    """Write a text file so that it is either whole or not there."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, path)
