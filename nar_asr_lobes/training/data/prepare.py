"""From a data set on disk to checked manifests, tokenizer and loaders.

prepare() -> manifests/ -> tokenizer -> checks -> checked/ + left_out.txt
checked/{train,dev} -> data.json, compared when the run is resumed
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch

from nar_asr_lobes.dataio.audio.jobs import AudioJobs
from nar_asr_lobes.dataio.checks import (
    Finding,
    check_utterances,
    summarize,
)
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.index.rows import Corpora
from nar_asr_lobes.dataio.manifest import (
    Utterance,
    read_manifest,
    write_manifest,
)
from nar_asr_lobes.dataio.prepare import (
    collect_left_out,
    prepare_manifests,
)
from nar_asr_lobes.dataio.splits import take_share
from nar_asr_lobes.dataio.synthesis.phones import (
    Lexicon,
    load_lexicon,
    make_lexicon,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.evaluate import check_test_set
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.frontend import WaveformFrontend
from nar_asr_lobes.lobes.model import SpeechEncoder
from nar_asr_lobes.storage import write_text
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.data.tokenizer import make_tokenizer, run_tokenizer
from nar_asr_lobes.training.data.use_index import take_index
from nar_asr_lobes.training.metadata import (
    hash_utterances,
    keep_hashes,
    write_digests,
)

logger = logging.getLogger(__name__)
STORE = "audio.sqlite"
"""Outcomes of AudioJobs, in the output folder."""
LEFT_OUT = "left_out.txt"
"""Names all that is left out, in the output folder."""

Prepare = Callable[..., dict[str, Iterable[Utterance]]]
"""A recipe's parser: (data_folder, **options) -> utterances of each split."""


def prepare_data(
    config: RunConfig, prepare: Prepare, processes: int | None = None
) -> None:
    """Write everything that a run reads; call it on one process.

    Audio that is as it was the last time is not read again. ``processes``:
    see ``AudioJobs``.
    """
    store = Path(config.output_folder) / STORE
    with AudioJobs(store, processes), collect_left_out() as left_out:
        _prepare_splits(config, prepare, left_out)


def _prepare_splits(
    config: RunConfig, prepare: Prepare, left_out: list[Finding]
) -> None:
    digests = {}
    if config.data.index:
        names = [x for x in _wanted_splits(config) if x != config.data.train]
        digests[config.data.train] = take_index(config, names)
    else:
        chosen = recipe_splits(config, prepare)
        names = list(chosen)
        if config.data.train in chosen:
            rows = chosen[config.data.train]
            chosen[config.data.train] = take_share(rows, config.train_share)
        if config.debug_utterances:
            most = config.debug_utterances
            chosen = {n: u[:most] for n, u in chosen.items()}
        write_manifests(config, chosen)
    if config.task == "finetune":
        make_tokenizer(config, train_texts(config))
        _make_lexicon(config)
    _check(config, names, left_out, digests)


def write_manifests(
    config: RunConfig, splits: Mapping[str, Iterable[Utterance]]
) -> None:
    """Write the manifests of some splits."""
    prepare_manifests(
        splits,
        Path(config.output_folder) / "manifests",
        Path(config.data_folder).absolute(),
        config.data.text_style,
        config.data.max_seconds,
    )


def recipe_splits(
    config: RunConfig, prepare: Prepare
) -> dict[str, list[Utterance]]:
    """List the utterances of the splits that a run uses."""
    found = find_splits(config, prepare)
    return {name: list(rows) for name, rows in found.items()}


def find_splits(
    config: RunConfig, prepare: Prepare
) -> dict[str, Iterable[Utterance]]:
    """Call the recipe's parser; give the splits that a run uses."""
    splits = _call_prepare(config, prepare)
    wanted = _wanted_splits(config)
    for name in wanted:
        if name not in splits:
            raise UserError(
                f"{config.data_folder}: has no split {name!r}; the recipe "
                f"gives {', '.join(splits)}"
            )
    return {name: splits[name] for name in wanted}


def train_texts(config: RunConfig, checked: bool = False) -> Iterator[str]:
    """Read the transcripts of the training split, when they are used."""
    if config.data.index:
        yield from Corpora(config.data.index).texts()
        return
    for utterance in read_split(config, config.data.train, checked):
        yield utterance.text or ""


def train_size(config: RunConfig) -> tuple[int, float]:
    """Give utterances and hours of the training split."""
    if config.data.index:
        parts = Corpora(config.data.index).parts.values()
        seconds = [part.header.seconds for part in parts]
        return sum(map(len, parts)), sum(seconds) / 3600
    rows = read_split(config, config.data.train, checked=True)
    return len(rows), sum(row.duration for row in rows) / 3600


def _make_lexicon(config: RunConfig) -> None:
    """Pronounce the words of train and dev, where the run asks for phones."""
    voice = config.tokenizer.phones
    if voice is None:
        return
    dev = (row.text or "" for row in read_split(config, config.data.dev))
    texts = [*train_texts(config), *dev]
    make_lexicon(texts, voice).save(_lexicon_path(config))


def _call_prepare(config: RunConfig, prepare: Prepare) -> dict:
    options = config.data.options
    try:
        inspect.signature(prepare).bind(config.data_folder, **options)
    except TypeError as error:
        raise UserError(
            f"data.options: {error}; the recipe's prepare takes "
            f"{inspect.signature(prepare)}"
        ) from error
    return prepare(config.data_folder, **options)


def _wanted_splits(config: RunConfig) -> list[str]:
    data = config.data
    if config.task == "pretrain":
        return [data.train, data.dev]
    if config.task == "label":
        return [data.train]
    if config.task == "evaluate":
        return list(data.test)
    return list(dict.fromkeys([data.train, data.dev, *data.test]))


def _check(
    config: RunConfig,
    splits: list[str],
    listed: list[Finding],
    digests: dict[str, str],
) -> None:
    """Keep the usable utterances; count and name the others."""
    output, data = Path(config.output_folder), config.data
    labelled = config.task == "finetune"
    tokenizer = run_tokenizer(config) if labelled else None
    frontend = make_frontend(config.model)
    left_out = output / LEFT_OUT
    lines = "".join(f"data_folder: {finding}\n" for finding in listed)
    digests = dict(digests)
    for name in splits:
        scored = config.task == "evaluate" or (
            name not in (data.train, data.dev)
        )
        utterances = read_split(config, name)
        if not scored:
            usable, findings = check_utterances(
                utterances,
                tokenizer,
                frame_counter(config.model),
                data.min_seconds,
                data.max_seconds,
                read=data.check_audio,
            )
            checked = usable
        else:
            usable, findings = check_test_set(utterances, data.check_audio)
            checked = utterances  # a test set is scored whole, faults counted
        lines += "".join(f"{name}: {finding}\n" for finding in findings)
        write_text(left_out, lines)
        if findings:
            logger.warning("%s: %s", name, summarize(findings))
        if not usable:
            raise UserError(
                f"{config.data_folder}: no utterance of split {name!r} is "
                f"usable; {left_out} says why for each"
            )
        dataset = SpeechDataset(
            usable,
            None if scored else tokenizer,
            samples_for=frontend.samples_for,
        )
        if dataset.silence():
            logger.info("%s: %s", name, dataset.silence())
        if not scored:
            hashes = hash_utterances(checked)
            digests[name] = keep_hashes(output, name, hashes)
        write_manifest(output / "checked" / f"{name}.jsonl", checked, "/")
    if lines:
        logger.warning("%s names all that is left out", left_out)
    if digests:
        write_digests(output, digests)


def make_frontend(model: ModelConfig) -> WaveformFrontend:
    """Build the frontend, which counts frames, without weights."""
    with torch.device("meta"):
        return SpeechEncoder(model).frontend


def frame_counter(model: ModelConfig) -> Callable[[int], int]:
    """Return a function: samples at 16 kHz -> frames of the encoder."""
    frontend = make_frontend(model)
    return lambda samples: int(frontend.output_lengths(torch.tensor(samples)))


def read_split(
    config: RunConfig, split: str, checked: bool = False
) -> list[Utterance]:
    """Read the manifest of a split, as prepared or as checked."""
    folder = "checked" if checked else "manifests"
    path = Path(config.output_folder) / folder / f"{split}.jsonl"
    return read_manifest(path)


def _lexicon_path(config: RunConfig) -> Path:
    """Tell where the run keeps its phones."""
    return Path(config.output_folder) / "lexicon.json"


def run_lexicon(config: RunConfig) -> Lexicon | None:
    """Load the run's phones, if it asks for them."""
    if config.tokenizer.phones is None:
        return None
    return load_lexicon(_lexicon_path(config))
