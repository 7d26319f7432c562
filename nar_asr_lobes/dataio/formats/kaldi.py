"""A Kaldi data folder -> utterances.

    wav.scp, segments, text, utt2spk, utt2dur, spk2gender -> utterances

``text`` and all after it may be missing. Of the commands in ``wav.scp``, those
that decompress FLAC are understood; the file is then read itself.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from pathlib import Path

from nar_asr_lobes.dataio.formats.columns import audio_root
from nar_asr_lobes.dataio.manifest import Utterance, read_lines, refuse

_Pairs = dict[str, tuple[str, str]]
_Stretch = tuple[str, str, "float | None", "float | None"]
"""Line, file, start and seconds of an utterance."""


def kaldi_utterances(folder: str | os.PathLike) -> list[Utterance]:
    """List the utterances of a Kaldi data folder.

    Arguments
    ---------
    folder : str or path
        Holds ``wav.scp``. Relative paths in it start from the folder or one
        of the two above it.

    Returns
    -------
    list of Utterance
        With the start in their file where there are ``segments``. A duration
        that no file states is NaN, see ``with_durations``.

    Raises
    ------
    UserError
        For lines with faults, commands in ``wav.scp``, and utterances that
        are in one file only; all are counted.

    Example
    -------
    >>> kaldi_utterances("no")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: no/wav.scp: cannot be read (No such file \
or directory); check the data folder
    """
    folder = Path(folder)
    faults: list[str] = []
    audio = _audio(folder, faults)
    stretches = _stretches(folder, audio, faults)
    texts = _pairs(folder / "text", faults)
    faults += [
        f"{where}: the utterance has no audio"
        for name, (where, _) in texts.items()
        if name not in stretches
    ]
    if texts:
        faults += [
            f"{where}: the utterance has no line in text"
            for name, (where, *_) in stretches.items()
            if name not in texts
        ]
    refuse(faults, "correct these files, for example with fix_data_dir.sh")
    return _utterances(folder, stretches, texts)


def _utterances(
    folder: Path, stretches: dict[str, _Stretch], texts: _Pairs
) -> list[Utterance]:
    faults: list[str] = []
    speakers, genders, durations = (
        _pairs(folder / name, faults)
        for name in ("utt2spk", "spk2gender", "utt2dur")
    )
    rows = []
    for name, (line, audio, start, seconds) in stretches.items():
        where, stated = durations.get(name, ("", "nan"))
        if not re.fullmatch(r"nan|\d+(\.\d+)?", stated):
            faults.append(f"{where}: is not UTTERANCE SECONDS")
            continue
        _, speaker = speakers.get(name, ("", None))
        _, gender = genders.get(speaker, ("", None))
        rows.append(
            Utterance(
                id=name,
                audio=audio,
                duration=float(stated) if seconds is None else seconds,
                text=texts[name][1] or None if name in texts else None,
                speaker=speaker,
                start=start,
                groups={"gender": gender} if gender else None,
                where=line,
            )
        )
    refuse(faults, "correct these lines")
    return rows


def _pairs(path: Path, faults: list[str], needed: bool = False) -> _Pairs:
    """Read the lines "KEY VALUE" of a file, if it is there."""
    found: _Pairs = {}
    if not needed and not path.is_file():
        return found
    for number, line in enumerate(read_lines(path, "check the data folder"), 1):
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key in found:
            faults.append(f"{path}:{number}: its key stands there twice")
        if key:
            found[key] = f"{path}:{number}", value.strip()
    return found


def _audio(folder: Path, faults: list[str]) -> _Pairs:
    files: _Pairs = {}
    for name, (where, value) in _pairs(
        folder / "wav.scp", faults, needed=True
    ).items():
        if value.endswith("|"):
            words = shlex.split(value[:-1])
            flac = words[:1] == ["flac"] and words[-1].endswith(".flac")
            value = words[-1] if flac else ""
        if not value or value.rpartition(":")[2].isdigit():
            faults.append(
                f"{where}: is a command or a part of an archive; write it to"
                " an audio file and name that"
            )
            continue
        files[name] = where, value
    if faults:
        return files
    root = audio_root(folder / "wav.scp", list(files.values())[:100])
    return {
        name: (where, str(root / value))
        for name, (where, value) in files.items()
    }


def _stretches(
    folder: Path, audio: _Pairs, faults: list[str]
) -> dict[str, _Stretch]:
    path = folder / "segments"
    if not path.is_file():
        return {name: (*file, None, None) for name, file in audio.items()}
    found: dict[str, _Stretch] = {}
    for name, (where, value) in _pairs(path, faults).items():
        try:
            recording, *times = value.split()
            start, end = map(float, times[:2])
        except ValueError:
            faults.append(f"{where}: is not UTTERANCE RECORDING START END")
            continue
        if recording not in audio:
            faults.append(f"{where}: its recording is not in wav.scp")
        elif not 0 <= start < end < math.inf:
            faults.append(f"{where}: its end is not behind its start")
        else:
            found[name] = where, audio[recording][1], start, end - start
    return found
