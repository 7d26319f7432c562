"""lhotse manifests -> utterances: cuts, or recordings with supervisions.

    cuts.jsonl.gz                               -> utterances
    recordings.jsonl.gz, supervisions.jsonl.gz  -> utterances

Read as the JSON lines that they are, without the library: times are seconds, a
cut's supervisions count from its start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from nar_asr_lobes.dataio.formats.columns import audio_root
from nar_asr_lobes.dataio.formats.tables import Row, read_table
from nar_asr_lobes.dataio.manifest import Utterance, refuse

_REMEDY = "correct these lines, or export the cuts with save_audios()"


def cut_utterances(
    path: str | os.PathLike, rows: Sequence[Row]
) -> list[Utterance]:
    """Make an utterance of each supervision of some cuts.

    Arguments
    ---------
    path : str or path
        The manifest.
    rows : sequence of Row
        Its lines. A cut without supervisions is unlabelled audio.

    Returns
    -------
    list of Utterance

    Raises
    ------
    UserError
        For cuts that are no stretch of a file: mixed or padded ones, those
        without a recording, a channel of several, audio that is no file.

    Example
    -------
    >>> cut_utterances("a.jsonl", [Row("a.jsonl:1", {"type": "MixedCut"})])
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: a.jsonl:1: is a MixedCut; correct these \
lines, or export the cuts with save_audios()
    """

    def parts(row: Row) -> tuple[dict, list[tuple[str, float, float, dict]]]:
        cut, kind = row.fields, row.fields.get("type", "MonoCut")
        if kind != "MonoCut":
            raise _Fault(f"is a {kind}")
        if not cut.get("recording"):
            raise _Fault("has no recording")
        start = float(cut["start"])
        found = [
            (
                str(x["id"]),
                start + float(x["start"]),
                float(x["duration"]),
                x,
            )
            for x in cut.get("supervisions") or ()
        ]
        whole = str(cut["id"]), start, float(cut["duration"]), {}
        return cut["recording"], found or [whole]

    return _utterances(path, rows, parts)


def supervision_utterances(path: str | os.PathLike) -> list[Utterance]:
    """Make an utterance of each supervision; the recordings are in a file.

    Arguments
    ---------
    path : str or path
        A manifest of supervisions. The recordings' has the same name, but for
        "recordings" in place of "supervisions".

    Returns
    -------
    list of Utterance

    Raises
    ------
    UserError
        As ``cut_utterances``, and for recordings that are not there.

    Example
    -------
    >>> supervision_utterances("x/supervisions.jsonl")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: x/recordings.jsonl: cannot be read (No \
such file or directory); check the data folder
    """
    path = Path(path)
    other = path.with_name(path.name.replace("supervisions", "recordings"))
    recordings = {row.get("id"): row.fields for row in read_table(other)}

    def parts(row: Row) -> tuple[dict, list[tuple[str, float, float, dict]]]:
        x = row.fields
        if x["recording_id"] not in recordings:
            raise _Fault(f"its recording is not in {other.name}")
        stretch = str(x["id"]), float(x["start"]), float(x["duration"]), x
        return recordings[x["recording_id"]], [stretch]

    return _utterances(path, read_table(path), parts)


class _Fault(Exception):
    """A line that cannot be used, and why."""


def _utterances(
    path: str | os.PathLike, rows: Sequence[Row], parts: Callable
) -> list[Utterance]:
    found, faults = [], []
    for row in rows:
        try:
            recording, stretches = parts(row)
            file = _file(recording)
            found += [(row.where, file, stretch) for stretch in stretches]
        except _Fault as fault:
            faults.append(f"{row.where}: {fault}")
        except (KeyError, TypeError, ValueError, AttributeError):
            faults.append(f"{row.where}: a key is missing or no number")
    refuse(faults, _REMEDY)
    root = audio_root(path, [(where, file) for where, file, _ in found[:100]])
    return [
        _utterance(where, str(root / file), *stretch)
        for where, file, stretch in found
    ]


def _file(recording: dict) -> str:
    [source, *more] = recording["sources"]
    if more or source["type"] != "file":
        raise _Fault("its audio is not one file")
    if len(recording.get("channel_ids") or source.get("channels") or "1") > 1:
        raise _Fault("its recording has several channels")
    return source["source"]


def _utterance(
    where: str, audio: str, name: str, start: float, seconds: float, x: dict
) -> Utterance:
    groups = {key: str(x[key]) for key in ("gender", "language") if x.get(key)}
    return Utterance(
        id=name,
        audio=audio,
        duration=seconds,
        text=x.get("text") or None,
        speaker=x.get("speaker"),
        start=start,
        groups=groups or None,
        where=where,
    )
