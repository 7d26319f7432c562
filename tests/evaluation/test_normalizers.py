"""Normalisers are named and versioned; Whisper's is that of transformers."""

import json
from importlib.resources import files

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.normalizers import (
    get_normalizer,
    with_spellings,
)

WHISPER = "whisper_normalizer"


def test_styles_have_the_version_of_the_text_styles():
    found = [get_normalizer(name) for name in ("none", "english", "unicode")]
    assert {normalizer.version for normalizer in found} == {"2"}
    assert found[1].apply("It's OK.") == "it's ok"


def test_an_unknown_one_is_one_sentence():
    with pytest.raises(UserError, match="'nemo' is unknown; use one of none"):
        get_normalizer("nemo")


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, f"{WHISPER}.english", None)
    with pytest.raises(UserError, match=r"pip install 'nar-asr-lobes\[eval\]"):
        get_normalizer("whisper")


def test_whisper_is_that_of_transformers():
    pytest.importorskip(WHISPER)
    from transformers.models.whisper.english_normalizer import (
        EnglishTextNormalizer,
    )

    path = files(WHISPER).joinpath("normalizers/english.json")
    reference = EnglishTextNormalizer(json.loads(path.read_text()))
    normalizer = get_normalizer("whisper")
    assert normalizer.version.startswith("whisper-normalizer 0.")
    for text in (
        "Mr. O'Brien can't take fifty milligrams, dunno the cause.",
        "[noise] It's kinda one hundred and twenty over eighty (roughly).",
        "Colour, oesophagus; three point five per cent, twenty-first, 2 ½",
        "Oh, okay, um, yeah: $20 million and £3.50",
    ):
        assert normalizer.apply(text).split() == reference(text).split()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Oh okay, yeah.", "oh ok yes"),
        ("K, nah! Ohh, ahh.", "ok no oh ah"),
        ("Mum's kinda alright, dunno", "mom is kind of all right do not know"),
        ("gonna wanna gotta", "going to want to got to"),
        ("Goodbye. Bye bye.", "bye bye bye"),
        ("the cause", "the cause"),
        ("twenty three", "23"),
    ],
)
def test_conversation(raw, expected):
    pytest.importorskip(WHISPER)
    assert get_normalizer("conversation").apply(raw) == expected


def test_spellings_join_the_version(tmp_path):
    path = tmp_path / "spellings.tsv"
    path.write_text("Color\tcolour\nmilli grams\tmg\n", encoding="utf-8")
    plain = get_normalizer("english")
    found = with_spellings(plain, path)
    assert found.apply("COLOR of 5 milli-grams") == "colour of 5 mg"
    assert found.version.startswith(f"{plain.version}, spellings sha256 ")
    path.write_text("color\tcolour\n", encoding="utf-8")
    assert with_spellings(plain, path).version != found.version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a b\n", "x.tsv:1: is not from, to;"),
        ("!\tno\n", "no letter left"),
        ("yes\toh yes\n", "leads back to itself"),
        ("a\tb\nb\ta\n", "leads back to itself"),
    ],
)
def test_faulty_spellings_are_refused(tmp_path, text, said):
    path = tmp_path / "x.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        with_spellings(get_normalizer("english"), path)
