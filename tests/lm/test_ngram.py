"""Training: what is written, what is refused, and lmplz's numbers."""

import hashlib
import json
import os
import shutil

import pytest

from nar_asr_lobes.dataio.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram import train_ngram
from nar_asr_lobes.lm.scorer import NgramLM
from nar_asr_lobes.lm.sidecar import check_sidecar

TOKENIZER = CharTokenizer("ab ")


@pytest.mark.parametrize(
    ("name", "prune"),
    [("notes.1", ()), ("notes.3", ()), ("notes.4.prune-0-0-1", (0, 0, 1))],
)
def test_characters_of_a_text_as_lmplz_has_them(
    name,
    prune,
    tmp_path,
    reference_text,
    reference_arpa,
    read_arpa,
    assert_equal,
):
    lines = reference_text("notes")
    tokenizer = train_tokenizer(lines, "char")
    order = int(name.split(".")[1])
    path = tmp_path / "lm.arpa"
    report = train_ngram(lines, tokenizer, order, path, prune, False)
    assert_equal(read_arpa(path), reference_arpa(name))
    assert report.sidecar.estimator == "numpy"
    assert len(report.ngrams) == order
    assert sum(report.ngrams) == len(reference_arpa(name))


@pytest.mark.skipif(
    not (os.environ.get("KENLM_BIN") or shutil.which("lmplz")),
    reason="lmplz is not on PATH and KENLM_BIN is not set",
)
@pytest.mark.parametrize("prune", [(), (0, 0, 1)])
@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("text", ["notes", "chant", "gap", "tiny"])
def test_equal_to_lmplz_where_it_is_found(
    text, order, prune, tmp_path, reference_text, read_arpa, assert_equal
):
    lines = reference_text(text)
    tokenizer = train_tokenizer(lines, "char")
    found = []
    for use_lmplz in (None, False):
        path = tmp_path / f"{use_lmplz}.arpa"
        report = train_ngram(
            lines, tokenizer, order, path, prune[:order], use_lmplz
        )
        found.append((read_arpa(path), report.sidecar.estimator))
        NgramLM.load(path, tokenizer)
    assert [estimator for _, estimator in found] == ["lmplz", "numpy"]
    assert_equal(found[1][0], found[0][0])


def test_report_and_sidecar(tmp_path):
    lines = ["ab a", "", "b-", "ba", "b!", "b"]
    path = tmp_path / "new" / "folder" / "lm.arpa"
    report = train_ngram(lines, TOKENIZER, 2, str(path), use_lmplz=False)
    assert report.path == path
    assert (report.tokens, report.ngrams[0]) == (7, 6)
    assert report.unknown_characters == ("!", "-")
    record = json.loads((path.parent / "lm.arpa.json").read_text())
    assert record == {
        "format": "nar-asr-ngram-1",
        "tokenizer": TOKENIZER.fingerprint,
        "order": 2,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "lines_used": 3,
        "lines_left_out": 3,
        "estimator": "numpy",
    }
    assert check_sidecar(path, TOKENIZER) == report.sidecar
    assert sorted(os.listdir(path.parent)) == ["lm.arpa", "lm.arpa.json"]


def test_lines_left_out_are_told(tmp_path, caplog):
    train_ngram(["a", "secret name"], TOKENIZER, 2, tmp_path / "a")
    assert "1 lines" in caplog.text
    assert "secret" not in caplog.text


def test_training_again_replaces_the_model(tmp_path):
    path = tmp_path / "lm.arpa"
    train_ngram(["ab"], TOKENIZER, 2, path, use_lmplz=False)
    before = NgramLM.load(path, TOKENIZER).sentence([2, 3])
    train_ngram(["ba", "aa"], TOKENIZER, 3, path, use_lmplz=False)
    after = NgramLM.load(path, TOKENIZER).sentence([2, 3])
    assert after != before
    assert check_sidecar(path, TOKENIZER).order == 3


def test_same_text_gives_the_same_file(tmp_path):
    for name in "xy":
        train_ngram(["ab a", "b"], TOKENIZER, 3, tmp_path / name, (), False)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize("order", [-1, 0])
def test_order_out_of_range(tmp_path, order):
    with pytest.raises(UserError, match=f"order {order} is below 1"):
        train_ngram(["ab"], TOKENIZER, order, tmp_path / "lm.arpa")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("prune", [(1,), (0, 2, 1), (0, 0, 0, 0), (0, -1)])
def test_thresholds_that_make_no_model(tmp_path, prune):
    with pytest.raises(UserError, match="does not suit an n-gram of order 3"):
        train_ngram(["ab"], TOKENIZER, 3, tmp_path / "lm.arpa", prune)


def test_no_usable_line_leaves_the_older_model(tmp_path):
    path = tmp_path / "lm.arpa"
    train_ngram(["ab"], TOKENIZER, 2, path, use_lmplz=False)
    with pytest.raises(UserError, match="no line of text can be used"):
        train_ngram(["", "x"], TOKENIZER, 2, path, use_lmplz=False)
    assert NgramLM.load(path, TOKENIZER).sentence([2]) < 0


def test_lmplz_is_optional_unless_demanded(tmp_path, monkeypatch):
    monkeypatch.delenv("KENLM_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = train_ngram(["ab"], TOKENIZER, 2, tmp_path / "lm.arpa")
    assert report.sidecar.estimator == "numpy"
    with pytest.raises(UserError, match="lmplz is not on PATH; set KENLM_BIN"):
        train_ngram(["ab"], TOKENIZER, 2, tmp_path / "lm.arpa", (), True)


def test_lmplz_is_not_even_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("KENLM_BIN", str(tmp_path))  # holds no lmplz
    path = tmp_path / "lm.arpa"
    report = train_ngram(["ab"], TOKENIZER, 2, path, use_lmplz=False)
    assert report.sidecar.estimator == "numpy"
    with pytest.raises(UserError, match="no program lmplz"):
        train_ngram(["ab"], TOKENIZER, 2, path)
