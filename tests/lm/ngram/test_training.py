"""Training: what is written, what is refused, and lmplz's numbers."""

import os
import shutil

import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.arpa import read_counts
from nar_asr_lobes.lm.ngram.scorer import NgramLM
from nar_asr_lobes.lm.ngram.storage import NgramInfo, read_ngram
from nar_asr_lobes.lm.ngram.training import train_ngram

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
    assert report.info.estimator == "numpy"
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
        found.append((read_arpa(path), report.info.estimator))
        NgramLM.load(report.path, tokenizer)
    assert [estimator for _, estimator in found] == ["lmplz", "numpy"]
    assert_equal(found[1][0], found[0][0])


def test_report_and_files(tmp_path):
    lines = ["ab a", "", "b-", "ba", "b!", "b"]
    path = tmp_path / "new" / "folder" / "lm.arpa"
    report = train_ngram(lines, TOKENIZER, 2, str(path), use_lmplz=False)
    assert report.arpa == path
    assert report.path == path.parent / "lm.ngram"
    assert (report.tokens, report.ngrams[0]) == (7, 6)
    assert report.unknown_characters == ("!", "-")
    assert report.info == NgramInfo(TOKENIZER.fingerprint, 2, 3, 3, "numpy")
    assert read_ngram(report.path, TOKENIZER)[1] == report.info
    assert sorted(os.listdir(path.parent)) == ["lm.arpa", "lm.ngram"]


@pytest.mark.parametrize("name", ["own", "lmplz", "words", "whole"])
def test_any_name_will_do(tmp_path, name):
    """Also those of the files that stand beside it for a while."""
    path = tmp_path / f"{name}.arpa"
    report = train_ngram(["ab", "b"], TOKENIZER, 2, path, use_lmplz=False)
    assert report.ngrams == (5, 4)
    assert read_counts(path) == report.ngrams


def test_lines_left_out_are_told(tmp_path, caplog):
    train_ngram(["a", "secret name"], TOKENIZER, 2, tmp_path / "a.arpa")
    assert "1 lines" in caplog.text
    assert "secret" not in caplog.text


def test_training_again_replaces_the_model(tmp_path):
    """The older one, if in use, stays as it was."""
    path = tmp_path / "lm.arpa"
    report = train_ngram(["ab"], TOKENIZER, 2, path, use_lmplz=False)
    older = NgramLM.load(report.path, TOKENIZER)
    before = older.sentence([2, 3])
    train_ngram(["ba", "aa"], TOKENIZER, 3, path, use_lmplz=False)
    newer = NgramLM.load(report.path, TOKENIZER)
    assert newer.sentence([2, 3]) != before
    assert older.sentence([2, 3]) == before
    assert newer.info.order == 3


def test_same_text_gives_the_same_files(tmp_path):
    for name in ("x.arpa", "y.arpa"):
        train_ngram(["ab a", "b"], TOKENIZER, 3, tmp_path / name, (), False)
    for suffix in (".arpa", ".ngram"):
        first = (tmp_path / "x").with_suffix(suffix).read_bytes()
        assert first == (tmp_path / "y").with_suffix(suffix).read_bytes()


@pytest.mark.parametrize("name", ["lm", "lm.ngram", "lm.arpa.gz"])
def test_names_that_are_not_of_an_arpa_file(tmp_path, name):
    with pytest.raises(UserError, match=f"{name}: .* let it end in .arpa"):
        train_ngram(["ab"], TOKENIZER, 2, tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("order", [-1, 0, 65])
def test_order_out_of_range(tmp_path, order):
    with pytest.raises(UserError, match=f"order {order} is not in 1 to 64"):
        train_ngram(["ab"], TOKENIZER, order, tmp_path / "lm.arpa")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("prune", [(1,), (0, 2, 1), (0, 0, 0, 0), (0, -1)])
def test_thresholds_that_make_no_model(tmp_path, prune):
    with pytest.raises(UserError, match="does not suit an n-gram of order 3"):
        train_ngram(["ab"], TOKENIZER, 3, tmp_path / "lm.arpa", prune)


def test_no_usable_line_leaves_the_older_model(tmp_path):
    path = tmp_path / "lm.arpa"
    report = train_ngram(["ab"], TOKENIZER, 2, path, use_lmplz=False)
    with pytest.raises(UserError, match="no line of text can be used"):
        train_ngram(["", "x"], TOKENIZER, 2, path, use_lmplz=False)
    assert NgramLM.load(report.path, TOKENIZER).sentence([2]) < 0


def test_lmplz_is_optional_unless_demanded(tmp_path, monkeypatch):
    monkeypatch.delenv("KENLM_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = train_ngram(["ab"], TOKENIZER, 2, tmp_path / "lm.arpa")
    assert report.info.estimator == "numpy"
    with pytest.raises(UserError, match="lmplz is not on PATH; set KENLM_BIN"):
        train_ngram(["ab"], TOKENIZER, 2, tmp_path / "lm.arpa", (), True)


def test_lmplz_is_not_even_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("KENLM_BIN", str(tmp_path))  # holds no lmplz
    path = tmp_path / "lm.arpa"
    report = train_ngram(["ab"], TOKENIZER, 2, path, use_lmplz=False)
    assert report.info.estimator == "numpy"
    with pytest.raises(UserError, match="no program lmplz"):
        train_ngram(["ab"], TOKENIZER, 2, path)
