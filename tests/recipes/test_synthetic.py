"""The Synthetic corpus: what is in it, and that it is always the same."""

import doctest
import importlib
import random
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.synthesis import corpus as spoken
from nar_asr_lobes.errors import UserError

RECIPE = Path(__file__).parents[2] / "recipes" / "Synthetic"
SMALL = {"train": 20, "dev": 4, "test": 7, "extra": 3, "lm_sentences": 300}


@pytest.fixture
def recipe(monkeypatch):
    """Import a module of the recipe as its train.py would."""
    monkeypatch.syspath_prepend(RECIPE)
    return importlib.import_module


@pytest.fixture
def prepare(recipe):
    pytest.importorskip("espeakng_loader", reason="extra demo not installed")
    return recipe("synthetic_prepare").prepare


@pytest.fixture
def grammar(recipe):
    module = recipe("synthetic_grammar")
    return module.read_grammar(RECIPE / "grammar.txt")


def files_of(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_two_runs_write_the_same_bytes(prepare, tmp_path):
    for name in ("first", "second"):
        prepare(tmp_path / name, **SMALL)
    first, second = files_of(tmp_path / "first"), files_of(tmp_path / "second")
    assert len(first) == 20 + 4 + 7 + 3 + 3
    assert first == second


def test_another_seed_gives_another_corpus(prepare, tmp_path):
    one = prepare(tmp_path / "one", **SMALL)
    two = prepare(tmp_path / "two", **SMALL, seed=5)
    assert [u.text for u in one["test"]] != [u.text for u in two["test"]]


def test_splits_are_as_asked_and_disjoint(prepare, tmp_path):
    splits = prepare(tmp_path, **SMALL)
    sizes = {name: len(rows) for name, rows in splits.items()}
    assert sizes == {"train": 20, "dev": 4, "test": 7, "pool": 23}
    for key in ("text", "speaker", "audio"):
        train, dev, test = (
            {getattr(row, key) for row in splits[name]}
            for name in ("train", "dev", "test")
        )
        assert not train & dev and not train & test and not dev & test
    assert {row.text for row in splits["pool"]} == {None}
    pool = {row.audio for row in splits["pool"]}
    assert {row.audio for row in splits["train"]} < pool
    held_out = {row.audio for row in [*splits["dev"], *splits["test"]]}
    assert not pool & held_out


def test_text_for_the_language_model_has_no_held_out_sentence(
    prepare, tmp_path
):
    splits = prepare(tmp_path, **SMALL)
    lines = (tmp_path / "lm.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) == SMALL["lm_sentences"]
    held_out = {row.text for row in [*splits["dev"], *splits["test"]]}
    assert not held_out & set(lines)


def test_audio_is_16_khz_noisy_and_as_long_as_stated(prepare, tmp_path):
    loud = prepare(tmp_path / "a", **SMALL, snr_low=0.0, snr_high=0.0)
    quiet = prepare(tmp_path / "b", **SMALL, snr_low=60.0, snr_high=60.0)
    for noisy, clean in zip(loud["test"], quiet["test"], strict=True):
        wav, other = read_audio(noisy.audio), read_audio(clean.audio)
        assert soundfile.info(noisy.audio).samplerate == 16000
        assert noisy.duration == pytest.approx(len(wav) / 16000, abs=1e-3)
        assert 1.0 < noisy.duration < 9.0
        assert np.abs(wav).max() < 1.0
        # The sentence is preceded by silence, where only noise can be.
        edge = slice(0, 500)
        floor = np.std(wav[edge]) / np.std(wav)
        assert floor > 10 * np.std(other[edge]) / np.std(other)


def test_an_unfinished_corpus_is_made_again(prepare, tmp_path):
    prepare(tmp_path, **SMALL)
    whole = files_of(tmp_path)
    for name in ("corpus.json", "utterances.tsv"):
        (tmp_path / name).unlink()
    (tmp_path / "audio" / "test-00003.flac").write_bytes(b"half")
    prepare(tmp_path, **SMALL)
    assert files_of(tmp_path) == whole


def test_a_finished_corpus_is_left_alone(prepare, tmp_path, monkeypatch):
    before = prepare(tmp_path, **SMALL)
    monkeypatch.setattr(spoken, "Espeak", None)
    assert prepare(tmp_path, **SMALL) == before


def test_mistakes_are_named(prepare, tmp_path):
    prepare(tmp_path / "made", **SMALL)
    with pytest.raises(UserError, match="made with other options"):
        prepare(tmp_path / "made", **{**SMALL, "test": 8})
    for options, message in (
        ({"trian": 3}, "unknown key 'trian'; did you mean 'train'"),
        ({"train": "many"}, "train is 'many'; it must be a whole number"),
        ({"test": 0}, "test is 0; it must be a whole number of at least 1"),
        ({"extra": -1}, "extra is -1; it must be a whole number of at least 0"),
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(tmp_path / "other", **options)
    with pytest.raises(UserError, match="snr_low is above snr_high"):
        prepare(tmp_path / "other", snr_low=9.0, snr_high=1.0)


def test_voices_are_many_and_no_variant_is_in_two_splits(recipe):
    corpus = recipe("synthetic_corpus")
    lists = (corpus.TRAIN_VOICES, corpus.DEV_VOICES, corpus.TEST_VOICES)
    assert len(set(corpus.TRAIN_VOICES)) >= 12
    variants = [{name.split("+")[1] for name in names} for names in lists]
    assert sum(map(len, variants)) == len(set.union(*variants))


def test_every_voice_can_be_heard(recipe, prepare):
    corpus = recipe("synthetic_corpus")
    voices = corpus.TRAIN_VOICES + corpus.DEV_VOICES + corpus.TEST_VOICES
    with spoken.Espeak() as espeak:
        said = [espeak.speak("no chest pain", voice) for voice in voices]
    assert all(np.std(wav) > 0.01 for wav in said)
    assert len({wav.tobytes() for wav in said}) == len(voices)


def test_sentences_are_plain_words_of_a_clinic(grammar):
    drawn = grammar.unique(random.Random(0))
    sentences = [next(drawn) for _ in range(2000)]
    assert len(set(sentences)) == 2000
    for sentence in sentences:
        assert re.fullmatch(r"[a-z]+( [a-z]+)*", sentence)
        assert 3 <= len(sentence.split()) <= 12
    assert 400 <= len(grammar.words()) <= 600
    used = set(" ".join(sentences).split())
    assert used <= grammar.words()
    assert len(used) > 0.95 * len(grammar.words())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sentence\ntake {drug}\n", "slot 'drug' is not defined"),
        ("drug\naspirin\n", "slot 'sentence' is not defined"),
        ("# x\n\nsentence\n", ":3: slot 'sentence' is empty"),
        ("sentence\na b c\n\nsentence\nb\n", ":4: slot 'sentence' is defined"),
    ],
)
def test_a_faulty_grammar_is_named_by_line(recipe, tmp_path, text, words):
    path = tmp_path / "grammar.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        recipe("synthetic_grammar").read_grammar(path)


def test_a_grammar_of_another_program(recipe, tmp_path):
    """A byte-order mark, Windows line ends, separators in a line."""
    path = tmp_path / "grammar.txt"
    path.write_bytes("\ufeffsentence\r\na\u2028b\x85c\r\n".encode())
    grammar = recipe("synthetic_grammar").read_grammar(path)
    assert grammar.draw(random.Random(0)).split() == ["a", "b", "c"]


def test_a_grammar_that_runs_dry_says_so(recipe):
    grammar = recipe("synthetic_grammar").Grammar({"sentence": ["a b c"]})
    drawn = grammar.unique(random.Random(0))
    assert next(drawn) == "a b c"
    with pytest.raises(UserError, match="no new sentence after 1"):
        next(drawn)


def test_doctests(recipe):
    found = doctest.testmod(recipe("synthetic_grammar"))
    assert found.attempted and not found.failed
