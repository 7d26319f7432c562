"""``nar-asr import-encoder``: published weights to start a training from."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder of a wav2vec 2.0, HuBERT, WavLM, UniSpeech or"
        " data2vec-audio of transformers: config.json and model.safetensors"
        " (or its parts, or pytorch_model.bin); or a .pt file of fairseq2"
        " (Omnilingual-ASR), SpidR or DinoSR",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FOLDER",
        help="folder to write, for init_from",
    )
    parser.add_argument(
        "--normalize",
        choices=("yes", "no"),
        help="whether the model expects audio of zero mean and unit variance"
        " (as its preprocessor_config.json says; yes without one or for a"
        " file)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Import the encoder and print the next step."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.pretrained.encoder import import_encoder

    choice = arguments.normalize
    normalize = None if choice is None else choice == "yes"
    report = import_encoder(arguments.source, arguments.output, normalize)
    published, sizes = report.published, report.published.model
    print(
        f"{report.folder}: {published.model_type}, {sizes.encoder_layers} "
        f"layers of {sizes.d_model}, {report.parameters / 1e6:.1f} M "
        "parameters, 50 Hz"
    )
    print(f"audio: {published.audio}")
    if report.dropped:
        print(f"left out: {', '.join(report.dropped)}")
    print(f"train from it with --init_from={report.folder.resolve()}")
    return 0
