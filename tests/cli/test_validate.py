"""Every planted fault is found at its line; nothing of the content is shown."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from tests.faulty_corpus import CANARY, LETTERS, PLANTED, WARNINGS, Corpus

ROOT = Path(__file__).parents[2]


@pytest.fixture
def corpus(tmp_path):
    """Three splits of three sound lines each, not written yet."""
    return Corpus(tmp_path / "corpus")


def test_every_planted_fault_is_found_at_its_line(
    corpus, tmp_path, capfd, caplog
):
    tokenizer, output = tmp_path / "tokenizer.json", tmp_path / "report.json"
    CharTokenizer(f"{LETTERS} ").save(tokenizer)
    planted = {(corpus.add(t, make(corpus)), x) for t, x, make in PLANTED}
    assert len({problem for _, problem in planted}) >= 25
    corpus.write()
    command = ["validate", str(corpus.folder), "--tokenizer", str(tokenizer)]
    command += ["--max-seconds", "3", "--output", str(output)]
    assert main(command) == 1
    shown = capfd.readouterr()
    report = json.loads(output.read_text())
    found = {(x["place"], x["problem"]) for x in report["entries"]}
    assert found == planted
    warned = {x["problem"] for x in report["entries"] if not x["is_fault"]}
    assert warned == WARNINGS
    for place, problem in planted:
        assert f"{place}: {problem}" in shown.out
    for text in (shown.out, shown.err, caplog.text, output.read_text()):
        assert CANARY not in text
    assert {"splits": ["train", "dev"], "speakers": 0, "texts": 1} == {
        k: x for k, x in report["overlap"][0].items() if k != "audio"
    }

    assert main([*command, "--show-texts"]) == 1
    assert f"{CANARY} é" in capfd.readouterr().out


@pytest.mark.parametrize("recipe", [True, False])
def test_a_sound_corpus_has_no_faults(corpus, recipe, capfd):
    corpus.write()
    source = [str(corpus.folder)]
    if recipe:
        folder = ROOT / "recipes" / "CustomManifest"
        source = [str(folder), "--data_folder", *source]
    command = ["validate", *source]
    assert main(command) == 0
    shown = capfd.readouterr().out
    assert "faults: 0, in places: 0; warnings: 0" in shown
    assert "in both train and dev: 0 speakers, 0 texts, 0 recordings" in shown


def test_a_recipe_names_the_lines_of_its_corpus(corpus, capfd, caplog):
    place = corpus.add("dev.jsonl", corpus.row(b""))
    corpus.write()
    recipe = str(ROOT / "recipes" / "CustomManifest")
    command = ["validate", recipe, "--data_folder", str(corpus.folder)]
    assert main(command) == 1
    shown = capfd.readouterr()
    assert f"{place}: is empty (0 bytes)" in shown.out
    assert CANARY not in shown.out + shown.err + caplog.text


def test_files_without_a_table_are_numbered(tmp_path, capfd):
    wav = np.random.default_rng(0).uniform(-0.1, 0.1, 16000)
    for letter in "ab":
        path = tmp_path / f"{CANARY}-{letter}.wav"
        soundfile.write(path, wav, 16000)
        path.with_suffix(".txt").write_bytes(letter.encode() + b"\n")
    path.with_suffix(".txt").write_bytes(b"a\n\xe9\n")
    assert main(["validate", str(tmp_path)]) == 1
    shown = capfd.readouterr()
    assert f"{tmp_path}: audio 2:2: is not UTF-8 text" in shown.out
    assert f"{tmp_path}: audio 2: has the same audio as" in shown.out
    assert CANARY not in shown.out + shown.err


def test_a_repeated_text_is_one_warning_in_each_split(corpus, capfd):
    for table in ("train.csv", "dev.jsonl", "dev.jsonl", "dev.jsonl"):
        place = corpus.add(table, corpus.row(text="stop"))
    corpus.write()
    assert main(["validate", str(corpus.folder)]) == 0
    shown = capfd.readouterr().out
    assert "faults: 0, in places: 0; warnings: 1" in shown
    assert "(3 of dev; train has the same text from " in shown
    assert f"{place}: has" not in shown  # but the first of the three


def test_a_yaml_that_is_not_there_is_named(capfd):
    assert main(["validate", "no/finetune.yaml"]) == 2
    assert "no/finetune.yaml: no such file; " in capfd.readouterr().err


def test_options_of_recipes_need_a_recipe(tmp_path, capfd):
    assert main(["validate", str(tmp_path), "--data_folder", "x"]) == 2
    assert "is for recipes" in capfd.readouterr().err


def test_a_bundle_gives_the_allowed_characters(corpus, bundle_folder, capfd):
    place = corpus.add("train.csv", corpus.row(text="a Ж"))
    corpus.write()
    command = ["validate", str(corpus.folder), "--bundle", str(bundle_folder)]
    assert main(command) == 1
    assert f"{place}: " in capfd.readouterr().out
    assert main([*command[:2], "--max-seconds", "9"]) == 0
