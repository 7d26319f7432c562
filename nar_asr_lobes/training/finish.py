"""What follows a fine-tuning: language model, tuning, evaluation, bundle."""

from __future__ import annotations

import json
import logging
from collections.abc import Container
from pathlib import Path

import torch

from nar_asr_lobes.dataio.batching import Sample, validation_batches
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.tokenizer import Tokenizer
from nar_asr_lobes.decoding.hot_list import read_hot_words
from nar_asr_lobes.decoding.modes import find_mode
from nar_asr_lobes.decoding.options import DecodingOptions, check_weights
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.decoding.saved_posteriors import (
    SUFFIX,
    SavedPosteriors,
    write_posteriors,
)
from nar_asr_lobes.decoding.tune_options import tune_options
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.evaluate import evaluate_split
from nar_asr_lobes.evaluation.report import ModeResult, format_table, to_dict
from nar_asr_lobes.files import written_file
from nar_asr_lobes.inference.bundle import (
    Bundle,
    BundleCard,
    load_bundle,
    write_bundle,
)
from nar_asr_lobes.lm.models import LanguageModels, LmFiles
from nar_asr_lobes.lobes.model import NarAsr
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.data import read_split
from nar_asr_lobes.training.init_from import describe_start
from nar_asr_lobes.training.language_models import (
    check_language_models,
    describe,
    make_language_models,
)
from nar_asr_lobes.training.stages import Stage

logger = logging.getLogger(__name__)


def check_finish(config: RunConfig) -> None:
    """Find mistakes in what comes last before the training starts.

    Raises
    ------
    UserError
        For decoding options or modes that cannot work, and texts or language
        models that are not there.
    """
    if config.hot_words is not None and config.task != "evaluate":
        raise UserError(
            f"hot_words: has no effect when the task is {config.task}; give "
            "it to the evaluation of the bundle"
        )
    if config.task == "pretrain":
        return
    options = DecodingOptions.from_dict(config.decoding)
    if not config.data.test:
        raise UserError("data: test is empty; name a split to evaluate")
    if config.modes is not None and not config.modes:
        raise UserError("modes: is empty; name one or set it to null for all")
    present = None  # what a bundle has is not known yet
    if config.task == "finetune":
        present = check_language_models(config, options)
    _check_modes(config, present)


def _check_modes(config: RunConfig, present: Container[str] | None) -> None:
    """Refuse modes that do not exist or lack their language model."""
    for mode in config.modes or ():
        try:
            find_mode(mode, present, "add it to the section lm")
        except UserError as error:
            raise UserError(f"modes: {error}") from error


def finish(
    config: RunConfig,
    model: NarAsr,
    tokenizer: Tokenizer,
    device: torch.device | str,
    seconds: dict[str, float],
) -> None:
    """Train and tune the LM, evaluate, write the bundle; on one process.

    Arguments
    ---------
    config : RunConfig
        The run.
    model : NarAsr
        The best checkpoint.
    tokenizer : Tokenizer
        Its tokenizer.
    device : torch.device or str
        Where the model is.
    seconds : dict
        Gets the time of each stage.
    """
    output = Path(config.output_folder)
    options = DecodingOptions.from_dict(config.decoding)
    lms, lm_files = LanguageModels(), LmFiles()
    if config.lm is not None:
        with Stage("lm", seconds):
            lm_files = make_language_models(config, tokenizer)
            lms = lm_files.load(tokenizer)
        if config.lm.tune:
            with Stage("tune", seconds):
                recognizer = Recognizer(model, tokenizer, options, lms)
                options = tune(config, recognizer, device)
    recognizer = Recognizer(model, tokenizer, options, lms)
    results = {}
    with Stage("evaluate", seconds):
        for split in config.data.test:
            results[split] = evaluate_one(config, recognizer, split, device)
    save_results(output, results)
    card = make_card(config, results, lms)
    bundle = write_bundle(
        output / "bundle",
        model,
        tokenizer,
        options,
        lm_files=lm_files,
        text_style=config.data.text_style,
        card=card,
    )
    logger.info("bundle: %s", bundle)


def tune(
    config: RunConfig, recognizer: Recognizer, device: torch.device | str
) -> DecodingOptions:
    """Choose the decoding weights on the dev split.

    Writes ``tuning.json``, and the posteriors for ``nar-asr lm tune``.
    """
    utterances = read_split(config, config.data.dev, checked=True)
    dataset = SpeechDataset(utterances)
    batches = [
        dataset.batch([Sample(i, i) for i in indices]).to(device)
        for indices in validation_batches(dataset.durations, 60)
    ]
    tuned = tune_options(recognizer, batches)
    output = Path(config.output_folder)
    (output / "tuning.json").write_text(json.dumps(tuned.report, indent=1))
    heard = SavedPosteriors(
        ids=[name for batch in batches for name in batch.ids],
        references=[text for batch in batches for text in batch.texts],
        log_probs=tuned.log_probs,
        tokenizer=recognizer.tokenizer.fingerprint,
        frame_seconds=recognizer.model.frame_seconds,
        audio_seconds=sum(batch.seconds for batch in batches),
    )
    write_posteriors(output / f"{config.data.dev}{SUFFIX}", heard)
    logger.info("tuned on dev: %s", tuned.options)
    return tuned.options


def evaluate_one(
    config: RunConfig,
    recognizer: Recognizer,
    split: str,
    device: torch.device | str,
) -> list[ModeResult]:
    """Evaluate a split in the run's modes; log the table."""
    output = Path(config.output_folder)
    file = output / f"{split}{SUFFIX}" if config.save_posteriors else None
    results = evaluate_split(
        recognizer,
        read_split(config, split, checked=True),
        output / "alignments" / split,
        config.modes,
        device=device,
        posteriors_file=file,
    )
    logger.info("%s\n%s", split, format_table(results))
    return results


def evaluate_bundle(config: RunConfig, device: torch.device | str) -> None:
    """Evaluate the bundle that the YAML names on the run's test splits.

    Arguments
    ---------
    config : RunConfig
        The run.
    device : torch.device or str
        Where to recognise.

    Raises
    ------
    UserError
        For no bundle, a damaged one, references that are normalised in
        another way than the transcripts it was trained on, or a weight or a
        mode without its language model.
    """
    if config.bundle is None:
        raise UserError(
            "evaluate: key 'bundle' is missing; give the folder that a "
            "fine-tuning wrote"
        )
    bundle = load_bundle(config.bundle)
    if config.data.text_style != bundle.text_style:
        raise UserError(
            f"{config.bundle}: was trained on text of style "
            f"{bundle.text_style!r}, but data.text_style is "
            f"{config.data.text_style!r}; error rates would be wrong, so "
            f"set it to {bundle.text_style}"
        )
    recognizer = _bundle_recognizer(config, bundle, device)
    results = {
        split: evaluate_one(config, recognizer, split, device)
        for split in config.data.test
    }
    save_results(Path(config.output_folder), results)


def _bundle_recognizer(
    config: RunConfig, bundle: Bundle, device: torch.device | str
) -> Recognizer:
    """Put what the YAML gives in the place of what the bundle has."""
    lms, hot_words = bundle.lms, None
    if config.lm is not None:
        lms = lms.updated(config.lm.load(bundle.tokenizer))
    _check_modes(config, lms.present)
    options = bundle.options.updated(config.decoding)
    check_weights(options, lms.present)
    if config.hot_words is not None:
        hot_words = read_hot_words(
            config.hot_words,
            bundle.tokenizer,
            bundle.text_style,
            config.hot_boost,
        )
    model = bundle.model.to(device)
    return Recognizer(model, bundle.tokenizer, options, lms, hot_words)


def save_results(output: Path, results: dict[str, list[ModeResult]]) -> None:
    """Write ``results.json``, split -> mode -> numbers, and tables."""
    numbers = {split: to_dict(found) for split, found in results.items()}
    tables = [
        f"{split}\n{format_table(found)}\n" for split, found in results.items()
    ]
    (output / "results.txt").write_text("\n".join(tables))
    with written_file(output / "results.json") as file:
        file.write(json.dumps(numbers, indent=1).encode())


def make_card(
    config: RunConfig,
    results: dict[str, list[ModeResult]],
    lms: LanguageModels,
) -> BundleCard:
    """Describe a fine-tuned model from what its run knows."""
    train = read_split(config, config.data.train, checked=True)
    hours = sum(u.duration for u in train) / 3600
    source = Path(config.data_folder).name
    trained_on = (
        f"{hours:.2f} h of split `{config.data.train}` of {source} "
        f"({len(train)} utterances), {config.steps} steps of "
        f"{config.global_batch} utterances."
    )
    if config.init_from is not None:
        trained_on += f" {describe_start(config.init_from)}"
    split = config.data.test[0]
    return BundleCard(
        title=f"Speech recogniser fine-tuned on {source}",
        trained_on=trained_on,
        language_models=describe(lms),
        tested_on=f"split `{split}` of {source}",
        results=to_dict(results[split]),
        commands=[
            "python train.py hparams/finetune.yaml "
            f"--data_folder=/path/to/{source}"
        ],
        limits=[
            "Not tested on other speakers, microphones or topics than those "
            "of the data set."
        ],
    )
