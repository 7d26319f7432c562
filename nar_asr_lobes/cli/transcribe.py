"""``nar-asr transcribe FILE... --bundle DIR``: audio files to text."""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.inference.formats import FORMATS

if TYPE_CHECKING:
    from nar_asr_lobes.decoding.hotwords.tables import HotWords
    from nar_asr_lobes.inference.bundle import Bundle
    from nar_asr_lobes.inference.transcriber import Transcriber


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="wav, flac, mp3, ogg, m4a, webm, mkv …; any rate, any number of "
        "channels; - for standard input",
    )
    parser.add_argument(
        "--bundle",
        required=True,
        metavar="DIR",
        help="folder with the model, as a fine-tuning writes it",
    )
    _add_search_arguments(parser)
    parser.add_argument(
        "--format", choices=list(FORMATS), default="txt", help="(txt)"
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="write NAME.FORMAT for each file there instead of printing",
    )
    _add_machine_arguments(parser)


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode", help="decoding mode, such as nar or beam5_lm (the bundle's)"
    )
    parser.add_argument(
        "--beam-size",
        type=_count,
        metavar="N",
        help="prefixes that the beam keeps; more find better text where the "
        "model is weak, and take longer (the bundle's, mostly 5)",
    )
    parser.add_argument(
        "--hot-words",
        metavar="FILE",
        help="phrases to prefer, each on a line or with a comma behind it; "
        "beam modes only",
    )
    parser.add_argument(
        "--hot-boost",
        type=float,
        metavar="NATS",
        help="how much to prefer them: nats for each token, 0 to 5 (1.0)",
    )


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda or cuda:N; auto for a GPU where there is one (auto)",
    )
    parser.add_argument(
        "--batch-seconds",
        type=_seconds,
        default=100.0,
        metavar="S",
        help="audio recognised at once; more is faster and takes more memory "
        "(100)",
    )
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="processor cores to use"
    )
    parser.add_argument(
        "--max-seconds",
        type=_seconds,
        default=90000.0,
        metavar="S",
        help="longest file (90000)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Transcribe the files; return 1 if some failed (named on stderr)."""
    targets = _targets(arguments)
    transcriber = _transcriber(arguments)
    failed = 0
    for transcript in transcriber.stream(arguments.files):
        if transcript.error:
            failed += 1
            _print(transcript.error + "\n", sys.stderr)
            continue
        for warning in transcript.warnings:
            _print(warning + "\n", sys.stderr)
        content = FORMATS[arguments.format](transcript)
        if targets:
            _write(targets[transcript.path], content)
            continue
        if arguments.format == "txt" and len(arguments.files) > 1:
            content = f"{transcript.path}: {content}"
        _print(content, sys.stdout)
    if failed and len(arguments.files) > 1:
        count = f"{failed} of {len(arguments.files)} files"
        _print(f"{count} could not be transcribed\n", sys.stderr)
    return 1 if failed else 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")
    return seconds


def _transcriber(arguments: argparse.Namespace) -> Transcriber:
    # Seconds of imports, which --help shall not wait for.
    import torch

    from nar_asr_lobes.decoding.modes import with_beam_size
    from nar_asr_lobes.inference.bundle import load_bundle
    from nar_asr_lobes.inference.transcriber import Transcriber

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    bundle = load_bundle(arguments.bundle)
    if arguments.beam_size:
        mode = arguments.mode or bundle.default_mode
        options = with_beam_size(bundle.options, mode, arguments.beam_size)
        bundle = replace(bundle, options=options)
    return Transcriber(
        bundle,
        arguments.mode,
        arguments.device,
        arguments.max_seconds,
        arguments.batch_seconds,
        hot_words=_hot_words(arguments, bundle),
    )


def _hot_words(
    arguments: argparse.Namespace, bundle: Bundle
) -> HotWords | None:
    from nar_asr_lobes.decoding.hotwords.tables import (
        DEFAULT_BOOST,
        read_hot_words,
    )

    boost = arguments.hot_boost
    if arguments.hot_words is None:
        if boost is not None:
            raise UserError("--hot-boost has no effect without --hot-words")
        return None
    return read_hot_words(
        arguments.hot_words,
        bundle.tokenizer,
        bundle.text_style,
        DEFAULT_BOOST if boost is None else boost,
    )


def _targets(arguments: argparse.Namespace) -> dict[str, Path]:
    """Name the file to write for each input; none when printing."""
    if not arguments.output_dir:
        whole = arguments.format in ("srt", "TextGrid", "eaf")
        if whole and len(arguments.files) > 1:
            raise UserError(
                f"{arguments.format} of several files cannot be printed one "
                "after the other; give --output-dir"
            )
        return {}
    folder = Path(arguments.output_dir)
    sources: dict[Path, str] = {}
    for path in arguments.files:
        name = "stdin" if path == "-" else Path(path).stem
        target = folder / f"{name}.{arguments.format}"
        other = sources.setdefault(target, path)
        if other != path:
            raise UserError(
                f"{other} and {path} would both be written to {target}; "
                "transcribe them into different folders"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(folder, error) from error
    return {path: target for target, path in sources.items()}


def _write(path: Path, content: str) -> None:
    """Write a file that appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(_encodable(content).encode())
        os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error) from error


def _print(text: str, stream: TextIO) -> None:
    stream.write(_encodable(text))
    stream.flush()


def _encodable(text: str) -> str:
    """Show the bytes of a file name that is not UTF-8 as escapes."""
    return text.encode(errors="surrogateescape").decode(
        errors="backslashreplace"
    )


def _not_written(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be written ({error.strerror}); check its permissions "
        "and the free space"
    )
