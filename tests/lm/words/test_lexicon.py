"""Words are spelled in order; those that cannot be are left out."""

import io

import pytest
import sentencepiece

from nar_asr_lobes.dataio.text.tokenizer import (
    CharTokenizer,
    SentencePieceTokenizer,
    train_tokenizer,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.words.lexicon import find_word_ends, make_lexicon

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
    words = ["é", "ax", "", "e\u0301", "a b", "a\u2581b", "b"]
    lexicon = make_lexicon(words, TOKENIZER)
    assert lexicon.place.tolist() == [1, -1, -1, 1, -1, -1, 0]


def test_a_style_decides_how_words_are_spelled():
    words = ["AB", "a-b", "ab", "…", "B"]
    lexicon = make_lexicon(words, TOKENIZER, "english")
    assert lexicon.place.tolist() == [0, -1, 0, -1, 1]


def test_no_word_is_left():
    with pytest.raises(UserError, match=r"none of the 2 words \('X', 'Y', …"):
        make_lexicon(["X", "Y"], TOKENIZER)


def test_pieces_that_begin_words():
    tokenizer = train_tokenizer(["ab abb ba", "bab ab"], "bpe", 9)
    ends = find_word_ends(tokenizer)
    pieces = [tokenizer.pieces[i] for i in ends.tokens]
    assert not ends.space
    assert len(pieces) == 5 and "▁ab" in pieces
    assert pieces == [p for p in tokenizer.pieces if p.startswith("▁")]
    lexicon = make_lexicon(["bab", "ab", "a b", "ac", ""], tokenizer)
    assert lexicon.place.tolist() == [1, 0, -1, -1, -1]
    assert lexicon.pieces.tolist() == [
        *tokenizer.encode("ab"),
        *tokenizer.encode("bab"),
    ]


def suffixes():
    """Return a tokenizer whose pieces hold the space behind words."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ab abb ba", "bab ab"]),
        model_writer=model,
        model_type="bpe",
        vocab_size=9,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        treat_whitespace_as_suffix=True,
        minloglevel=2,
    )
    return SentencePieceTokenizer(model.getvalue())


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (CharTokenizer("ab"), "none of this one's does; train"),
        (suffixes(), "'.*▁' of this one holds it elsewhere; train"),
    ],
)
def test_tokenizers_that_do_not_tell_where_words_end(tokenizer, message):
    with pytest.raises(UserError, match=message):
        find_word_ends(tokenizer)
