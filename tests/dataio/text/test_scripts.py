import pytest

from nar_asr_lobes.dataio.text.scripts import (
    is_spaceless,
    may_break,
    mostly_without_words,
    text_width,
)


@pytest.mark.parametrize(
    ("text", "spaceless"),
    [
        ("天々〆ひカーｶﾞ、", True),
        ("สวัสດີខ្မែမြန", True),
        ("aé5 한글йعहि", False),
    ],
)
def test_scripts_without_spaces(text, spaceless):
    assert {is_spaceless(character) for character in text} == {spaceless}


def test_wide_characters_count_twice_and_accents_nothing():
    assert text_width("ab 天ａ한") == 9
    assert text_width("\u0e01\u0e38\u0e49a\u0301") == 2


@pytest.mark.parametrize(
    "pair", ["天。", "「天", "กุ", "เก", "ក្", "\u17d2ក", "きゃ"]
)
def test_no_line_breaks_within_what_belongs_together(pair):
    assert not may_break(*pair)


@pytest.mark.parametrize(
    ("texts", "without"),
    [
        (["今天天气很好"], True),
        (["今天 天气 很好"], False),
        (["สวัสดีครับ", "ใช่"], True),
        (["yes", "no", "internationalisation"], False),  # single words
        (["abcdefghijklmnopqrstuvwxyz"] * 2 + ["a b"], True),
        (["今天天气", "it is warm"], False),
        ([], False),
    ],
)
def test_texts_without_words(texts, without):
    assert mostly_without_words(texts) is without
