"""Data preparation shared by all recipes: a parser's rows -> manifests.

    prepare(data_folder) -> {"train": utterances, …} -> save_folder/train.jsonl

A recipe's parser only says which utterances there are; text normalisation,
checks and writing are done here, once.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance, refuse, write_manifest
from nar_asr_lobes.dataio.text import normalize_text
from nar_asr_lobes.dataio.unlabelled import cut_long
from nar_asr_lobes.errors import UserError

logger = logging.getLogger(__name__)

UTTERANCE_COLUMNS = ("id", "audio", "speaker", "split", "duration", "text")


def prepare_manifests(
    splits: Mapping[str, Iterable[Utterance]],
    save_folder: str | os.PathLike,
    data_root: str | os.PathLike,
    text_style: str = "none",
    max_seconds: float = math.inf,
) -> dict[str, Path]:
    """Write one manifest for each split of a data set.

    Arguments
    ---------
    splits : mapping of str to iterable of Utterance
        What a recipe's `prepare` returns; read once, in order.
    save_folder : str or path
        Where SPLIT.jsonl goes.
    data_root : str or path
        Folder that the stored audio paths are relative to.
    text_style : str
        See `normalize_text`; applied to every transcript.
    max_seconds : float
        Longer utterances of a split without transcripts are cut, see
        `cut_long`.

    Returns
    -------
    dict of str to Path
        The manifest of each split.

    Raises
    ------
    UserError
        For no splits, an empty split, or ids that stand twice in one split.

    Example
    -------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> rows = [Utterance("u1", "u1.wav", 1.0, text="Good morning.")]
    >>> paths = prepare_manifests({"train": rows}, folder, folder, "english")
    >>> paths["train"].name
    'train.jsonl'
    """
    if not splits:
        raise UserError(
            "the data preparation returned no splits; name at least one in"
            " its options"
        )
    paths = {}
    for name, utterances in splits.items():
        rows = [_normalized(row, text_style) for row in utterances]
        if all(row.text is None for row in rows):
            rows = cut_long(rows, max_seconds, data_root)
        _check_split(name, rows)
        paths[name] = Path(save_folder) / f"{name}.jsonl"
        write_manifest(paths[name], rows, data_root)
        hours = sum(row.duration for row in rows) / 3600
        logger.info("%s: %d utterances, %.2f h", name, len(rows), hours)
    return paths


def read_tsv(
    path: str | os.PathLike, columns: Sequence[str]
) -> list[dict[str, str]]:
    """Read a table of tab-separated columns with a header, without quoting.

    Arguments
    ---------
    path : str or path
        UTF-8 text.
    columns : sequence of str
        Columns that must be there; others are read as well.

    Returns
    -------
    list of dict
        One row each: column -> field, and "line" -> "FILE:LINE" for messages.

    Raises
    ------
    UserError
        For a missing file, missing columns, or lines with too few or too many
        fields or that are not UTF-8; all of them counted.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.tsv"
    >>> _ = path.write_text("id\\ttext\\nu1\\tgood morning\\n")
    >>> read_tsv(path, ["id", "text"])[0]["text"]
    'good morning'
    """
    lines = _tsv_lines(path)
    number, header, fault = next(lines, (1, [], "the file is empty"))
    missing = [name for name in columns if name not in header]
    if not fault and missing:
        fault = f"column {missing[0]!r} is missing from the header"
    refuse(
        [f"{path}:{number}: {fault}"] if fault else [],
        f"give it tab-separated columns {', '.join(columns)}",
    )
    rows, faults = [], []
    for number, fields, fault in lines:
        if not fault and len(fields) != len(header):
            fault = f"{len(fields)} fields instead of {len(header)}"
        if fault:
            faults.append(f"{path}:{number}: {fault}")
        rows.append(
            dict(zip(header, fields, strict=False), line=f"{path}:{number}")
        )
    refuse(faults, "correct these lines")
    return rows


def tsv_utterances(
    folder: str | os.PathLike,
) -> dict[str, list[Utterance]]:
    """Read a data set described by `utterances.tsv` in its folder.

    Arguments
    ---------
    folder : str or path
        Holds `utterances.tsv` with the columns id, audio (path relative to
        the folder), speaker, split, duration (seconds) and text.

    Returns
    -------
    dict of str to list of Utterance
        By the name in the split column; empty text becomes None.

    Raises
    ------
    UserError
        For what `read_tsv` refuses and for durations that are no numbers.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "utterances.tsv").write_text(
    ...     "id\\taudio\\tspeaker\\tsplit\\tduration\\ttext\\n"
    ...     "u1\\tu1.wav\\ts1\\ttest\\t1.5\\tgood morning\\n"
    ... )
    >>> tsv_utterances(folder)["test"][0].duration
    1.5
    """
    table = Path(folder) / "utterances.tsv"
    splits: dict[str, list[Utterance]] = {}
    faults = []
    for row in read_tsv(table, UTTERANCE_COLUMNS):
        try:
            seconds = float(row["duration"])
        except ValueError:
            faults.append(f"{row['line']}: the duration is not a number")
            continue
        utterance = Utterance(
            id=row["id"],
            audio=str(Path(folder).absolute() / row["audio"]),
            duration=seconds,
            text=row["text"] or None,
            speaker=row["speaker"] or None,
        )
        splits.setdefault(row["split"], []).append(utterance)
    refuse(faults, "correct these lines")
    return splits


def _tsv_lines(
    path: str | os.PathLike,
) -> Iterator[tuple[int, list[str], str | None]]:
    """Yield line number, fields and fault; blank lines are left out."""
    try:
        file = open(path, "rb")
    except OSError as error:
        raise UserError(
            f"{path}: cannot read this table ({error.strerror}); check the"
            " data folder"
        ) from error
    with file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig").rstrip("\r\n")
            except UnicodeDecodeError:
                yield number, [], "not UTF-8 text"
                continue
            if text.strip():
                yield number, text.split("\t"), None


def _normalized(row: Utterance, style: str) -> Utterance:
    if row.text is None:
        return row
    return replace(row, text=normalize_text(row.text, style))


def _check_split(name: str, rows: Sequence[Utterance]) -> None:
    if not rows:
        raise UserError(
            f"split {name!r} has no utterances; check the data folder, or"
            " name another split in the YAML's data section"
        )
    first_use: dict[str, Utterance] = {}
    faults = []
    for row in rows:
        if row.id in first_use:
            faults.append(
                f"split {name!r}: id {row.id} stands for"
                f" {first_use[row.id].audio} and again for {row.audio}"
            )
        first_use.setdefault(row.id, row)
    refuse(faults, "give every utterance of a split its own id")
