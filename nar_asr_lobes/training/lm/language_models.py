"""The language models of a fine-tuning, from the section ``lm``.

transcripts (+ texts) -> lm.ngram
a training of recipes/LM -> the neural one
"""

from __future__ import annotations

import logging
from pathlib import Path

from nar_asr_lobes.dataio.manifest import read_lines
from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.modes import DecodingOptions, check_weights
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels, LmFiles
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lm.words.lexicon import find_word_ends
from nar_asr_lobes.lm.words.ngram import train_word_ngram
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.data.prepare import train_texts
from nar_asr_lobes.training.data.tokenizer import run_tokenizer

logger = logging.getLogger(__name__)

_TRAININGS = {"pieces": train_ngram, "words": train_word_ngram}


def check_language_models(
    config: RunConfig, options: DecodingOptions
) -> frozenset[str]:
    """Find mistakes in the section ``lm`` before the training starts.

    Returns the names of the language models that the run will have.
    """
    if config.lm is None:
        check_weights(options, ())
        return frozenset()
    if not (config.lm.transcripts or config.lm.texts):
        raise UserError(
            "lm: transcripts is False and texts is empty, so there is no text "
            "to learn from; name a text file"
        )
    _check_texts(config)
    if config.lm.unit == "words":
        find_word_ends(run_tokenizer(config))
    neural = LmFiles(neural=config.lm.neural).load(run_tokenizer(config))
    present = neural.present | {"ngram"}
    check_weights(options, present)
    return present


def make_language_models(config: RunConfig, tokenizer: Tokenizer) -> LmFiles:
    """Train the n-gram of a run; name its file and the neural model's."""
    output = Path(config.output_folder)
    report = _TRAININGS[config.lm.unit](
        _lm_texts(config), tokenizer, config.lm.order, output / "lm.arpa"
    )
    logger.info(
        "n-gram: order %d, %d n-grams of %d %s in %d lines: %s",
        report.info.order,
        sum(report.ngrams),
        report.tokens,
        report.info.unit,
        report.info.lines_used,
        report.path,
    )
    return LmFiles(str(report.path), config.lm.neural)


def describe(lms: LanguageModels) -> list[str]:
    """List the language models for a bundle's card, a line each."""
    found = []
    if lms.ngram is not None:
        found.append(
            f"An n-gram of {lms.ngram.info.unit}, order "
            f"{lms.ngram.info.order}, for `beam5_lm` and `nar_beam5_lm`."
        )
    if lms.neural is not None:
        weights = sum(p.numel() for p in lms.neural.model.parameters())
        found.append(
            f"A Transformer of {weights:,} weights, to re-score the N-best of "
            "`nar_beam5_lm` where it has a weight."
        )
    return found


def _check_texts(config: RunConfig) -> None:
    """Refuse text files for the language model that cannot be read."""
    for path in _text_files(config):
        for _ in read_lines(path, "lm.texts names it; give a text file"):
            pass


def _text_files(config: RunConfig) -> list[Path]:
    return [Path(config.data_folder) / name for name in config.lm.texts]


def _lm_texts(config: RunConfig) -> list[str]:
    """Collect the sentences for the language model, normalised."""
    texts = []
    if config.lm.transcripts:
        texts = list(train_texts(config))
    for path in _text_files(config):
        lines = read_lines(path)
        texts += [normalize_text(x, config.data.text_style) for x in lines]
    return [text for text in texts if text]
