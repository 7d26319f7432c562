"""lmplz is looked for where the user says, and its failures are told."""

import os

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.lmplz import find_lmplz, run_lmplz


@pytest.fixture
def program(tmp_path):
    """Return the function that writes a shell script named lmplz."""

    def write(script):
        path = tmp_path / "bin" / "lmplz"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_found_in_kenlm_bin_before_path(program, tmp_path, monkeypatch):
    path = program("true")
    monkeypatch.setenv("KENLM_BIN", os.path.dirname(path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_lmplz() == path


def test_found_on_path(program, monkeypatch):
    path = program("true")
    monkeypatch.delenv("KENLM_BIN", raising=False)
    monkeypatch.setenv("PATH", os.path.dirname(path))
    assert find_lmplz() == path


def test_not_found(tmp_path, monkeypatch):
    monkeypatch.delenv("KENLM_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_lmplz() is None


def test_kenlm_bin_without_lmplz(program, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.path.dirname(program("true")))
    monkeypatch.setenv("KENLM_BIN", str(tmp_path))
    with pytest.raises(UserError, match="no program lmplz in this folder"):
        find_lmplz()


def test_failure_is_told_with_its_last_words(program, tmp_path):
    path = program("echo start >&2\necho out of memory >&2\nexit 7")
    with pytest.raises(UserError, match=r"status 7 \(out of memory\)"):
        run_lmplz(path, [["a", "b"]], 2, (0, 0), tmp_path)


def test_silent_failure(program, tmp_path):
    with pytest.raises(UserError, match=r"status 1 \(it said nothing\)"):
        run_lmplz(program("exit 1"), [["a"]], 2, (0, 0), tmp_path)
