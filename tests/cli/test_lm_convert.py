"""`nar-asr lm convert`, called as a function."""

import re

import pytest

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lm.words.ngram import convert_arpa, train_word_ngram


@pytest.fixture
def arpa(tmp_path):
    """An n-gram of words; b cannot be spelled with the others' tokenizer."""
    lines = ["ab a", *(f"a b{letter}" for letter in "cdefghijklmnopqrstuvwxyz")]
    tokenizer = CharTokenizer("abcdefghijklmnopqrstuvwxyz ")
    return train_word_ngram(lines, tokenizer, 2, tmp_path / "a.arpa").arpa


def convert(folder, arpa, tokenizer, *options):
    """Call the command in a folder."""
    output = ("--output", str(folder / "lm.ngram"))
    tokenizer = ("--tokenizer", str(tokenizer))
    return main(["lm", "convert", str(arpa), *tokenizer, *output, *options])


def test_it_is_the_model_of_the_file(arpa, tmp_path, capsys):
    tokenizer = CharTokenizer(" ab")
    tokenizer.save(tmp_path / "tokenizer.json")
    assert convert(tmp_path, arpa, tmp_path / "tokenizer.json") == 0
    out = capsys.readouterr().out
    assert "lm.ngram: order 2 of words, n-grams 5 4" in out
    assert "24 words that the tokenizer cannot spell" in out
    assert "left out: 'bc' 'bd'" in out and "'bv'" in out and "'bw'" not in out
    wanted = convert_arpa(arpa, tokenizer, tmp_path / "wanted.ngram").path
    assert (tmp_path / "lm.ngram").read_bytes() == wanted.read_bytes()


def test_a_style_and_a_bundle(arpa, bundle_folder, tmp_path, capsys):
    upper = arpa.read_text().replace("\ta", "\tA").replace("\tb", "\tB")
    arpa.write_text(upper.replace(" a", " A").replace(" b", " B"))
    assert convert(tmp_path, arpa, bundle_folder) == 2
    assert "a.arpa: none of the 26 words" in capsys.readouterr().err
    style = ("--text-style", "english")
    assert convert(tmp_path, arpa, bundle_folder, *style) == 0
    tokenizer = load_bundle(bundle_folder).tokenizer
    NgramLM.load(tmp_path / "lm.ngram", tokenizer)


def test_joined_words_are_counted(arpa, tmp_path, capsys):
    arpa.write_text(re.sub(r"(?<=\s)a(?=\s)", "AB", arpa.read_text()))
    CharTokenizer(" ab").save(tmp_path / "tokenizer.json")
    style = ("--text-style", "english")
    assert convert(tmp_path, arpa, tmp_path / "tokenizer.json", *style) == 0
    out = capsys.readouterr().out
    assert "1 words are the same as another one in this text style" in out
    assert "24 words that the tokenizer cannot spell (" in out
    assert "% of running words by the file's unigrams) are left out" in out


def test_mistakes_are_told(arpa, tmp_path, capsys):
    CharTokenizer("ab").save(tmp_path / "tokenizer.json")
    assert convert(tmp_path, arpa, tmp_path / "tokenizer.json") == 2
    assert "a word n-gram needs a tokenizer whose" in capsys.readouterr().err
    assert convert(tmp_path, arpa, tmp_path / "none") == 2
    assert "none: cannot read this tokenizer" in capsys.readouterr().err


def test_an_n_gram_of_pieces(tmp_path, capsys):
    tokenizer = CharTokenizer(" ab")
    tokenizer.save(tmp_path / "tokenizer.json")
    lines = ["ab a", "b ba ab"]
    report = train_ngram(lines, tokenizer, 3, tmp_path / "a.arpa")
    assert convert(tmp_path, report.arpa, tmp_path / "tokenizer.json") == 0
    assert "lm.ngram: order 3 of pieces, n-grams " in capsys.readouterr().out
    found, wanted = (
        NgramLM.load(path, tokenizer)
        for path in (tmp_path / "lm.ngram", report.path)
    )
    for text in (*lines, "a b ab b", ""):
        ids = tokenizer.encode(text)
        assert found.sentence(ids) == pytest.approx(wanted.sentence(ids))
    words = ("--unit", "words")
    convert(tmp_path, report.arpa, tmp_path / "tokenizer.json", *words)
    assert "lm.ngram: order 3 of words, n-grams " in capsys.readouterr().out
