"""A file is there whole or not at all."""

import os
import re

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.files import written_file


def test_it_takes_the_place_of_the_older_one(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with open(tmp_path / "a", "rb") as older:
        with written_file(tmp_path / "a") as file:
            file.write(b"new")
            assert (tmp_path / "a").read_bytes() == b"old"
        assert older.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, OSError(28, "No space left")])
def test_the_older_one_stays_after_an_error(tmp_path, error):
    (tmp_path / "a").write_bytes(b"old")
    with (
        pytest.raises((ValueError, UserError)) as caught,
        written_file(tmp_path / "a") as file,
    ):
        file.write(b"half")
        raise error
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]
    if caught.type is UserError:
        told = (
            r"a: cannot be written \(No space left; .* free on that disk\); ch"
        )
        assert re.search(told, str(caught.value))


@pytest.mark.parametrize("name", [".", "", "a/b", "x" * 300])
def test_what_cannot_be_written_is_told(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"old")
    with (
        pytest.raises(UserError, match=r"cannot be written \(\w.*\); check"),
        written_file(name) as file,
    ):
        file.write(b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert len(list(tmp_path.parent.glob("*.tmp"))) == 0
