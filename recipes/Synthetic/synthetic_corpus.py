"""Makes the Synthetic corpus: draws the sentences, speaks and disturbs them.

grammar.txt -> sentences -> espeak-ng voices -> silence, noise, level -> FLAC

Written are ``audio/*.flac`` (16 kHz mono), ``utterances.tsv`` (one row each),
``lm.txt`` (sentences of the same grammar without those of dev and test) and,
last, ``corpus.json`` with the options. The same options give the same bytes.
"""

from __future__ import annotations

import json
import logging
import random
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from synthetic_grammar import Grammar, read_grammar

from nar_asr_lobes.dataio.synthesis.corpus import (
    ENGLISH_VOICES,
    Sentence,
    is_spoken,
    plan_voices,
    speak_plan,
    write_lines,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import Checked, count

logger = logging.getLogger(__name__)

# No variant (what stands after the plus sign) is in two of the three lists.
TRAIN_VOICES = ENGLISH_VOICES
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


@dataclass(frozen=True)
class CorpusOptions(Checked):
    """Sizes and voices of the corpus; each may be given as a recipe option.

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

    train: int = count(900, least=1)
    dev: int = count(100, least=1)
    test: int = count(200, least=1)
    extra: int = count(150)
    lm_sentences: int = count(20000, least=1)
    snr_low: float = 10.0
    snr_high: float = 30.0
    seed: int = count(1234)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.snr_low <= self.snr_high:
            raise UserError("snr_low is above snr_high; exchange the two")


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
    marker = json.dumps(asdict(options), indent=1)
    if is_spoken(folder, marker):
        return
    folder.mkdir(parents=True, exist_ok=True)
    grammar = read_grammar(Path(__file__).with_name("grammar.txt"))
    plan, lm_lines = _plan(grammar, options)
    write_lines(folder / "lm.txt", lm_lines)
    snr_db = (options.snr_low, options.snr_high)
    speak_plan(folder, plan, snr_db, options.seed, marker)
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
        plan += plan_voices(split, texts, _VOICES[split], rng)
    rng = random.Random(options.seed * 10 + 9)
    lm_lines = islice(grammar.unique(rng, held_out), options.lm_sentences)
    return plan, list(lm_lines)
