"""Evaluate a run's test splits, or label its unlabelled one, with a bundle.

A test split that fails does not stop the others.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from nar_asr_lobes.dataio.manifest import (
    read_manifest,
    refuse,
    write_manifest,
)
from nar_asr_lobes.dataio.validation import count_overlap
from nar_asr_lobes.decoding.hotwords.tables import read_hot_words
from nar_asr_lobes.decoding.modes import (
    available_modes,
    check_weights,
    find_mode,
    parts_present,
)
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.decoding.saved_posteriors import SUFFIX
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.evaluate import (
    evaluate_split,
    recognize_utterances,
)
from nar_asr_lobes.evaluation.report import ModeResult, format_table, to_dict
from nar_asr_lobes.inference.bundle import Bundle, load_bundle
from nar_asr_lobes.storage import write_text
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.data.prepare import read_split

logger = logging.getLogger(__name__)
LABELS = "labels.jsonl"


@contextmanager
def noted(faults: list[str], what: str) -> Iterator[None]:
    """Log and note an error inside, so that the run can do the rest."""
    try:
        yield
    except Exception as error:
        told = str(error)
        if not isinstance(error, UserError):
            reason = " ".join(f"{type(error).__name__} {error}".split())
            told = f"{what} failed ({reason}); log.txt holds more"
        logger.error("%s", told)
        logger.debug("%s", what, exc_info=True)
        if told not in faults:
            faults.append(told)


def check_modes(config: RunConfig, present: Collection[str] | None) -> None:
    """Refuse modes that do not exist or lack a part that they need.

    ``present``: language models and decoder; None where not known yet.
    """
    for mode in config.modes or ():
        try:
            find_mode(mode, present, "add it to the section lm")
        except UserError as error:
            raise UserError(f"modes: {error}") from error


def evaluate_splits(
    config: RunConfig,
    recognizer: Recognizer,
    device: torch.device | str,
    faults: list[str],
) -> dict[str, list[ModeResult]]:
    """Evaluate each test split by itself; write the results there are."""
    results = {}
    for split in config.data.test:
        evaluate = partial(_evaluate_one, config, recognizer, split, device)
        present = parts_present(recognizer.model, recognizer.lms)
        modes = config.modes or available_modes(present)
        try:
            found = evaluate(modes)
        except Exception as error:  # of one mode perhaps
            logger.debug("%s", split, exc_info=error)
            logger.warning("%s: each mode is evaluated by itself now", split)
            found = []
            for mode in modes:
                with noted(faults, f"evaluation of {split!r} in mode {mode}"):
                    found += evaluate([mode])
        if found:
            logger.info("%s\n%s", split, format_table(found))
            results[split] = found
    if results:
        with noted(faults, "results"):
            _save_results(config, results)
    return results


def _evaluate_one(
    config: RunConfig,
    recognizer: Recognizer,
    split: str,
    device: torch.device | str,
    modes: Sequence[str],
) -> list[ModeResult]:
    """Evaluate a split in some modes."""
    output = Path(config.output_folder)
    file = output / f"{split}{SUFFIX}" if config.save_posteriors else None
    return evaluate_split(
        recognizer,
        read_split(config, split),
        output / "alignments" / split,
        modes,
        device=device,
        posteriors_file=file,
    )


def evaluate_bundle(config: RunConfig, device: torch.device | str) -> None:
    """Evaluate the bundle that the YAML names on the run's test splits.

    Errors of single splits are raised at the end.
    """
    bundle = _load_bundle(config)
    if config.data.text_style != bundle.text_style:
        raise UserError(
            f"{config.bundle}: was trained on text of style "
            f"{bundle.text_style!r}, but data.text_style is "
            f"{config.data.text_style!r}; error rates would be wrong, so "
            f"set it to {bundle.text_style}"
        )
    recognizer = _bundle_recognizer(config, bundle, device)
    faults: list[str] = []
    evaluate_splits(config, recognizer, device, faults)
    refuse(faults, "the rest is done; correct this and evaluate again")


def label_split(config: RunConfig, device: torch.device | str) -> None:
    """Write a manifest of the split ``data.train`` with a bundle's texts.

    Utterances in which nothing is recognised have no text there.
    """
    modes, split = config.modes or (), config.data.train
    if len(modes) != 1:
        raise UserError(
            f"modes: {len(modes)} are given; name the one whose texts are "
            "the labels, such as [beam5_lm]"
        )
    recognizer = _bundle_recognizer(config, _load_bundle(config), device)
    utterances = read_split(config, split, checked=True)
    found = recognize_utterances(
        recognizer, utterances, modes, config.data.max_batch_seconds, device
    )
    texts = found.modes[modes[0]].texts
    rows = [
        replace(row, text=text or None)
        for row, text in zip(utterances, texts, strict=True)
    ]
    path = Path(config.output_folder) / LABELS
    write_manifest(path, rows, config.data_folder)
    hours = found.audio_seconds / 3600
    empty = sum(not text for text in texts)
    logger.info(
        "%s: %d utterances of %.2f h, %d without a word: %s",
        *(split, len(rows), hours, empty, path),
    )


def _load_bundle(config: RunConfig) -> Bundle:
    if config.bundle is None:
        raise UserError(
            f"{config.task}: key 'bundle' is missing; give the folder that a "
            "fine-tuning wrote"
        )
    return load_bundle(config.bundle)


def _bundle_recognizer(
    config: RunConfig, bundle: Bundle, device: torch.device | str
) -> Recognizer:
    """Override the bundle's options and language models by the YAML's."""
    lms, hot_words = bundle.lms, None
    if config.lm is not None:
        lms = lms.updated(config.lm.load(bundle.tokenizer))
    check_modes(config, parts_present(bundle.model, lms))
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


def _save_results(
    config: RunConfig, results: dict[str, list[ModeResult]]
) -> None:
    """Write ``results.json``, split -> mode -> numbers, tables and overlap."""
    output = Path(config.output_folder)
    numbers = {split: to_dict(found) for split, found in results.items()}
    tables = [
        f"{split}\n{format_table(found)}\n" for split, found in results.items()
    ]
    overlap = _count_overlap(config)
    lines = describe_overlap(overlap)
    logger.info("%s", lines)
    write_text(output / "overlap.json", json.dumps(overlap, indent=1))
    write_text(output / "results.txt", "\n".join([*tables, f"{lines}\n"]))
    write_text(output / "results.json", json.dumps(numbers, indent=1))


def _count_overlap(config: RunConfig) -> list[dict]:
    """Compare the test splits with each other and with train and dev.

    For a bundle these are those of its run, if it still lies in its folder.
    """
    data, whose = config.data, "" if config.bundle is None else "bundle's "
    trained = Path(config.bundle or config.output_folder)
    manifests = (trained.parent if whose else trained) / "manifests"
    splits = {
        f"{whose}{name}": read_manifest(manifests / f"{name}.jsonl")
        for name in (data.train, data.dev)
        if (manifests / f"{name}.jsonl").is_file()
    }
    splits |= {name: read_split(config, name) for name in data.test}
    return count_overlap(splits)


def describe_overlap(overlap: Sequence[dict]) -> str:
    """Write a line for each two splits.

    Example
    -------
    >>> print(describe_overlap(
    ...     [{"splits": ["train", "test"], "speakers": 0, "texts": 3}]))
    overlap
    train and test: speakers 0, texts 3
    """
    lines = ["overlap"]
    for row in overlap:
        a, b = row["splits"]
        lines.append(
            f"{a} and {b}: speakers {row['speakers']}, texts {row['texts']}"
        )
    if not overlap:
        lines.append("unknown: the manifests of the training are not there")
    return "\n".join(lines)
