"""The same words become the same string, whatever form they came in."""

import random
import unicodedata

import pytest

from nar_asr_lobes.dataio.text import STYLES, normalize_text
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


def test_none_changes_white_space_and_composition_only():
    assert normalize_text("  Cafe\u0301,\u00a0 OK? ", "none") == "Café, OK?"


@pytest.mark.parametrize("style", STYLES)
def test_once_is_enough(style):
    draw = random.Random(0)
    ranges = [(32, 127), (0xA0, 0x24F), (0x300, 0x36F), (0x600, 0x6FF)]
    ranges += [(0x1E00, 0x2140), (0xAC00, 0xAC40), (0xFB00, 0xFFEF)]
    for _ in range(3000):
        spans = draw.choices(ranges, k=12)
        text = "".join(chr(draw.randint(*span)) for span in spans)
        once = normalize_text(text, style)
        assert normalize_text(once, style) == once, ascii(text)
        assert once == " ".join(once.split())


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
