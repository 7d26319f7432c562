"""ARPA files hold the tables, and KenLM reads every one of them."""

import kenlm
import numpy as np
import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram import arpa
from nar_asr_lobes.lm.ngram.arpa import _read_counts
from nar_asr_lobes.lm.ngram.kneser_ney import NgramModel, NgramTable, estimate
from tests.lm.arpa_files import save

TOKENS = np.array([0, 1, 2, 0, 1, 1, 2, 2, 0])
LENGTHS = np.array([3, 4, 2])


def test_file_holds_the_tables(tmp_path, read_arpa, monkeypatch):
    monkeypatch.setattr(arpa, "_ROWS", 2)  # several portions
    model = estimate(TOKENS, LENGTHS, 3)
    save(tmp_path / "a", model, ["é", "▁", "خ"])
    names = ["<unk>", "<s>", "</s>", "é", "▁", "خ"]
    wanted = {}
    for table in model.tables:
        for row, gram in enumerate(table.words.tolist()):
            numbers = table.log_prob[row], table.backoff[row]
            wanted[tuple(names[i] for i in gram)] = numbers
    grams = read_arpa(tmp_path / "a")
    assert grams.keys() == wanted.keys()
    for gram, (prob, backoff) in wanted.items():
        assert grams[gram][0] == pytest.approx(prob, abs=2e-6)
        assert (grams[gram][1] or 0) == pytest.approx(backoff, abs=2e-6)
    assert _read_counts(tmp_path / "a") == tuple(
        len(table.words) for table in model.tables
    )


def test_zero_is_written_as_the_format_wants(tmp_path, read_arpa):
    one = np.zeros(1, dtype=np.float32)
    table = NgramTable(np.array([[3]], dtype=np.int32), one, one - 99)
    pair = NgramTable(np.array([[3, 3]], dtype=np.int32), one, one)
    save(tmp_path / "a", NgramModel(np.array([0]), [table, pair]), ["a"])
    assert read_arpa(tmp_path / "a") == {
        ("a",): (0.0, -99.0),
        ("a", "a"): (0.0, None),
    }


@pytest.mark.parametrize("order", [1, 2, 6])
def test_kenlm_reads_every_order(tmp_path, order, read_arpa):
    path = tmp_path / "a.arpa"
    save(path, estimate(TOKENS, LENGTHS, order), "abc")
    model, grams = kenlm.Model(str(path)), read_arpa(path)
    for text in ("a b c", "c c b a b", "b x a"):
        wanted = grams.sentence(text.split(), order)
        assert model.score(text) == pytest.approx(wanted, abs=1e-4)


def test_what_lmplz_writes_for_a_back_off_of_zero(tmp_path):
    source = tmp_path / "a"
    source.write_text(
        "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-1\t<unk>\t0\n"
        "0\t<s>\t-0.3\n-0.4\t</s>\t0\n-0.5\t-inf\t-inf\n\n"
        "\\2-grams:\n-0.1\t<s> -inf\n\n\\end\\\n"
    )
    with pytest.raises(OSError, match="Bad backoff"):
        kenlm.Model(str(source))
    save(tmp_path / "b.arpa", arpa.read_arpa(source, ["-inf"]), ["-inf"])
    model = kenlm.Model(str(tmp_path / "b.arpa"))
    # The word that looks like the number keeps its name.
    assert model.score("-inf") == pytest.approx(-0.1 - 99 - 0.4, abs=1e-3)


@pytest.mark.parametrize("order", [1, 2, 6])
def test_what_was_written_is_read_back(tmp_path, order, monkeypatch):
    monkeypatch.setattr(arpa, "_ROWS", 2)
    written = estimate(TOKENS, LENGTHS, order)
    # A piece may be what other programs take for the end of a line.
    words = ["\x85", "\u2028", "-inf", "never"]
    save(tmp_path / "a", written, words)
    found = arpa.read_arpa(tmp_path / "a", words)
    assert found.vocabulary.tolist() == [0, 1, 2, 3]
    if order == 1:  # the list of bigrams that KenLM wants
        assert found.tables.pop().words.shape == (0, 2)
    for table, wanted in zip(found.tables, written.tables, strict=True):
        ids = written.vocabulary + 3
        numbers = np.concatenate([[0, 1, 2], ids])[wanted.words]
        assert np.array_equal(table.words, numbers)
        np.testing.assert_allclose(table.log_prob, wanted.log_prob, 1e-6)
        np.testing.assert_allclose(table.backoff, wanted.backoff)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tc", "\td", "its word 'd' is neither a unigram of it nor a piece"),
        ("\ta\t", "\ta\t0\t", "a line of its 1-grams has another form"),
        ("<s> a", "<s> a b 0", "a line of its 2-grams has another form"),
        ("ngram 2=8", "ngram 2=9", "is not a whole ARPA file"),
        ("\\3-", "\\4-", "the section of 3-grams is missing"),
        ("\\data", "\\2-grams:\n", "it has no line .data"),
        ("\n-0", "\n-O", "could not convert string to float"),
        ("ngram 2=8", "ngram 2=7", "it has more 2-grams than its head says"),
        ("\\end\\", "", "its end is missing"),
    ],
)
def test_files_that_are_no_model_over_these_words(tmp_path, old, new, message):
    save(tmp_path / "a", estimate(TOKENS, LENGTHS, 3), "abc")
    text = (tmp_path / "a").read_text()
    assert old in text
    (tmp_path / "a").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=f"a: .*{message}"):
        arpa.read_arpa(tmp_path / "a", "abc")


def test_words_are_those_of_the_unigrams(tmp_path):
    model = estimate(TOKENS, LENGTHS, 2)
    save(tmp_path / "a", model, ["\x85", "-inf", "خ"])
    assert arpa.read_words(tmp_path / "a") == ["\x85", "-inf", "خ"]
    text = (tmp_path / "a").read_text(encoding="utf-8")
    other = text.replace("<unk>", "<UNK>").replace("\n", "\r\n")
    (tmp_path / "b").write_text(other, encoding="utf-8", newline="")
    assert arpa.read_words(tmp_path / "b") == ["\x85", "-inf", "خ"]
    cut = text.replace("ngram 1=6", "ngram 1=7").partition("\n\n\\2-")[0]
    (tmp_path / "a").write_text(cut, encoding="utf-8")
    with pytest.raises(UserError, match="it ends among its 1-grams"):
        arpa.read_words(tmp_path / "a")


def test_a_word_that_stands_twice_is_told_with_its_lines(tmp_path):
    save(tmp_path / "a", estimate(TOKENS, LENGTHS, 2), "abc")
    text = (tmp_path / "a").read_text().replace("\tc\t", "\ta\t", 1)
    (tmp_path / "a").write_text(text)
    message = "a:11: the 1-gram 'a' already stands in line 9; remove one of"
    with pytest.raises(UserError, match=message):
        arpa.read_words(tmp_path / "a")


def test_file_that_is_missing(tmp_path):
    with pytest.raises(UserError, match="nowhere: cannot be read"):
        arpa.read_arpa(tmp_path / "nowhere", "abc")
