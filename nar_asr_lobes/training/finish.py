"""The end of a fine-tuning: language model, tuning, evaluation, bundle."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from functools import partial
from pathlib import Path

import torch

from nar_asr_lobes.dataio.batching import Sample, validation_batches
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.manifest import refuse
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.modes import DecodingOptions
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.decoding.saved_posteriors import (
    SUFFIX,
    SavedPosteriors,
    write_posteriors,
)
from nar_asr_lobes.decoding.tuning import tune_options
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.report import ModeResult, to_dict
from nar_asr_lobes.inference.bundle import BundleCard, write_bundle
from nar_asr_lobes.lm.models import LanguageModels, LmFiles
from nar_asr_lobes.lobes.model import NarAsr
from nar_asr_lobes.storage import write_text
from nar_asr_lobes.training.config import BUNDLE_TASKS, RunConfig
from nar_asr_lobes.training.data.prepare import read_split, train_size
from nar_asr_lobes.training.evaluation import (
    check_modes,
    evaluate_splits,
    noted,
)
from nar_asr_lobes.training.init_from import describe_start
from nar_asr_lobes.training.lm.language_models import (
    check_language_models,
    describe,
    make_language_models,
)
from nar_asr_lobes.training.progress import Timer

logger = logging.getLogger(__name__)
# a weight without its language model would be refused
_WITHOUT_LM = {"nar_beam5_lm": {"neural_weight": 0.0}}


def check_finish(config: RunConfig) -> None:
    """Find mistakes in the last stages before the training starts."""
    if config.hot_words is not None and config.task not in BUNDLE_TASKS:
        raise UserError(
            f"hot_words: has no effect when the task is {config.task}; give "
            "it to the evaluation of the bundle"
        )
    if config.task in ("pretrain", "label"):
        return
    options = DecodingOptions.from_dict(config.decoding)
    if not config.data.test:
        raise UserError("data: test is empty; name a split to evaluate")
    if config.modes is not None and not config.modes:
        raise UserError("modes: is empty; name one or set it to null for all")
    present = None  # a bundle's language models are not known yet
    if config.task == "finetune":
        present = check_language_models(config, options)
        if _has_decoder(config):
            present |= {"decoder"}
    check_modes(config, present)


def _has_decoder(config: RunConfig) -> bool:
    """Tell whether the model will have a decoder, before it is built."""
    keys = getattr(config.objective, "keywords", {})  # of the YAML's !name:
    return bool(config.model.decoder_layers and keys.get("decoder_weight", 1))


def finish(
    config: RunConfig,
    model: NarAsr,
    tokenizer: Tokenizer,
    device: torch.device | str,
    seconds: dict[str, float],
) -> None:
    """Train and tune the LM, write the bundle, evaluate; on one process."""
    faults: list[str] = []
    options = DecodingOptions.from_dict(config.decoding)
    recognizer, files = Recognizer(model, tokenizer, options), LmFiles()
    if config.lm is not None:
        with noted(faults, "language model"), Timer("lm", seconds):
            made = make_language_models(config, tokenizer)
            recognizer.lms, files = made.load(tokenizer), made
        if faults:
            recognizer.options = options.updated(_WITHOUT_LM)
        elif config.lm.tune:
            with noted(faults, "tuning"), Timer("tune", seconds):
                recognizer.options = tune(config, recognizer, device)
    write = partial(_write_bundle, config, recognizer, files)
    with noted(faults, "bundle"):
        write({})  # before the evaluation, whatever becomes of that
    with Timer("evaluate", seconds):
        results = evaluate_splits(config, recognizer, device, faults)
    with noted(faults, "bundle"):
        write(results)
    refuse(faults, "the rest is done; correct this and start the run again")


def _write_bundle(
    config: RunConfig,
    recognizer: Recognizer,
    lm_files: LmFiles,
    results: dict[str, list[ModeResult]],
) -> None:
    bundle = write_bundle(
        Path(config.output_folder) / "bundle",
        recognizer.model,
        recognizer.tokenizer,
        recognizer.options,
        lm_files=lm_files,
        text_style=config.data.text_style,
        card=_make_card(config, results, recognizer.lms),
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
    write_text(output / "tuning.json", json.dumps(tuned.report, indent=1))
    posteriors = SavedPosteriors(
        ids=[name for batch in batches for name in batch.ids],
        references=[text for batch in batches for text in batch.texts],
        log_probs=tuned.log_probs,
        tokenizer=recognizer.tokenizer.fingerprint,
        frame_seconds=recognizer.model.frame_seconds,
        audio_seconds=sum(batch.seconds for batch in batches),
    )
    write_posteriors(output / f"{config.data.dev}{SUFFIX}", posteriors)
    changes = _describe_tuning(recognizer.options, tuned.options)
    logger.info("tuned on %s:\n%s", config.data.dev, changes)
    return tuned.options


def _make_card(
    config: RunConfig,
    results: dict[str, list[ModeResult]],
    lms: LanguageModels,
) -> BundleCard:
    """Describe a fine-tuned model by its run."""
    utterances, hours = train_size(config)
    source = Path(config.data_folder).name
    trained_on = (
        f"{hours:.2f} h of split `{config.data.train}` of {source} "
        f"({utterances} utterances), {config.steps} steps of "
        f"{config.global_batch} utterances."
    )
    if config.init_from is not None:
        trained_on += f" {describe_start(config.init_from)}"
    split = next(iter(results), None)
    return BundleCard(
        title=f"Speech recogniser fine-tuned on {source}",
        trained_on=trained_on,
        language_models=describe(lms),
        tested_on=f"split `{split}` of {source}" if results else "",
        results=to_dict(results[split]) if results else {},
        commands=[
            "python train.py hparams/finetune.yaml "
            f"--data_folder=/path/to/{source}"
        ],
        limits=[
            "Not tested on other speakers, microphones or topics than those "
            "of the data set."
        ],
    )


def _describe_tuning(before: DecodingOptions, after: DecodingOptions) -> str:
    """Write the options that a tuning changed, one a line."""
    changes = {}
    for part in fields(before):
        old, new = getattr(before, part.name), getattr(after, part.name)
        for option in fields(old):
            values = getattr(old, option.name), getattr(new, option.name)
            if values[0] != values[1]:
                changes[f"{part.name}.{option.name}"] = values
    width = max(map(len, changes), default=0)
    return (
        "\n".join(
            f"  {name:{width}}  {old} -> {new}"
            for name, (old, new) in changes.items()
        )
        or "  nothing is better than what was set"
    )
