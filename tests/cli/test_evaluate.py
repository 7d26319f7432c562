"""`nar-asr evaluate` and `nar-asr compare`, called as functions."""

import json

import numpy as np
import pytest
import soundfile

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


def test_the_groups_of_a_manifest_are_columns(files):
    lines = [json.dumps({"data_root": "."})]
    for key, speaker, text in ROWS:
        row = {"id": key, "audio": "a.wav", "duration": 1.0, "text": text}
        groups = {"gender": "f" if speaker == "anna" else "m"}
        lines.append(json.dumps({**row, "groups": groups}))
    (files / "m.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = "evaluate", "m.jsonl", "a.txt"
    found = evaluate(files, "--by", "gender", command=command)["groups"]
    words = {x: row["words"] for x, row in found["gender"].items()}
    assert words == {"f": 6, "m": 5}


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


def test_buckets_stand_in_their_order(files, capsys):
    """Lengths without alternatives: 3, 3, 1 and 4 words."""
    found = evaluate(files, "--by", "words")
    assert list(found["groups"]["words"]) == ["< 6"]
    rows = [(f"u-{n}", n) for n in range(1, 5)]
    lines = ["id\tduration\tsnr\ttext"]
    for (key, _, text), (_, number) in zip(ROWS, rows, strict=True):
        lines.append(f"{key}\t{7 * number}\t{-5 + 6 * number}\t{text}")
    (files / "long.tsv").write_text("\n".join(lines), encoding="utf-8")
    command = "evaluate", "long.tsv", "a.txt"
    options = "--by", "duration", "--by", "snr"
    groups = evaluate(files, *options, command=command)["groups"]
    assert list(groups["duration"]) == ["5 to < 10", "10 to < 20", ">= 20"]
    assert list(groups["snr"]) == [
        *("0 to < 5", "5 to < 10", "10 to < 15", "15 to < 20"),
    ]
    assert sum(x["words"] for x in groups["snr"].values()) == 11
    printed = capsys.readouterr().out
    assert printed.index("duration 5 to") < printed.index("duration >= 20")


def test_the_snr_is_estimated_from_the_audio(files):
    rng = np.random.default_rng(0)
    lines = [json.dumps({"data_root": "."})]
    for number, (key, speaker, text) in enumerate(ROWS):
        path = f"{number}.wav"
        wav = np.sin(np.arange(16000.0)) * (np.arange(16000) > 6000)
        wav = 0.3 * wav + rng.normal(0, 0.3 if number else 0.001, 16000)
        soundfile.write(files / path, 0.3 * wav, 16000)
        row = {"id": key, "audio": path, "duration": 1.0, "text": text}
        lines.append(json.dumps({**row, "speaker": speaker}))
    (files / "m.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = "evaluate", "m.jsonl", "a.txt"
    found = evaluate(files, "--by", "snr", command=command)
    assert list(found["groups"]["snr"])[-1] == ">= 30"
    assert found["groups"]["snr"][">= 30"]["utterances"] == 1
    assert found["snr"].endswith("version 1")


def test_negations(files, capsys):
    found = evaluate(files, "--negations", "--by", "speaker")
    assert found["negations"] == {"list": "english", "version": "1"}
    counts = found["all"]["negations"]
    # "now" became "no", and "no chest pain" is right
    assert (counts["negations"], counts["insertions"]) == (1, 1)
    assert counts["rate"] == 1
    assert found["groups"]["speaker"]["ben"]["negations"]["rate"] is None
    printed = capsys.readouterr().out
    assert "negations english, version 1" in printed
    assert "negation errors %" in printed
    compared = evaluate(
        files, "--negations", command=("compare", "ref.tsv", "a.txt", "b.txt")
    )
    assert compared["comparison"]["negations"]["fewer"]["value"] == 1
    assert "negation errors  100.00  0.00" in capsys.readouterr().out


def test_spellings_count_as_equal_everywhere(files):
    path = files / "spellings.tsv"
    path.write_text("from\tto\nno\tnow\nyes\toh yeah\n", encoding="utf-8")
    found = evaluate(files, "--spellings", str(path))
    assert found["all"]["substitutions"] == 0
    assert found["all"]["words"] == 12
    assert "spellings sha256 " in found["normalizer"]["version"]
