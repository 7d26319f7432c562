"""Words are spelled in order; those that cannot be are left out."""

import pytest

from nar_asr_lobes.dataio.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.lexicon import find_space, make_lexicon

TOKENIZER = CharTokenizer("abé ")


def spelled(lexicon):
    bounds = zip(lexicon.begin, lexicon.begin[1:], strict=False)
    return [TOKENIZER.decode(lexicon.pieces[i:j]) for i, j in bounds]


def test_the_order_is_that_of_the_spellings():
    words = ["ba", "é", "ab", "a", "b", "aba"]
    lexicon = make_lexicon(words, TOKENIZER)
    assert spelled(lexicon) == ["a", "ab", "aba", "b", "ba", "é"]
    assert [sorted(words)[i] for i in lexicon.place] == words


def test_words_left_out():
    # foreign, empty, twice in another Unicode form, several words
    words = ["é", "ax", "", "e\u0301", "a b", "a\u2581", "b"]
    lexicon = make_lexicon(words, TOKENIZER)
    assert lexicon.place.tolist() == [1, -1, -1, -1, -1, -1, 0]


def test_a_style_decides_how_words_are_spelled():
    words = ["AB", "a-b", "ab", "…", "B"]
    lexicon = make_lexicon(words, TOKENIZER, "english")
    assert lexicon.place.tolist() == [0, -1, -1, -1, 1]


def test_no_word_is_left():
    with pytest.raises(UserError, match=r"none of the 2 words \('X', 'Y', …"):
        make_lexicon(["X", "Y"], TOKENIZER)


@pytest.mark.parametrize(
    ("tokenizer", "count"),
    [
        (CharTokenizer("ab"), 0),
        (train_tokenizer(["ab abb ba", "bab ab"], "bpe", 9), 5),
    ],
)
def test_tokenizers_without_a_piece_for_the_space_alone(tokenizer, count):
    assert sum("▁" in piece for piece in tokenizer.pieces) == count
    with pytest.raises(UserError, match=f"{count} pieces of this one hold it;"):
        find_space(tokenizer)
