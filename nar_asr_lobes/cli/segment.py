"""``nar-asr segment AUDIO TRANSCRIPT``: utterances with times."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nar_asr_lobes.dataio.formats.elan import format_elan
from nar_asr_lobes.dataio.formats.running_text import read_running_text
from nar_asr_lobes.dataio.formats.subtitles import format_srt
from nar_asr_lobes.dataio.formats.textgrid import format_textgrid
from nar_asr_lobes.dataio.manifest import Utterance, write_manifest
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import write_text

if TYPE_CHECKING:
    from nar_asr_lobes.inference.segmenter import Segmentation

_TIER = "segments"
_SUFFIXES = (".jsonl", ".TextGrid", ".eaf", ".srt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "audio", metavar="AUDIO", help="the recording, of any format and length"
    )
    parser.add_argument(
        "transcript",
        metavar="TRANSCRIPT",
        help="its text in order: .txt with a sentence a line, .TextGrid, .eaf "
        "or .srt, whose times are not used",
    )
    parser.add_argument(
        "--bundle",
        required=True,
        metavar="DIR",
        help="folder with a model of the language",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="manifest (.jsonl), .TextGrid, .eaf or .srt; a table of all "
        "sentences is written beside it, named .segments.tsv",
    )
    parser.add_argument(
        "--tier",
        action="append",
        default=[],
        metavar="NAME",
        help="tier of the transcript; may be given again (the only one that "
        "has text)",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="NATS",
        help="leave out segments of a lower score; 0 is the best (-2)",
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N or auto (auto)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the segments, and say how many sentences were left out."""
    output = Path(arguments.output)
    suffixes = {suffix.lower(): suffix for suffix in _SUFFIXES}
    if output.suffix.lower() not in suffixes:
        raise UserError(
            f"{output}: the name of the output must end in "
            + ", ".join(_SUFFIXES)
        )
    sentences = read_running_text(arguments.transcript, arguments.tier)
    # Seconds of imports, which --help shall not wait for.
    from nar_asr_lobes.inference.bundle import load_bundle
    from nar_asr_lobes.inference.segmenter import MIN_SCORE, segment_recording
    from nar_asr_lobes.inference.transcriber import Transcriber

    bundle = load_bundle(arguments.bundle)
    least = arguments.min_score
    found = segment_recording(
        Transcriber(bundle, device=arguments.device),
        arguments.audio,
        sentences,
        bundle.text_style,
        MIN_SCORE if least is None else least,
    )
    write_text(output.with_suffix(".segments.tsv"), _table(found))
    _write(output, arguments.audio, found)
    _print_summary(found)
    return 0


def _write(output: Path, audio: str, found: Segmentation) -> None:
    rows = [(x.start, x.end, x.text) for x in found.kept]
    kind = output.suffix.lower()
    if kind == ".jsonl":
        name = Path(audio).stem
        utterances = [
            Utterance(
                f"{name}-{number:05}",
                str(Path(audio).resolve()),
                round(end - start, 3),
                text,
                start=round(start, 3),
            )
            for number, (start, end, text) in enumerate(rows, 1)
        ]
        write_manifest(output, utterances, Path(audio).resolve().parent)
    elif kind == ".textgrid":
        write_text(output, format_textgrid(rows, _TIER, found.seconds))
    elif kind == ".eaf":
        media = Path(audio).resolve().as_uri()
        write_text(output, format_elan(rows, _TIER, media))
    else:
        write_text(output, format_srt(rows))


def _table(found: Segmentation) -> str:
    """List all sentences with times and score, or why they are left out."""
    lines = ["sentence\tstart\tend\tscore\tleft_out\ttext"]
    for number, row in enumerate(found.segments, 1):
        figures = [
            "" if value is None else f"{value:.3f}"
            for value in (row.start, row.end, row.score)
        ]
        cells = [str(number), *figures, row.left_out, row.text]
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"


def _print_summary(found: Segmentation) -> None:
    reasons = [x.left_out for x in found.segments if x.left_out]
    shown = ", ".join(
        f"{reason} {reasons.count(reason)}" for reason in sorted(set(reasons))
    )
    print(f"{len(found.kept)} of {len(found.segments)} sentences are segments")
    if shown:
        print(f"left out: {shown}; .segments.tsv names them")
    print(
        f"about {found.speech_outside:.0f} s of speech are in no segment, of "
        f"{found.seconds:.0f} s of audio"
    )
    for character, count in sorted(found.unknown_characters.items()):
        print(
            f"the model does not know {character!r} (U+{ord(character):04X}), "
            f"passed over {count} times"
        )
