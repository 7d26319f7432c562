"""Texts to compare, read from two files or folders, matched by id.

    REFERENCE, HYPOTHESIS -> PairedTexts: ids [N], texts [N] of each, columns

Forms: a folder of .txt files (the id is the file's name), JSON lines or a table
(.tsv) with "id" and "text", lines of "id<TAB>text" or of "id text" (Kaldi), or
plain lines, matched by their number. Messages quote neither texts nor
ids, which may be confidential.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nar_asr_lobes.dataio.manifest import read_lines, refuse
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.alternatives import are_closed

# A first word with a digit and something else is a name, such as 84-121123-1.
_KALDI_ID = re.compile(r"(?=\S*\d)(?=\S*[^\d\s])\S+")
FILES, IDS, LINES = "file name", "id", "line number"


@dataclass(frozen=True)
class Texts:
    """The texts of one file or folder.

    Arguments
    ---------
    path : str
        Where they are from.
    texts : dict
        By id.
    places : dict
        File, or file and line, by id.
    matched_by : str
        Kind of the ids: "file name", "id" or "line number".
    columns : dict
        Other columns of the table by id.
    """

    path: str
    texts: dict[str, str]
    places: dict[str, str]
    matched_by: str
    columns: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def column_names(self) -> set[str]:
        """Names of the columns that a row has."""
        return {key for row in self.columns.values() for key in row}

    def column(self, name: str) -> list[str]:
        """Return the values of a column, "" where a row has none.

        Raises UserError, with the names there are, for an unknown one.
        """
        if name not in self.column_names:
            there = ", ".join(sorted(self.column_names)) or "none"
            raise UserError(
                f"{self.path}: has no column {name!r} (columns: {there}); give "
                "the references as a table (.tsv) or JSON lines with it"
            )
        return [self.columns.get(key, {}).get(name, "") for key in self.texts]


@dataclass(frozen=True)
class PairedTexts:
    """References, and the hypotheses of one or more systems, in one order.

    Arguments
    ---------
    references : Texts
        With the ids and group columns.
    hypotheses : list of list of str
        Of each system the texts, [N]; "" where one is missing.
    missing : list of list of str
        Of each system the ids of references without hypothesis.
    unused : list of list of str
        Of each system the ids of hypotheses without reference.
    """

    references: Texts
    hypotheses: list[list[str]]
    missing: list[list[str]]
    unused: list[list[str]]


def read_paired(
    reference: str | os.PathLike, *hypotheses: str | os.PathLike
) -> PairedTexts:
    """Read references and the hypotheses of one or more systems.

    Arguments
    ---------
    reference : str or path
        A file or a folder.
    *hypotheses : str or path
        Of each system; of the same form, or also with ids.

    Returns
    -------
    PairedTexts

    Raises
    ------
    UserError
        For files that cannot be read, ids that stand twice, no text, sides
        that cannot be matched, plain lines of different numbers, and
        references with a brace that has no partner.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "ref.txt").write_text("u1\\tno pain\\nu2\\tyes\\n")
    >>> _ = (folder / "hyp.txt").write_text("u1\\tno pan\\n")
    >>> paired = read_paired(folder / "ref.txt", folder / "hyp.txt")
    >>> paired.hypotheses, paired.missing
    ([['no pan', '']], [['u2']])
    """
    said = read_texts(reference)
    faults = [
        f"{said.places[key]}: has a brace without its partner"
        for key, text in said.texts.items()
        if not are_closed(text)
    ]
    refuse(faults, "write alternatives as {a/b}, or remove the brace")
    found, missing, unused = [], [], []
    for path in hypotheses:
        heard = read_texts(path)
        _check_match(said, heard)
        found.append([heard.texts.get(key, "") for key in said.texts])
        missing.append([key for key in said.texts if key not in heard.texts])
        unused.append([key for key in heard.texts if key not in said.texts])
    return PairedTexts(said, found, missing, unused)


def _check_match(said: Texts, heard: Texts) -> None:
    if (said.matched_by == LINES) != (heard.matched_by == LINES):
        raise UserError(
            f"{said.path}: is matched by {said.matched_by}, but {heard.path} "
            f"by {heard.matched_by}; give both with ids, or both without"
        )
    if said.matched_by == LINES and len(said.texts) != len(heard.texts):
        raise UserError(
            f"{said.path}: has {len(said.texts)} lines, but {heard.path} has "
            f"{len(heard.texts)}; give one hypothesis a line, or ids"
        )
    if not said.texts.keys() & heard.texts.keys():
        raise UserError(
            f"{said.path}: shares no {said.matched_by} with {heard.path}; give "
            "hypotheses of these references"
        )


def read_texts(path: str | os.PathLike) -> Texts:
    """Read the texts of a file or folder; its form is recognised.

    Arguments
    ---------
    path : str or path
        In one of the forms that this module lists.

    Returns
    -------
    Texts

    Raises
    ------
    UserError
        For a file that cannot be read, holds no text or has damaged lines.
    """
    path = Path(path)
    if path.is_dir():
        files = {file.stem: file for file in sorted(path.glob("*.txt"))}
        texts = {key: " ".join(read_lines(x)) for key, x in files.items()}
        places = {key: str(file) for key, file in files.items()}
        found = Texts(str(path), texts, places, FILES)
    elif path.suffix == ".jsonl":
        found = _from_rows(path, _json_rows(path))
    elif path.suffix == ".tsv":
        found = _from_rows(path, _table_rows(path))
    else:
        found = _from_lines(path, list(read_lines(path)))
    if not found.texts:
        raise UserError(
            f"{path}: holds no text; give a folder of .txt files, or a file"
        )
    return found


def _from_lines(path: Path, lines: Sequence[str]) -> Texts:
    filled = [(n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if all("\t" in line for _, line in filled):
        separator = "\t"
    elif _is_kaldi([line for _, line in filled]):
        separator = " "
    else:
        texts = {str(number): line for number, line in enumerate(lines, 1)}
        places = {number: f"{path}:{number}" for number in texts}
        return Texts(str(path), texts, places, LINES)
    rows = []
    for number, line in filled:
        key, _, text = line.partition(separator)
        rows.append((number, {"id": key, "text": text}))
    return _from_rows(path, rows)


def _is_kaldi(lines: Sequence[str]) -> bool:
    """Whether each of several lines begins with a name of its own."""
    names = {line.split()[0] for line in lines}
    return 1 < len(lines) == len(names) and all(map(_KALDI_ID.match, names))


def _table_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    lines = enumerate(read_lines(path), 1)
    _, header = next(lines, (1, ""))
    names = header.split("\t")
    return [
        (number, dict(zip(names, line.split("\t"), strict=False)))
        for number, line in lines
        if line.strip()
    ]


def _json_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            row = {}
        # The header of a manifest holds no utterance.
        if number > 1 or row.keys() != {"data_root"}:
            rows.append((number, row))
    return rows


def _from_rows(path: Path, rows: Sequence[tuple[int, dict]]) -> Texts:
    texts, places, columns, faults = {}, {}, {}, []
    for number, row in rows:
        key, text = row.get("id"), row.get("text")
        if not isinstance(key, str) or not isinstance(text, str) or not key:
            faults.append(f"{path}:{number}: no 'id' and 'text'")
        elif key in texts:
            line = places[key].rpartition(":")[2]
            faults.append(f"{path}:{number}: has the id of line {line}")
        else:
            texts[key], places[key] = text, f"{path}:{number}"
            columns[key] = {
                name: str(value)
                for name, value in _cells(row).items()
                if name not in ("id", "text")
            }
    refuse(faults, "correct or remove these lines")
    return Texts(str(path), texts, places, IDS, columns)


def _cells(row: dict) -> dict:
    """The groups of a manifest are columns like the others."""
    groups = row.get("groups")
    return {**groups, **row} if isinstance(groups, dict) else row
