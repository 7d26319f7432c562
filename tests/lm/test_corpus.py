"""Lines become ids or are counted; pieces become words KenLM can take."""

import pytest

from nar_asr_lobes.dataio.text.tokenizer import (
    CharTokenizer,
    Tokenizer,
    train_tokenizer,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.corpus import encode_corpus, encode_words, lm_words


class Pieces(Tokenizer):
    """Any pieces; nothing is encoded."""

    _encode = _unknown = _content = None


def test_words_are_the_pieces():
    tokenizer = train_tokenizer(["ab abb ba", "bab é"], "bpe", 12)
    assert lm_words(tokenizer) == tokenizer.pieces


def test_pieces_that_kenlm_would_misread_get_words_of_their_own():
    reserved = ["<s>", "</s>", "<unk>", "<UNK>"]
    pieces = ["<blank>", *reserved, "<piece:2>", "a\0b", "<S>", "▁<s>"]
    words = lm_words(Pieces(pieces, b""))
    assert words[5:6] + words[7:] == ["<piece:2>", "<S>", "▁<s>"]
    assert not set(words) & set(reserved)
    assert not any(" " >= c for word in words for c in word)
    assert len(set(words)) == len(pieces)


def test_sentences_come_back():
    tokenizer = CharTokenizer("abé ")
    texts = ["ab é", "b", "é é é"]
    corpus = encode_corpus(iter(texts), tokenizer)
    assert [tokenizer.decode(s) for s in corpus.sentences()] == texts
    assert corpus.lines_left_out == 0


def test_lines_left_out_are_counted():
    lines = ["ab", "", "  ", "a-b", "b!", "b!", "ba"]
    corpus = encode_corpus(lines, CharTokenizer("ab "))
    assert corpus.lengths.tolist() == [2, 2]
    assert corpus.lines_left_out == 5
    assert corpus.unknown_characters == ("!", "-")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], r"all of the 0 given are empty; normalise"),
        (["", " "], r"all of the 2 given are empty; normalise"),
        (["", "Xb"], r"all of the 2 .* outside the tokenizer \('X' \(U\+0058"),
    ],
)
def test_no_usable_line(texts, message):
    with pytest.raises(UserError, match=message):
        encode_corpus(texts, CharTokenizer("ab"))


def test_words_come_back_and_rare_ones_are_one():
    lines = ["ab  é", "", "e\u0301 b", "a!", "ab ab é"]
    found = encode_words(iter(lines), CharTokenizer("abé "), min_count=3)
    assert found.words == ["ab", "é", "<rare>"]
    sentences = [[found.words[i] for i in s] for s in found.corpus.sentences()]
    assert sentences == [["ab", "é"], ["é", "<rare>"], ["ab", "ab", "é"]]
    assert found.corpus.lines_left_out == 2
    assert found.corpus.unknown_characters == ("!",)


def test_the_name_of_rare_words_is_no_word():
    tokenizer = CharTokenizer("<rae>' ")
    found = encode_words(["<rare> <rare>' a", "<unk> a"], tokenizer)
    assert found.words == ["<rare>", "<rare>'", "a", "<rare>''"]
    assert found.corpus.lines_left_out == 1  # "u" is no piece
