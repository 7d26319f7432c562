"""Tables come back as written; faulty lines are named, with their numbers."""

import csv
import gzip
import io
import json
import random

import pytest

from nar_asr_lobes.dataio.formats.tables import read_table
from nar_asr_lobes.errors import UserError

SECRET = "jane doe"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_of_any_text(tmp_path, separator):
    """Rows of the csv module come back, with the line they begin at."""
    rng = random.Random(0)
    letters = 'ab ,;"\n\té'
    rows = [
        [str(number), "".join(rng.choices(letters, k=6)), "x"]
        for number in range(200)
    ]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator="\n")
    writer.writerows([["id", "text", "last"], *rows])
    path = tmp_path / "a.csv"
    path.write_text(file.getvalue(), encoding="utf-8-sig")
    found = read_table(path)
    assert [list(row.fields.values()) for row in found] == rows
    lines = file.getvalue().split("\n")
    for row in found:
        line = lines[int(row.where.rpartition(":")[2]) - 1]
        assert line.startswith(row["id"] + separator)


def test_json_lines(tmp_path):
    rows = [{"id": 1, "text": 'a "b"', "x": None}, {"id": 2}]
    path = tmp_path / "a.jsonl.gz"
    text = "\n\n".join(json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(text.encode()))
    found = read_table(path)
    assert [row.fields for row in found] == rows
    assert [row.where for row in found] == [f"{path}:1", f"{path}:3"]
    assert found[0].get("x") is None and found[0].get(None) is None


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", f"a,b\n1,2\n{SECRET},2,3\n", ":3: 3 fields instead of 2"),
        ("a.csv", f'a,b\n1,"{SECRET}\n\n', ":2: unexpected end of data"),
        ("a.csv", f'a,b\n1,"x"{SECRET}\n', ":2: ',' expected after '\"'"),
        ("a.csv", "", ":1: the file is empty"),
        ("a.csv", "a,b\n", ": has no lines"),
        ("a.tsv", "a\tb\n1\n", ":2: 1 fields instead of 2"),
        ("a.tsv", "\n", ":1: the file is empty"),
        ("a.jsonl", f'{{"a": 1}}\n{{"{SECRET}\n', ":2: is not valid JSON"),
        ("a.jsonl", f'["{SECRET}"]\n', ":1: is not a JSON object"),
        ("a.jsonl", "\n", ": has no lines"),
    ],
)
def test_faults_are_named_and_no_text_is_shown(tmp_path, name, text, problem):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}{problem}")
    assert SECRET not in str(caught.value)
