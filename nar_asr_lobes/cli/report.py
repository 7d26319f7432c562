"""``nar-asr report FOLDER``: a training or an evaluation as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path

from nar_asr_lobes.storage import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="an output folder of train.py, or the file that --output of "
        "evaluate or compare wrote",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="the page (report.html in FOLDER, or NAME.html beside NAME.json)",
    )
    parser.add_argument(
        "--audio",
        type=int,
        default=0,
        metavar="N",
        help="embed the audio of the N utterances of each test set that have "
        "the highest error rates (0)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.report.page import render_page
    from nar_asr_lobes.report.read import read_report
    from nar_asr_lobes.schema import require_count

    require_count("--audio", arguments.audio, 0)
    report = read_report(arguments.folder)
    if arguments.audio > 0:
        from nar_asr_lobes.report.clips import add_clips

        add_clips(report.sets, arguments.audio)
    path = Path(arguments.output or _default_output(arguments.folder))
    page = render_page(report)
    write_text(path, page)
    print(f"{path}: {len(page.encode()) / 1e6:.1f} MB")
    for found in report.sets:
        for note in found.notes:
            print(f"{found.name}: {note}")
    return 0


def _default_output(folder: str) -> Path:
    path = Path(folder)
    return path / "report.html" if path.is_dir() else path.with_suffix(".html")
