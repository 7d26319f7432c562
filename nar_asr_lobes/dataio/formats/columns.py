"""Rows of a table -> utterances: which column is the audio, which the text.

    rows {column: value} -> roles by the columns' names -> utterances by split

The names are those in common use: of this project's ``utterances.tsv``, NeMo
(``audio_filepath``, ``offset``), Hugging Face (``file_name``,
``transcription``), SpeechBrain (``ID``, ``wav``, ``spk_id``, ``wrd``) and
Common Voice (``path``, ``sentence``, ``client_id``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nar_asr_lobes.dataio.formats.tables import Row
from nar_asr_lobes.dataio.manifest import Utterance, refuse
from nar_asr_lobes.errors import UserError

_ROLES = {
    "id": ("id", "utt_id", "utterance_id"),
    "audio": (
        "audio",
        "audio_filepath",
        "audio_path",
        "file_name",
        "filename",
        "file",
        "path",
        "wav",
    ),
    "text": ("text", "transcript", "transcription", "sentence", "wrd"),
    "speaker": ("speaker", "speaker_id", "spk_id", "spk", "client_id"),
    "split": ("split", "subset", "partition"),
    "duration": ("duration",),
    "start": ("start", "offset"),
    "end": ("end",),
}
GROUPS = (
    "gender",
    "sex",
    "age",
    "accent",
    "accents",
    "dialect",
    "domain",
    "specialty",
    "device",
    "role",
    "country",
)
"""Columns that are kept as groups where none are named."""


def table_utterances(
    path: str | os.PathLike,
    rows: Sequence[Row],
    columns: Mapping[str, str] | None = None,
    groups: Sequence[str] = GROUPS,
) -> dict[str, list[Utterance]]:
    """Make utterances of the rows of a table.

    Arguments
    ---------
    path : str or path
        The table; its audio paths start from its folder, or from one of the
        two above it.
    rows : sequence of Row
        At least one.
    columns : mapping of str to str, optional
        Names of columns for the roles id, audio, text, speaker, split,
        duration, start and end, where they are not among the usual ones.
    groups : sequence of str
        Columns that become groups, as far as they are there.

    Returns
    -------
    dict of str to list of Utterance
        By the split column; "" where there is none. A duration that is not in
        the table is NaN, see ``with_durations``.

    Raises
    ------
    UserError
        For a table without audio, columns that could be the same, files that
        are not there, and lines with faults, all of which are counted.

    Example
    -------
    >>> row = Row("a.csv:2", {"file_name": "u1.wav", "sentence": "good day"})
    >>> table_utterances("a.csv", [row])[""][0].text
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: a.csv:2: its audio is not there; \
paths start at the table's folder or one of the two above it
    """
    names = list(dict.fromkeys(key for row in rows for key in row.fields))
    roles = _roles(path, names, columns or {})
    keep = [x for x in names if x in groups or x.lower() in groups]
    folder = audio_root(
        path, [(row.where, row.get(roles["audio"])) for row in rows[:100]]
    )
    splits: dict[str, list[Utterance]] = {}
    faults, first_use = [], {}
    for row in rows:
        found = _utterance(row, roles, keep, folder)
        if isinstance(found, str):
            faults.append(f"{row.where}: {found}")
            continue
        split = str(row.get(roles["split"]) or "")
        first = first_use.setdefault((split, found.id), row.where)
        if first != row.where:
            line = first.rpartition(":")[2]
            faults.append(f"{row.where}: its id stands in line {line} too")
        splits.setdefault(split, []).append(found)
    refuse(faults, "correct or remove these lines")
    return splits


def _roles(
    path: str | os.PathLike, names: Sequence[str], columns: Mapping[str, str]
) -> dict[str, str | None]:
    unknown = [role for role in columns if role not in _ROLES]
    missing = [name for name in columns.values() if name not in names]
    if unknown:
        raise UserError(
            f"columns: {unknown[0]!r} is no role; choose from"
            f" {', '.join(_ROLES)}"
        )
    if missing:
        raise UserError(
            f"{path}:1: column {missing[0]!r} is missing; it has"
            f" {', '.join(names)}"
        )
    return {
        role: columns.get(role) or _role(path, role, names) for role in _ROLES
    }


def _role(
    path: str | os.PathLike, role: str, names: Sequence[str]
) -> str | None:
    fitting = [name for name in names if name.lower() in _ROLES[role]]
    if len(fitting) > 1:
        raise UserError(
            f"{path}:1: columns {' and '.join(map(repr, fitting))} could both "
            f"be the {role}; choose one in data.options: columns: {{{role}: "
            f"{fitting[0]}}}"
        )
    if not fitting and role == "audio":
        raise UserError(
            f"{path}:1: no column names the audio; it has {', '.join(names)}; "
            "name it in data.options: columns: {audio: COLUMN}"
        )
    return fitting[0] if fitting else None


def audio_root(
    path: str | os.PathLike, audio: Iterable[tuple[str, object]]
) -> Path:
    """Find the folder that the relative audio paths of a file start from.

    Arguments
    ---------
    path : str or path
        The file that names them.
    audio : iterable of (str, object)
        The line and the path of some.

    Returns
    -------
    Path
        The folder of the file, or one of the two above it: the first below
        which some of the audio is.

    Raises
    ------
    UserError
        If none of it is there.

    Example
    -------
    >>> audio_root("x/a.csv", []).name
    'x'
    """
    folder = Path(path).absolute().parent
    some = [(where, x) for where, x in audio if isinstance(x, str)]
    for root in (folder, folder.parent, folder.parent.parent):
        if not some or any((root / x).is_file() for _, x in some):
            return root
    raise UserError(
        f"{some[0][0]}: its audio is not there; paths start at the table's"
        " folder or one of the two above it"
    )


def _utterance(
    row: Row,
    roles: Mapping[str, str | None],
    groups: Sequence[str],
    folder: Path,
) -> Utterance | str:
    """Make an utterance of a row, or tell the row's fault."""
    audio, text = row.get(roles["audio"]), row.get(roles["text"])
    for role, value in (("audio", audio), ("text", text)):
        if value is not None and not isinstance(value, str):
            return f"the {role} is not a string"
    if audio is None:
        return "the audio is missing"
    times = {}
    for role in ("start", "end", "duration"):
        value = row.number(roles[role])
        if value is not None and not value >= 0:
            return f"the {role} is not a number of seconds"
        times[role] = value
    start, duration = times["start"], times["duration"]
    if duration is None and times["end"] is not None:
        duration = times["end"] - (start or 0)
    if duration is None and start:
        return "it has a start, but neither end nor duration"
    if duration is not None and not duration > 0:
        return f"the duration is {duration:g} s"
    name = row.get(roles["id"])
    if name is None:
        name = os.path.splitext(os.path.relpath(folder / audio, folder))[0]
        name += f"-{start:.2f}" if start else ""
    found = {key: row.get(key) for key in groups}
    speaker = row.get(roles["speaker"])
    return Utterance(
        id=str(name),
        audio=str(folder / audio),
        duration=math.nan if duration is None else duration,
        text=text,
        speaker=None if speaker is None else str(speaker),
        start=start if duration is not None else None,
        groups={k: str(v) for k, v in found.items() if v is not None} or None,
        where=row.where,
    )
