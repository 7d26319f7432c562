"""Folders that appear whole or not at all, and notice damage."""

import json
import os

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.inference.bundle_files import (
    INDEX,
    verified_files,
    write_text,
    written_folder,
)


@pytest.fixture
def target(tmp_path):
    target = tmp_path / "new" / "bundle"
    with written_folder(target) as temporary:
        write_text(temporary / "a", "one")
        write_text(temporary / "b", "two")
    return target


def test_it_lists_what_was_written_and_leaves_nothing_else(target):
    assert verified_files(target) == {"a", "b"}
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_a_new_one_replaces_the_old_one(target):
    with written_folder(target) as temporary:
        write_text(temporary / "c", "three")
    assert {path.name for path in target.iterdir()} == {"c", INDEX}
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_after_an_error_the_old_one_is_still_whole(target):
    with pytest.raises(RuntimeError):
        with written_folder(target) as temporary:
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
        with written_folder(target) as temporary:
            write_text(temporary / "a", "new")
    assert verified_files(target) == {"a", "b"}
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_what_a_crash_left_behind_is_no_hindrance(target):
    for name in (".bundle.tmp", ".bundle.old"):
        (target.parent / name).mkdir()
        (target.parent / name / "half").touch()
    with written_folder(target) as temporary:
        write_text(temporary / "c", "three")
    assert verified_files(target) == {"c"}
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_something_else_is_never_replaced(tmp_path):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    for target in (tmp_path, thesis):
        with pytest.raises(UserError, match="is not a bundle, so it is not"):
            with written_folder(target):
                pass
    assert thesis.read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="bundle: cannot be written"):
        with written_folder(tmp_path / "file" / "bundle"):
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
    (target / INDEX).write_text(content)
    with pytest.raises(UserError, match="bundle.json: is damaged"):
        verified_files(target)


def test_the_index_cannot_name_files_elsewhere(target):
    index = json.loads((target / INDEX).read_text())
    (target.parent / "secret").write_text("one")  # the same SHA-256 as a
    index["sha256"]["../secret"] = index["sha256"]["a"]
    (target / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match="secret: is missing"):
        verified_files(target)
