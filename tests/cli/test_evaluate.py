"""`nar-asr evaluate` and `nar-asr compare`, called as functions."""

import json

import pytest

from nar_asr_lobes.cli.main import main

ROWS = [
    ("u-1", "anna", "take {asprin/aspirin} now"),
    ("u-2", "anna", "no chest pain"),
    ("u-3", "ben", "yes"),
    ("u-4", "carl", "aspirin twice a day"),
]
A = ["u-1 take aspirin no", "u-2 no chest pain", "u-4 twice a day"]
B = ["u-1 take aspirin now", "u-2 no chest pain", "u-3 yes", "u-9 canary"]


@pytest.fixture
def files(tmp_path):
    lines = ["id\tspeaker\ttext", *("\t".join(row) for row in ROWS)]
    contents = {
        "ref.tsv": lines,
        "a.txt": A,
        "b.txt": [*B, "u-4 aspirin twice a day"],
        "terms.tsv": ["aspirin\tdrugs", "pain\tsymptoms"],
        "canonical.tsv": ["reference\tasprin\taspirin"],
    }
    for name, content in contents.items():
        text = "".join(f"{line}\n" for line in content)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def evaluate(files, *options, command=("evaluate", "ref.tsv", "a.txt")):
    name, *paths = command
    output = files / "result.json"
    arguments = [name, *(str(files / path) for path in paths), *options]
    assert main([*arguments, "--output", str(output)]) == 0
    return json.loads(output.read_text(encoding="utf-8"))


def test_figures_and_how_they_were_made(files, capsys):
    found = evaluate(files, "--by", "speaker", "--normalizer", "english")
    assert found["all"]["words"] == 11
    assert found["all"]["wer"] == pytest.approx(3 / 11)
    low, high = found["all"]["wer_interval"]
    assert low < 3 / 11 < high
    assert found["normalizer"] == {"name": "english", "version": "2"}
    assert found["resampled"] == "speaker"
    assert found["matched_by"] == "id"
    [system] = found["hypotheses"]
    assert (system["missing"], system["unused"]) == (["u-3"], [])
    groups = found["groups"]["speaker"]
    assert [groups[name]["word_errors"] for name in sorted(groups)] == [1, 1, 1]
    assert groups["ben"]["wer_interval"] is None  # one speaker
    assert found["errors"]["substitutions"] == [["now", "no", 1]]
    printed = capsys.readouterr().out
    assert "normaliser english, version 2" in printed
    assert "3 values of speaker" in printed
    assert "references without hypothesis: 1, counted" in printed
    assert ["speaker", "ben", "100.00", "-"] in [
        line.split()[:4] for line in printed.splitlines()
    ]


def test_terms(files, capsys):
    lists = [str(files / "terms.tsv"), "--canonical"]
    found = evaluate(files, "--terms", *lists, str(files / "canonical.tsv"))
    drugs = found["all"]["terms"]["drugs"]
    assert (drugs["terms"], drugs["deletions"]) == (2, 1)
    assert sorted(found["term_files_sha256"]) == ["canonical.tsv", "terms.tsv"]
    printed = capsys.readouterr().out
    assert found["term_files_sha256"]["terms.tsv"] in printed
    assert "all, terms: drugs" in printed


def test_compare(files, capsys):
    found = evaluate(files, command=("compare", "ref.tsv", "a.txt", "b.txt"))
    assert (found["a"]["word_errors"], found["b"]["word_errors"]) == (3, 0)
    comparison = found["comparison"]["wer"]
    assert comparison["difference"]["value"] == pytest.approx(-3 / 11)
    assert comparison["fewer"]["value"] == 1
    assert comparison["probability"] == 1
    assert "P(B better)" in capsys.readouterr().out


def test_texts_and_ids_are_printed_only_when_asked_for(files, capsys):
    evaluate(files, command=("evaluate", "ref.tsv", "b.txt"))
    evaluate(files)
    printed = capsys.readouterr().out
    for word in ("canary", "u-3", "anna", "now"):
        assert word not in printed
    evaluate(files, "--show-errors", "1")
    assert "now -> no" in capsys.readouterr().out


def test_results_are_repeatable(files):
    assert evaluate(files) == evaluate(files)


def test_the_column_for_the_intervals_can_be_another(files):
    assert evaluate(files, "--resample", "speaker") == evaluate(files)
    paths = [str(files / name) for name in ("ref.tsv", "a.txt")]
    assert main(["evaluate", *paths, "--resample", "age"]) == 2


def test_spellings_without_terms_are_refused(files, capsys):
    paths = [str(files / name) for name in ("ref.tsv", "a.txt")]
    assert main(["evaluate", *paths, "--canonical", "x.tsv"]) == 2
    assert "give --terms too" in capsys.readouterr().err
