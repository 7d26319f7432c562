"""Encoding and decoding agree, and unknown characters never pass."""

import pickle
import unicodedata

import pytest
import sentencepiece

from nar_asr_lobes.dataio.text.tokenizer import (
    CharTokenizer,
    SentencePieceTokenizer,
    UnknownCharactersError,
    train_tokenizer,
)
from nar_asr_lobes.errors import UserError

TEXTS = [
    "the patient takes two tablets in the morning",
    "ẹ kú àárọ̀ o",
    "no pain and no fever",
    "the patient has a fever in the evening",
    "خلف أمام",
]
KINDS = {"char": None, "unigram": 41, "bpe": 60}


@pytest.fixture(params=KINDS)
def tokenizer(request):
    """Return a small tokenizer of each kind."""
    return train_tokenizer(TEXTS, request.param, KINDS[request.param])


def test_round_trip(tokenizer):
    for text in [*TEXTS, "a", "pain fever", ""]:
        assert tokenizer.decode(tokenizer.encode(text)) == (
            unicodedata.normalize("NFC", text)
        )


def test_pieces_keep_the_contract(tokenizer):
    assert tokenizer.blank_id == 0 and tokenizer.pieces[0] == "<blank>"
    assert tokenizer.size == len(tokenizer.pieces)
    assert len(set(tokenizer.pieces)) == tokenizer.size
    assert not any(c.isspace() for piece in tokenizer.pieces for c in piece)
    assert any("▁" in piece for piece in tokenizer.pieces)
    ids = [i for text in TEXTS for i in tokenizer.encode(text)]
    assert all(0 < i < tokenizer.size for i in ids)


def test_ids_spell_the_text(tokenizer):
    ids = tokenizer.encode("the fever")
    spelled = "".join(tokenizer.pieces[i] for i in ids)
    assert spelled.replace("▁", " ").strip() == "the fever"


def test_composed_and_decomposed_text_encode_alike(tokenizer):
    forms = [unicodedata.normalize(f, TEXTS[1]) for f in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    assert tokenizer.encode(forms[0]) == tokenizer.encode(forms[1])


def test_spaces_are_single(tokenizer):
    assert tokenizer.encode(" no\t  pain\n") == tokenizer.encode("no pain")
    space = tokenizer.pieces.index("▁")
    ids = tokenizer.encode("no pain")
    assert tokenizer.decode([space, space, *ids, space, space]) == "no pain"


@pytest.mark.parametrize("bad", ["5", "#", "😀"])
def test_unknown_characters_are_named_and_not_the_text(tokenizer, bad):
    text = f"the {bad}{bad} fever 7"
    assert tokenizer.unknown_characters(text) == sorted({bad, "7"})
    with pytest.raises(UnknownCharactersError) as caught:
        tokenizer.encode(text)
    assert f"U+{ord(bad):04X}" in str(caught.value)
    assert "fever" not in str(caught.value)
    with pytest.raises(UnknownCharactersError):
        tokenizer.encode(f"the{bad}fever")
    assert tokenizer.unknown_characters("no pain") == []


def test_invisible_characters_are_not_encoded(tokenizer):
    wanted = tokenizer.encode("the fever")
    for text in ("the▁fever", "\ufeffthe\u200b fe\u00adver", "the fever\u200e"):
        assert tokenizer.encode(text) == wanted
        assert tokenizer.unknown_characters(text) == []


@pytest.mark.parametrize("bad", [0, -1, 10**6])
def test_decode_refuses_ids_that_are_no_pieces(tokenizer, bad):
    with pytest.raises(ValueError, match=f"id {bad} is not in 1"):
        tokenizer.decode([1, bad])


def test_copies_for_workers_are_equal(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.fingerprint == tokenizer.fingerprint
    assert copy.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


def test_character_ids_follow_code_points():
    tokenizer = CharTokenizer("cab ")
    assert tokenizer.pieces == ["<blank>", "▁", "a", "b", "c"]
    assert tokenizer.fingerprint == CharTokenizer(" abcc").fingerprint
    assert tokenizer.fingerprint != CharTokenizer("abcd ").fingerprint


@pytest.mark.parametrize("characters", [[], ["ab"], ["a", ""], ["a", "▁"]])
def test_wrong_characters(characters):
    with pytest.raises(UserError, match="a character tokenizer"):
        CharTokenizer(characters)


@pytest.mark.parametrize("blank", ["\t", "\u2028"])
def test_white_space_is_no_piece(blank):
    with pytest.raises(UserError, match="whitespace"):
        CharTokenizer(["a", blank])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unk_id": 0, "bos_id": 1, "eos_id": -1},
        {"unk_id": 0, "bos_id": -1, "eos_id": -1, "byte_fallback": True},
    ],
)
def test_models_with_other_special_pieces(tmp_path, options):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(tmp_path / "m"),
        vocab_size=320,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    with pytest.raises(UserError, match="special pieces"):
        SentencePieceTokenizer((tmp_path / "m.model").read_bytes())
