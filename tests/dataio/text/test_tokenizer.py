"""Training is deterministic and says which sizes it allows."""

import json
import os

import pytest
import sentencepiece

from nar_asr_lobes.dataio.text.tokenizer import (
    CharTokenizer,
    SentencePieceTokenizer,
    load_tokenizer,
    train_tokenizer,
)
from nar_asr_lobes.errors import UserError

WORDS = "one two three four five six seven eight nine ten".split()
TEXTS = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS[:3]]
KINDS = {"char": None, "unigram": 22, "bpe": 40}


@pytest.mark.parametrize("kind", KINDS)
def test_same_text_same_tokenizer(kind):
    first = train_tokenizer(iter(TEXTS), kind, KINDS[kind])
    again = train_tokenizer(list(TEXTS), kind, KINDS[kind])
    other = train_tokenizer([*TEXTS, "zulu"], kind, KINDS[kind])
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert len(first.fingerprint) == 64
    assert first.pieces == again.pieces
    if KINDS[kind]:
        assert first.size == KINDS[kind]


def test_decomposed_text_gives_the_same_tokenizer():
    composed = train_tokenizer(["caf\u00e9 no"])
    assert train_tokenizer(["  cafe\u0301  no"]).pieces == composed.pieces


def test_training_is_silent(capfd):
    train_tokenizer(TEXTS, "unigram", 22)
    with pytest.raises(UserError):
        train_tokenizer(TEXTS, "bpe", 9999)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_largest_size_is_named_and_works(kind):
    with pytest.raises(UserError, match="too small") as caught:
        train_tokenizer(TEXTS, kind, 9999)
    message = str(caught.value)
    assert message.startswith(f"a {kind} tokenizer of size 9999 cannot")
    largest = int(message.rsplit(" ", 1)[1])
    assert train_tokenizer(TEXTS, kind, largest).size == largest
    with pytest.raises(UserError, match="too small"):
        train_tokenizer(TEXTS, kind, largest + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_size_is_named_and_works(kind):
    with pytest.raises(UserError, match="different characters") as caught:
        train_tokenizer(TEXTS, kind, 5)
    smallest = int(str(caught.value).rsplit(" ", 1)[1])
    assert train_tokenizer(TEXTS, kind, smallest).size == smallest
    with pytest.raises(UserError, match="different characters"):
        train_tokenizer(TEXTS, kind, smallest - 1)


def test_long_lines_are_not_skipped():
    line = " ".join(["one"] * 3000) + " zebra"
    assert train_tokenizer([line], "bpe", 12).encode("zebra")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], ["", "  \n"]])
def test_no_text(kind, texts):
    with pytest.raises(UserError, match="no text to train"):
        train_tokenizer(texts, kind, KINDS[kind])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"kind": "word"}, "kind 'word' is unknown; use one of char"),
        ({"kind": "bpe"}, "needs a size of at least 2, not None"),
        ({"kind": "unigram", "size": 0}, "needs a size of at least 2, not 0"),
    ],
)
def test_wrong_options(options, problem):
    with pytest.raises(UserError, match=problem):
        train_tokenizer(TEXTS, **options)


@pytest.mark.parametrize("text", ["one▁two", "\u202aone\u2060 two\u200f"])
def test_invisible_characters_make_no_pieces(text):
    wanted = train_tokenizer(["one two"])
    assert train_tokenizer([text]).fingerprint == wanted.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_files_come_back(tmp_path, kind):
    tokenizer = train_tokenizer(TEXTS, kind, KINDS[kind])
    path = tmp_path / "deep" / "tokenizer.any"
    tokenizer.save(path)
    tokenizer.save(path)
    found = load_tokenizer(path)
    assert type(found) is type(tokenizer)
    assert found.fingerprint == tokenizer.fingerprint
    assert found.pieces == tokenizer.pieces
    assert found.encode(TEXTS[7]) == tokenizer.encode(TEXTS[7])
    assert os.listdir(path.parent) == ["tokenizer.any"]


def damaged(path, content):
    """Return what `load_tokenizer` says of this content."""
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_tokenizer(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def test_every_cut_of_a_character_file_is_found(tmp_path):
    path = tmp_path / "t"
    CharTokenizer("abc").save(path)
    content = path.read_bytes()
    for length in range(len(content)):
        assert "damaged" in damaged(path, content[:length])


def test_every_cut_and_every_changed_byte_of_a_model_is_found(tmp_path):
    path = tmp_path / "t"
    train_tokenizer(TEXTS, "unigram", 22).save(path)
    content = path.read_bytes()
    for place in range(len(content)):
        assert "damaged" in damaged(path, content[:place])
        changed = bytearray(content)
        changed[place] ^= 1
        assert "damaged" in damaged(path, bytes(changed))


def test_sentencepiece_itself_reads_the_file(tmp_path):
    path = tmp_path / "t.model"
    tokenizer = train_tokenizer(TEXTS, "bpe", 40)
    tokenizer.save(path)
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    for text in TEXTS:
        assert model.encode(text) == tokenizer.encode(text)
    assert model.unk_id() == 0
    assert tokenizer.pieces[1:] == [
        model.id_to_piece(i) for i in range(1, tokenizer.size)
    ]


def test_changed_character_files_are_found(tmp_path):
    path = tmp_path / "t"
    CharTokenizer("abc").save(path)
    record = json.loads(path.read_bytes())
    for change in (
        {"characters": ["a", "b", "d"]},
        {"characters": 5},
        {"format": "other"},
        {"fingerprint": None},
    ):
        content = json.dumps({**record, **change}).encode()
        assert "damaged" in damaged(path, content)
    assert "damaged" in damaged(path, b"{\xff")
    assert "damaged" in damaged(path, b"garbage")


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot read this tokenizer"):
        load_tokenizer(tmp_path / "no.json")
    with pytest.raises(UserError, match="damaged"):
        SentencePieceTokenizer(b"")
