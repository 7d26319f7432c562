"""The same words become the same string, whatever form they came in."""

import random
import unicodedata

import pytest

from nar_asr_lobes.dataio.text.normalization import (
    STYLES,
    count_invisible,
    is_spaceless,
    may_break,
    mostly_without_words,
    normalize_text,
    text_width,
)
from nar_asr_lobes.errors import UserError


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("WE CALL IT BEAR", "we call it bear"),
        ("  Hello,\tworld!\n", "hello world"),
        ("don't DON’T don‘t don`t", "don't don't don't don't"),
        ("the dogs' bowl ' ''", "the dogs' bowl"),
        ("X-ray 2,5 mg/ml", "x ray 2 5 mg ml"),
        ("ﬁne ｆｕｌｌ ①", "fine full 1"),
        ("Cafe\u0301 CAFÉ", "café café"),
        ("ẹ̀kọ́", "ẹ̀kọ́"),
        ("co\u00adoperate", "cooperate"),
        ("❤\ufe0f heart", "heart"),
        ("snake_case", "snake case"),
        ("İzmir", "i̇zmir"),
        ("…", ""),
    ],
)
def test_english(raw, expected):
    assert normalize_text(raw, "english") == unicodedata.normalize(
        "NFC", expected
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Don’t SHOUT, 'please'!", "don't shout please"),
        ("the dogs' bowl’s", "the dogs bowl's"),
        ("X-ray 2,5 mg", "x ray 2 5 mg"),
        ("«Ẹ kú àárọ̀»", "ẹ kú àárọ̀"),  # tone marks of Yoruba
        ("Hawaiʻi, boʼ ’bo", "hawaiʻi boʼ bo"),  # letters, no apostrophes
        ("Ꞌyan ꞌyan", "ꞌyan ꞌyan"),  # saltillo
        ("col·laborar · no", "col·laborar no"),  # Catalan
        ("צה״ל ג׳ירפה", "צה״ל ג׳ירפה"),  # Hebrew
        ("Ի՞նչ է, բարև՛։", "ինչ է բարև"),  # Armenian
        ("كتـــاب، «قلم»؟", "كتاب قلم"),  # Arabic
        ("می\u200cخواهم.", "می\u200cخواهم"),  # Persian
        ("क्\u200dष है।", "क्\u200dष है"),  # Devanagari
        ("ΟΔΟΣ; ΝΑΙ.", "οδο\u03c2 ναι"),  # Greek, a final sigma
        ("今天，天气。「好」", "今天 天气 好"),
        ("ㄇㄚˇ ma˥˩", "ㄇㄚˇ ma˥˩"),  # tones as symbols
        ("ሰላም፣ ዓለም።", "ሰላም ዓለም"),  # Ethiopic
        ("สวัสดี ๆ", "สวัสดี ๆ"),
        ("ÇA VA 👍 50% $5", "ça va 50 5"),
        ("\u0301a .\u0301 b", "a b"),  # a mark without a letter
        ("!?", ""),
    ],
)
def test_unicode(raw, expected):
    found = normalize_text(raw, "unicode")
    assert found == unicodedata.normalize("NFC", expected)
    assert normalize_text(found, "unicode") == found


def test_unicode_keeps_letters_marks_and_digits_of_every_script():
    """Only case and composition may change a word of letters and marks."""
    characters = map(chr, [*range(0x20, 0x3400), *range(0xA000, 0xABFF)])
    for character in characters:
        category = unicodedata.category(character)
        text = f"a{character}b"
        found = normalize_text(text, "unicode")
        if category[0] in "LMN" and character not in "\u0640":
            visible = normalize_text(text.lower())
            assert found == visible, ascii(character)
        elif category[0] in "PZ":
            assert found in ("a b", "ab", f"a{found[1:-1]}b"), ascii(character)
            assert len(found) <= 3


def test_none_changes_white_space_and_composition_only():
    assert normalize_text("  Cafe\u0301,\u00a0 OK? ", "none") == "Café, OK?"


@pytest.mark.parametrize("style", STYLES)
def test_once_is_enough(style):
    draw = random.Random(0)
    ranges = [(32, 127), (0xA0, 0x24F), (0x300, 0x36F), (0x600, 0x6FF)]
    ranges += [(0x1E00, 0x2140), (0xAC00, 0xAC40), (0xFB00, 0xFFEF)]
    ranges += [(0x370, 0x3FF), (0x530, 0x5FF), (0x900, 0xEFF), (0x1000, 0x18AF)]
    ranges += [(0x2000, 0x206F), (0x3000, 0x31FF), (0xA700, 0xA7FF), (39, 39)]
    for _ in range(3000):
        spans = draw.choices(ranges, k=12)
        text = "".join(chr(draw.randint(*span)) for span in spans)
        once = normalize_text(text, style)
        assert normalize_text(once, style) == once, ascii(text)
        assert once == " ".join(once.split())


INVISIBLE = [
    *map(chr, [0xAD, 0x61C, 0xFE0F, 0xFEFF]),
    *map(chr, [*range(0x200B, 0x2010), *range(0x202A, 0x202F)]),
    *map(chr, [*range(0x2060, 0x2070)]),
]


@pytest.mark.parametrize("style", STYLES)
def test_invisible_characters_are_removed_in_every_style(style):
    for character in INVISIBLE:
        text = f"{character}no{character}w {character} pain{character}"
        assert normalize_text(text, style) == "now pain", ascii(character)
        assert count_invisible(text) == 4
    assert normalize_text("▁no▁pain", style) == "no pain"
    assert count_invisible("▁no▁pain") == 2
    # letter and accent compose once nothing stands between them
    assert normalize_text("caf\u200be\u2060\u0301", style) == "café"
    assert count_invisible("no pain") == 0


@pytest.mark.parametrize(
    "word",
    [
        "می\u200cخواهم",  # Persian, a non-joiner between letters
        "مُ\u200cم",  # also behind a vowel sign
        "क्\u200dष",  # Hindi, behind a virama
        "ന്\u200d",  # Malayalam, at the end of a word
        "র\u200d্য",  # Bengali, in front of a virama
    ],
)
def test_joiners_that_are_spelling_stay(word):
    assert normalize_text(word) == word
    assert count_invisible(word) == 0
    doubled = word.replace("\u200c", "\u200c\u200b\u200c") + "\u200b"
    assert normalize_text(doubled) == word


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Auf\u200clage", "Auflage"),
        ("می\u200c", "می"),
        ("کتاب\u200dها", "کتابها"),
        ("क\u200cष", "कष"),
    ],
)
def test_joiners_that_are_not_spelling_go(raw, expected):
    assert normalize_text(raw) == expected
    assert count_invisible(raw) == 1


@pytest.mark.parametrize("style", STYLES)
def test_composed_and_decomposed_agree(style):
    text = "Ẹ kú àárọ̀, façade naïve"
    forms = {
        normalize_text(unicodedata.normalize(form, text), style)
        for form in ("NFC", "NFD")
    }
    assert len(forms) == 1


def test_unknown_style():
    with pytest.raises(UserError, match="'french' is unknown; use one of"):
        normalize_text("a", "french")


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
