"""``nar-asr validate SOURCE``: all faults of a corpus, by file and line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nar_asr_lobes import __version__
from nar_asr_lobes.cli.evaluate import finish
from nar_asr_lobes.cli.prepare import load_prepare, require_yaml
from nar_asr_lobes.dataio.text.normalization import STYLES

if TYPE_CHECKING:
    from nar_asr_lobes.dataio.manifest import Utterance
    from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
    from nar_asr_lobes.dataio.validation import Entry, Report
    from nar_asr_lobes.lobes.config import ModelConfig

_SHOWN = 5  # places of a warning; --output has them all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a corpus as recipes/CustomManifest reads it: a folder, a table or"
        " a manifest; or a recipe: its folder or one of its YAML files",
    )
    for name, text in (
        ("data_folder", "where the recipe's data is"),
        ("data", "keys of the recipe's section data, as for train.py"),
        ("model", "keys of the recipe's section model, as for train.py"),
    ):
        parser.add_argument(f"--{name}", metavar="VALUE", help=text)
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--tokenizer",
        metavar="FILE",
        help="its characters are the allowed ones (those of the train split)",
    )
    known.add_argument(
        "--bundle", metavar="FOLDER", help="the same, with its frames and style"
    )
    parser.add_argument(
        "--text-style",
        choices=STYLES,
        help="of the transcripts (none, or that of the recipe or bundle)",
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        metavar="N",
        help="longest utterance of all splits but test (60, or the recipe's)",
    )
    parser.add_argument(
        "--show-texts",
        action="store_true",
        help="show transcripts, speakers, ids and names of audio files",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="gets the whole report as JSON"
    )


@dataclass
class _Corpus:
    """Utterances, and how a training takes them."""

    splits: Mapping[str, Sequence[Utterance]]
    text_style: str
    min_seconds: float
    max_seconds: float
    unlimited: Sequence[str]
    model: ModelConfig


def run(arguments: argparse.Namespace) -> int:
    """Print and write the report; 1 where there are faults."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.dataio.checks import Rules
    from nar_asr_lobes.dataio.manifest import collect_faults
    from nar_asr_lobes.dataio.validation import Report, validate_splits
    from nar_asr_lobes.training.data.prepare import frame_counter

    with collect_faults() as found:
        corpus = _read(arguments)
        tokenizer = _set_up(arguments, corpus)
        limits = corpus.min_seconds, corpus.max_seconds
        rules = Rules(tokenizer, frame_counter(corpus.model), *limits)
        report = validate_splits(
            corpus.splits, rules, corpus.text_style, corpus.unlimited
        )
    lines = [_line_fault(*fault) for fault in found]
    report = Report(lines + report.entries, report.splits, report.overlap)
    print(_format(report, arguments.show_texts))
    finish(arguments, _record(report, arguments))
    return 1 if report.faults else 0


def _read(arguments: argparse.Namespace) -> _Corpus:
    """Read the utterances of a recipe or of a corpus without one."""
    from nar_asr_lobes.dataio.checks import MAX_SECONDS
    from nar_asr_lobes.dataio.formats.detect import read_corpus
    from nar_asr_lobes.dataio.prepare import with_durations
    from nar_asr_lobes.errors import UserError
    from nar_asr_lobes.lobes.config import ModelConfig

    yaml = _recipe_yaml(arguments.source)
    if yaml is not None:
        return _read_recipe(arguments, yaml)
    for name in ("data_folder", "data", "model"):
        if getattr(arguments, name) is not None:
            raise UserError(
                f"--{name} is for recipes, and {arguments.source} is none; "
                "name the recipe's folder, or leave the option out"
            )
    corpus = {
        name: with_durations(rows, arguments.source)
        for name, rows in read_corpus(arguments.source).items()
    }
    return _Corpus(corpus, "none", 0.0, MAX_SECONDS, ["test"], ModelConfig())


def _recipe_yaml(source: str) -> Path | None:
    """Find the YAML of a recipe; None where the source is no recipe."""
    path = Path(source)
    if path.suffix == ".yaml":
        return require_yaml(source)
    for name in ("finetune", "pretrain"):
        yaml = path / "hparams" / f"{name}.yaml"
        if yaml.is_file():
            return yaml
    return None


def _read_recipe(arguments: argparse.Namespace, yaml: Path) -> _Corpus:
    from nar_asr_lobes.dataio.manifest import go_on
    from nar_asr_lobes.errors import UserError
    from nar_asr_lobes.training.config import LmRunConfig
    from nar_asr_lobes.training.data.prepare import recipe_splits
    from nar_asr_lobes.training.hparams import load_run, parse_arguments

    options = [
        f"--{name}={getattr(arguments, name)}"
        for name in ("data_folder", "data", "model")
        if getattr(arguments, name) is not None
    ]
    _, _, overrides = parse_arguments([str(yaml), *options])
    config = load_run(yaml, overrides)
    if isinstance(config, LmRunConfig):
        raise UserError(f"{yaml}: trains on texts; name a recipe with audio")
    prepare, splits, data = load_prepare(yaml), {}, config.data
    with go_on():  # an error of the parser is a fault beside the others
        splits = recipe_splits(config, prepare)
    return _Corpus(
        splits,
        data.text_style,
        data.min_seconds,
        data.max_seconds,
        [name for name in data.test if name not in (data.train, data.dev)],
        config.model,
    )


def _set_up(arguments: argparse.Namespace, corpus: _Corpus) -> Tokenizer | None:
    """Put in the options; return the tokenizer, by default of all texts."""
    from nar_asr_lobes.dataio.text.normalization import normalize_text
    from nar_asr_lobes.dataio.text.tokenizer import train_tokenizer
    from nar_asr_lobes.inference.bundle import load_bundle
    from nar_asr_lobes.training.data.tokenizer import find_tokenizer

    tokenizer = None
    if arguments.bundle:
        bundle = load_bundle(arguments.bundle)
        tokenizer, corpus.model = bundle.tokenizer, bundle.model.config
        corpus.text_style = bundle.text_style
    elif arguments.tokenizer:
        tokenizer = find_tokenizer(arguments.tokenizer)
    if arguments.text_style is not None:
        corpus.text_style = arguments.text_style
    if arguments.max_seconds is not None:
        corpus.max_seconds = arguments.max_seconds
    splits = corpus.splits
    rows = splits.get("train") or [x for some in splits.values() for x in some]
    texts = [normalize_text(x.text or "", corpus.text_style) for x in rows]
    if tokenizer is None and any(texts):
        tokenizer = train_tokenizer(texts)
    return tokenizer


def _line_fault(fault: str, remedy: str) -> Entry:
    """Make an entry of a reader's fault, ``FILE:LINE: PROBLEM``."""
    from nar_asr_lobes.dataio.validation import Entry

    match = re.match(r"(.*?:(?: audio )?\d+): (.*)", fault)
    place, problem = match.groups() if match else fault.split(": ", 1)
    return Entry(place, problem, remedy)


def _format(report: Report, show_texts: bool) -> str:
    """Write out the report for a terminal."""
    warnings = [entry for entry in report.entries if not entry.is_fault]
    parts = [
        _format_splits(report),
        "\n".join(_lines(report.faults, show_texts)),
        "\n".join(_format_warnings(warnings, show_texts)),
        f"faults: {len(report.faults)}, in places:"
        f" {len({entry.place for entry in report.faults})};"
        f" warnings: {len(warnings)}",
    ]
    return "\n\n".join(part for part in parts if part)


def _format_splits(report: Report) -> str:
    lines = []
    for name, split in report.splits.items():
        seconds = split.get("seconds", {}).items()
        lengths = ", ".join(f"{k} {x:.2f}" for k, x in seconds)
        rates = ", ".join(
            f"{n} x {k} Hz" for k, n in split["sample_rates"].items()
        )
        lines += [
            f"{name or 'all'}: {split['utterances']} utterances,"
            f" {split['hours']:.2f} h, {split['speakers']} speakers,"
            f" {split['without_text']} without text",
            f"  seconds: {lengths}; {rates}",
        ]
    for row in report.overlap:
        lines.append(
            f"in both {' and '.join(row['splits'])}: {row['speakers']}"
            f" speakers, {row['texts']} texts, {row['audio']} recordings"
        )
    return "\n".join(lines)


def _format_warnings(warnings: Sequence[Entry], show_texts: bool) -> list[str]:
    """List warnings by problem, the first places of each."""
    groups: dict[str, list[Entry]] = {}
    for entry in warnings:
        groups.setdefault(entry.problem, []).append(entry)
    lines = []
    for problem, entries in groups.items():
        lines.append(f"warning: {len(entries)} x {problem}")
        lines += [f"  {x}" for x in _lines(entries[:_SHOWN], show_texts)]
        if len(entries) > _SHOWN:
            lines.append(f"  … {len(entries) - _SHOWN} more in --output")
    return lines


def _lines(entries: Sequence[Entry], show_texts: bool) -> list[str]:
    lines = []
    for entry in entries:
        lines.append(str(entry))
        row = entry.utterance
        if show_texts and row is not None:
            lines.append(
                f"    {row.id}, {row.audio}, speaker {row.speaker}: {row.text}"
            )
    return lines


def _record(report: Report, arguments: argparse.Namespace) -> dict:
    entries = []
    for entry in report.entries:
        record = {k: v for k, v in vars(entry).items() if k != "utterance"}
        row = entry.utterance
        if arguments.show_texts and row is not None:
            shown = ("id", "audio", "speaker", "text")
            record |= {key: getattr(row, key) for key in shown}
        entries.append(record)
    return {
        "nar_asr_lobes": __version__,
        "source": arguments.source,
        "faults": len(report.faults),
        "warnings": len(report.entries) - len(report.faults),
        "splits": report.splits,
        "overlap": report.overlap,
        "entries": entries,
    }
