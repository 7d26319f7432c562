"""Tables of utterances as rows of text: TSV, CSV, JSON lines.

    file -> rows {column: value}, each with its file and line

TSV is read without quoting, a tab inside the transcript is taken as a space.
CSV may be separated by commas or semicolons, and quoted fields may hold line
ends. In JSON lines, keys are the columns; null is an empty field.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.dataio.manifest import read_lines, refuse

logger = logging.getLogger(__name__)

_REMEDY = "check the data folder"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Arguments
    ---------
    where : str
        File and line, for error messages.
    fields : dict
        Text by column; in JSON lines other values too.

    Example
    -------
    >>> Row("a.tsv:2", {"id": "u1"})["id"]
    'u1'
    """

    where: str
    fields: dict

    def __getitem__(self, column: str) -> str:
        return self.fields[column]

    def get(self, column: str | None) -> object:
        """Return a field; None where it is not there, or empty.

        Example
        -------
        >>> Row("a.tsv:2", {"id": " "}).get("id") is None
        True
        """
        value = self.fields.get(column)
        if isinstance(value, str):
            value = value.strip()
        return None if value == "" else value

    def number(self, column: str | None) -> float | None:
        """Return a number; None where the field is empty, NaN for no number.

        Example
        -------
        >>> Row("a.tsv:2", {"start": "0.5"}).number("start")
        0.5
        """
        value = self.get(column)
        if value is None:
            return None
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            return math.nan
        return number if math.isfinite(number) else math.nan


def read_tsv(
    path: str | os.PathLike, columns: Sequence[str], text: str = "text"
) -> list[Row]:
    """Read a table of tab-separated columns with a header, without quoting.

    Arguments
    ---------
    path : str or path
        The file.
    columns : sequence of str
        Those that its header must have.
    text : str
        The column whose tabs are taken as spaces.

    Returns
    -------
    list of Row

    Raises
    ------
    UserError
        For a missing file or column, and lines with another number of fields.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.tsv"
    >>> with open(path, "w") as file:
    ...     size = file.write('id\\ttext\\nu1\\tone "two\\n')
    >>> read_tsv(path, ["id"])[0].fields
    {'id': 'u1', 'text': 'one "two'}
    """
    lines = _tsv_lines(path)
    number, header = next(lines, (1, []))
    _check_header(path, number, header, columns)
    rows, faults, longer = [], [], []
    for number, fields in lines:
        line = f"{path}:{number}"
        if len(fields) != len(header):
            fault = f"{line}: {len(fields)} fields instead of {len(header)}"
            if len(fields) < len(header):
                faults.append(fault)
                continue
            longer.append(fault)
        fields = _joined(fields, header, text)
        rows.append(Row(line, dict(zip(header, fields, strict=False))))
    if text not in header or 2 * len(longer) > len(rows):
        faults += longer  # the header is wrong rather than the lines
    refuse(faults, "correct these lines")
    if longer:
        logger.warning(
            "%s: %d lines have tabs in their text, taken as spaces; the first"
            " is %s",
            path,
            len(longer),
            longer[0],
        )
    return rows


def _check_header(
    path: str | os.PathLike,
    number: int,
    header: Sequence[str],
    columns: Sequence[str],
) -> None:
    faults = [
        f"{path}:{number}: column {name!r} is missing from the header"
        for name in columns
        if name not in header
    ]
    if not header:
        faults = [f"{path}:1: the file is empty"]
    wanted = f"columns {', '.join(columns)}" if columns else "columns"
    refuse(faults, f"give it a header of tab-separated {wanted}")


def _joined(fields: list[str], header: list[str], text: str) -> list[str]:
    """Make one text again of one that has tabs in it."""
    more = len(fields) - len(header)
    if more <= 0 or text not in header:
        return fields
    start = header.index(text)
    end = start + more + 1
    return [*fields[:start], " ".join(fields[start:end]), *fields[end:]]


def _tsv_lines(path: str | os.PathLike) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields; blank lines are left out."""
    for number, line in enumerate(read_lines(path, _REMEDY), 1):
        if line.strip():
            yield number, line.split("\t")


def read_table(path: str | os.PathLike, text: str = "text") -> list[Row]:
    """Read a table by the ending of its name.

    Arguments
    ---------
    path : str or path
        ``.csv``, ``.tsv`` or ``.jsonl``, or one of these and ``.gz``.
    text : str
        The column of a TSV file whose tabs are taken as spaces.

    Returns
    -------
    list of Row
        At least one.

    Raises
    ------
    UserError
        For a missing or empty file and lines that cannot be read; all of them
        are counted.

    Example
    -------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.csv"
    >>> with open(path, "w") as file:
    ...     size = file.write('id;text\\nu1;"one; two"\\n')
    >>> read_table(path)[0]["text"]
    'one; two'
    """
    ending = Path(os.fspath(path).removesuffix(".gz")).suffix.lower()
    if ending == ".tsv":
        rows = read_tsv(path, (), text)
    else:
        rows = _read_csv(path) if ending == ".csv" else _read_jsonl(path)
    refuse([] if rows else [f"{path}: has no lines"], "fill or remove it")
    return rows


def _read_csv(path: str | os.PathLike) -> list[Row]:
    lines = (f"{line}\n" for line in read_lines(path, _REMEDY))
    first = next(lines, "")
    separator = max(",;\t", key=first.count)
    options = {"delimiter": separator, "strict": True}
    header = next(csv.reader([first], **options), [])
    refuse([] if header else [f"{path}:1: the file is empty"], _REMEDY)
    reader = csv.reader(lines, **options)
    rows, faults = [], []
    while True:
        where = f"{path}:{reader.line_num + 2}"
        try:
            fields = next(reader, None)
        except csv.Error as error:
            faults.append(f"{where}: {error}")
            break  # the rest of the file may be inside a quote
        if fields is None:
            break
        if fields and len(fields) != len(header):
            faults.append(
                f"{where}: {len(fields)} fields instead of {len(header)}"
            )
        elif fields:
            rows.append(Row(where, dict(zip(header, fields, strict=False))))
    refuse(faults, "correct these lines; a field with commas needs quotes")
    return rows


def _read_jsonl(path: str | os.PathLike) -> list[Row]:
    rows, faults = [], []
    for number, line in enumerate(read_lines(path, _REMEDY), 1):
        where = f"{path}:{number}"
        try:
            record = json.loads(line) if line.strip() else None
        except (json.JSONDecodeError, RecursionError):
            faults.append(f"{where}: is not valid JSON")
            continue
        if isinstance(record, dict):
            rows.append(Row(where, record))
        elif line.strip():
            faults.append(f"{where}: is not a JSON object")
    refuse(faults, "give it one JSON object a line")
    return rows
