"""Scores are KenLM's in natural logs, and follow the back-off rule."""

import dataclasses
import itertools
import math
import sys

import pytest

from nar_asr_lobes.dataio.tokenizer import CharTokenizer, Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm import scorer
from nar_asr_lobes.lm.corpus import lm_words
from nar_asr_lobes.lm.ngram import train_ngram
from nar_asr_lobes.lm.scorer import NgramLM
from nar_asr_lobes.lm.sidecar import hash_file, sidecar_path, write_sidecar

TOKENIZER = CharTokenizer("abcdé ")
TEXT = ["abba", "baa ab", "cab a", "é bé", "ab ab a", "caba bé a"]  # no d


class Words(Tokenizer):
    """Whole words as pieces, so that any string can be one."""

    def _encode(self, text):
        return [self.pieces.index(word) for word in text.split()]

    def _content(self):
        raise AssertionError("never saved here")

    def _unknown(self, text):
        raise AssertionError("knows all words of this test")


@pytest.fixture(params=[1, 2, 3, 6])
def trained(request, tmp_path):
    """The path of a model, and its order."""
    path = tmp_path / "lm.arpa"
    train_ngram(TEXT, TOKENIZER, request.param, path, use_lmplz=False)
    return path, request.param


@pytest.fixture
def lm(tmp_path):
    """A trigram."""
    path = tmp_path / "lm.arpa"
    train_ngram(TEXT, TOKENIZER, 3, path, use_lmplz=False)
    return NgramLM.load(path, TOKENIZER)


def test_natural_logs_by_the_back_off_rule(trained, read_arpa):
    path, order = trained
    lm, grams = NgramLM.load(path, TOKENIZER), read_arpa(path)
    words = lm_words(TOKENIZER)
    for text in ("abba", "é", "da dd", "cab bad", ""):
        tokens = TOKENIZER.encode(text)
        wanted = grams.sentence([words[i] for i in tokens], order)
        assert lm.sentence(tokens) == pytest.approx(
            wanted * math.log(10), abs=1e-4
        )


def test_sentence_is_the_sum_of_its_steps(lm):
    state, total = lm.start(), 0.0
    for token in TOKENIZER.encode("baab"):
        log_prob, state = lm.score(state, token)
        assert log_prob < 0
        total += log_prob
    total += lm.final(state)
    assert total == pytest.approx(lm.sentence(TOKENIZER.encode("baab")))


def test_next_tokens_are_a_distribution(lm):
    """All pieces of the text, the unknown one and the end sum to one."""
    _, state = lm.score(lm.start(), TOKENIZER.encode("b")[0])
    every = range(1, TOKENIZER.size)  # "d" stands for the unknown
    total = sum(math.exp(lm.score(state, token)[0]) for token in every)
    assert total + math.exp(lm.final(state)) == pytest.approx(1, abs=1e-5)


def test_states_are_values(lm):
    a, b = TOKENIZER.encode("ab")
    start = lm.start()
    first = lm.score(start, a)
    lm.score(first[1], b)
    lm.final(first[1])
    again = lm.score(start, a)
    assert again == first
    assert hash(again[1]) == hash(first[1])
    assert start == lm.start() != first[1]


def test_unseen_piece_is_the_unknown_word(lm, tmp_path, read_arpa):
    unknown = read_arpa(tmp_path / "lm.arpa")[("<unk>",)][0]
    d = TOKENIZER.encode("d")
    _, state = lm.score(lm.start(), d[0])  # nothing is known after it
    log_prob, _ = lm.score(state, d[0])
    assert log_prob == pytest.approx(unknown * math.log(10), abs=1e-5)


@pytest.mark.parametrize("token", [0, -1, TOKENIZER.size])
def test_ids_that_are_no_pieces(lm, token):
    with pytest.raises(ValueError, match=r"not in 1\.\.6"):
        lm.score(lm.start(), token)


def test_pieces_named_like_boundaries_are_ordinary(tmp_path):
    """Names of pieces change no score, not even <s> or a NUL."""
    text = ["p q r p", "q s p", "r r s t", "t u p"]
    odd = ["<s>", "</s>", "<unk>", "<UNK>", "\0", "<piece:1>"]
    names = dict(zip("pqrstu", odd, strict=True))
    models = []
    for pieces in (list("pqrstu"), odd):
        tokenizer = Words(["<blank>", *pieces], repr(pieces).encode())
        lines = text
        if pieces is odd:
            lines = [" ".join(names[w] for w in t.split()) for t in text]
        path = tmp_path / f"{len(models)}.arpa"
        train_ngram(lines, tokenizer, 3, path, use_lmplz=False)
        models.append(NgramLM.load(path, tokenizer))
    plain, other = models
    for tokens in itertools.product(range(1, 7), repeat=3):
        assert other.sentence(tokens) == plain.sentence(tokens)


def test_other_tokenizer(trained):
    with pytest.raises(UserError, match="another tokenizer"):
        NgramLM.load(trained[0], CharTokenizer("abcdé"))


def test_damaged_files_never_reach_kenlm(tmp_path):
    path = tmp_path / "lm.arpa"
    train_ngram(TEXT, TOKENIZER, 3, path, use_lmplz=False)
    content = path.read_bytes()
    for size in range(0, len(content), len(content) // 20):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="damaged or was changed"):
            NgramLM.load(path, TOKENIZER)


def test_file_that_kenlm_refuses(tmp_path):
    """Its sidecar fits, but it is no model."""
    path = tmp_path / "lm.arpa"
    report = train_ngram(TEXT, TOKENIZER, 3, path, use_lmplz=False)
    path.write_text("nonsense\n")
    sha256 = hash_file(path)
    write_sidecar(path, dataclasses.replace(report.sidecar, sha256=sha256))
    with pytest.raises(UserError, match="lm.arpa: KenLM cannot load"):
        NgramLM.load(path, TOKENIZER)


def test_longer_n_grams_than_kenlm_was_built_for(trained, monkeypatch):
    path, order = trained
    monkeypatch.setattr(scorer, "highest_order", lambda: order - 1)
    message = f"of order {order}, .* up to {order - 1}; .* MAX_ORDER={order}$"
    with pytest.raises(UserError, match=message):
        NgramLM.load(path, TOKENIZER)


def test_missing_sidecar(trained):
    sidecar_path(trained[0]).unlink()
    with pytest.raises(UserError, match="is missing"):
        NgramLM.load(trained[0], TOKENIZER)


def test_kenlm_is_not_installed(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(UserError, match=r"pip install nar-asr-lobes\[lm\]"):
        NgramLM.load(trained[0], TOKENIZER)
