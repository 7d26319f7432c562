"""Bundles that appear whole or not at all, notice damage, have a README."""

import json
import os

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import score
from nar_asr_lobes.evaluation.report import ModeResult, to_dict
from nar_asr_lobes.inference.bundle_files import (
    _INDEX,
    BundleCard,
    sealed_folder,
    verified_files,
    write_text,
)


@pytest.fixture
def target(tmp_path):
    target = tmp_path / "new" / "bundle"
    with sealed_folder(target) as temporary:
        write_text(temporary / "a", "one")
        write_text(temporary / "b", "two")
    return target


def test_it_lists_what_was_written_and_leaves_nothing_else(target):
    assert verified_files(target) == {"a", "b"}
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_a_new_one_replaces_the_old_one(target):
    with sealed_folder(target) as temporary:
        write_text(temporary / "c", "three")
    assert {path.name for path in target.iterdir()} == {"c", _INDEX}
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_after_an_error_the_old_one_is_still_whole(target):
    with pytest.raises(RuntimeError):
        with sealed_folder(target) as temporary:
            write_text(temporary / "a", "new")
            raise RuntimeError
    assert verified_files(target) == {"a", "b"}
    assert (target / "a").read_text() == "one"
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_a_new_one_without_its_name_leaves_the_old_one(target, monkeypatch):
    rename = os.rename

    def fail(source, place):
        if os.path.basename(source) == ".bundle.tmp":
            raise OSError(28, "No space left on device")
        rename(source, place)

    monkeypatch.setattr(os, "rename", fail)
    told = "bundle: cannot be written .No space left on device; .* free on"
    with pytest.raises(UserError, match=told):
        with sealed_folder(target) as temporary:
            write_text(temporary / "a", "new")
    assert verified_files(target) == {"a", "b"}
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_what_a_crash_left_behind_is_no_hindrance(target):
    for name in (".bundle.tmp", ".bundle.old"):
        (target.parent / name).mkdir()
        (target.parent / name / "half").touch()
    with sealed_folder(target) as temporary:
        write_text(temporary / "c", "three")
    assert verified_files(target) == {"c"}
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_something_else_is_never_replaced(tmp_path):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    for target in (tmp_path, thesis):
        with pytest.raises(UserError, match="is not a bundle, so it is not"):
            with sealed_folder(target):
                pass
    assert thesis.read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="bundle: cannot be written"):
        with sealed_folder(tmp_path / "file" / "bundle"):
            pass


def test_one_flipped_bit_is_noticed(target):
    (target / "a").write_bytes(b"onf")
    with pytest.raises(UserError, match=r"bundle/a: is damaged .*SHA-256"):
        verified_files(target)


def test_a_missing_file_is_named(target):
    (target / "b").unlink()
    with pytest.raises(UserError, match="bundle/b: is missing; copy or"):
        verified_files(target)


def test_a_folder_without_an_index_is_no_bundle(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="is not a bundle"):
            verified_files(folder)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": "else", "sha256": {}}',
        '{"format": "nar-asr-bundle", "sha256": 1}',
        '{"format": "nar-asr-bundle"',
    ],
)
def test_a_damaged_index_is_named(target, content):
    (target / _INDEX).write_text(content)
    with pytest.raises(UserError, match="bundle.json: is damaged"):
        verified_files(target)


def test_the_index_cannot_name_files_elsewhere(target):
    index = json.loads((target / _INDEX).read_text())
    (target.parent / "secret").write_text("one")  # the same SHA-256 as a
    index["sha256"]["../secret"] = index["sha256"]["a"]
    (target / _INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="secret: is missing"):
        verified_files(target)


def test_card_tells_data_numbers_commands_and_limits():
    counts = score(["u1"], ["no chest pain today"], ["no chest pain"])
    text = BundleCard(
        title="Clinic",
        trained_on="2.9 h of clinical speech",
        tested_on="40 minutes of other speakers",
        results=to_dict([ModeResult("nar", counts, 0.5, 10.0, left_out=2)]),
        language_models=["A Transformer.", "A bigram."],
        commands=["python train.py hparams/finetune.yaml"],
        limits=["Not tested on children.", "English only."],
    ).markdown()
    assert text.startswith("# Clinic\n")
    assert "```bash\npython train.py hparams/finetune.yaml\n```" in text
    assert "2.9 h of clinical speech" in text
    assert "On 40 minutes of other speakers:\n\n| mode | WER %" in text
    assert "| nar | 25.00 | 31.58 | 1 of 3 | 0.050 |" in text
    assert text.endswith("- Not tested on children.\n- English only.\n")
    assert "## Language models\n\n- A Transformer.\n- A bigram.\n" in text
    assert "nar-asr transcribe" in text


def test_without_spaces_the_character_error_rate_comes_first():
    counts = score(["u1"], ["今天天气很好"], ["今天天汽很好"])
    results = to_dict([ModeResult("nar", counts, 0.5, 10.0)])
    text = BundleCard("Clinic", results=results).markdown()
    assert "| mode | CER % | WER % | utterances scored |" in text
    assert "| nar | 16.67 | 100.00 | 1 of 1 | 0.050 |" in text


def test_what_is_not_known_is_said():
    text = BundleCard("Clinic").markdown()
    assert text.count("Not stated.") == 3
    assert text.count("Not measured.") == 1
    assert "## Language models\n\nNone.\n" in text
