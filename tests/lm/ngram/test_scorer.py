"""Scores and states are KenLM's, and follow the back-off rule."""

import itertools
import math
import random

import kenlm
import numpy as np
import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.corpus import lm_words
from nar_asr_lobes.lm.ngram.scorer import NgramLM
from nar_asr_lobes.lm.ngram.training import train_ngram

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
    """What came of training a model."""
    path = tmp_path / "lm.arpa"
    return train_ngram(TEXT, TOKENIZER, request.param, path)


@pytest.fixture
def lm(tmp_path):
    """A trigram."""
    path = tmp_path / "lm.arpa"
    report = train_ngram(TEXT, TOKENIZER, 3, path)
    return NgramLM.load(report.path, TOKENIZER)


def test_natural_logs_by_the_back_off_rule(trained, read_arpa):
    lm, order = NgramLM.load(trained.path, TOKENIZER), trained.info.order
    grams = read_arpa(trained.arpa)
    words = lm_words(TOKENIZER)
    for text in ("abba", "é", "da dd", "cab bad", ""):
        tokens = TOKENIZER.encode(text)
        wanted = grams.sentence([words[i] for i in tokens], order)
        assert lm.sentence(tokens) == pytest.approx(
            wanted * math.log(10), abs=1e-4
        )


class Oracle:
    """KenLM with natural logs, for one tokenizer."""

    def __init__(self, arpa, tokenizer):
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        self.model = kenlm.Model(str(arpa), config)
        self.words = lm_words(tokenizer)

    def start(self):
        state = kenlm.State()
        self.model.BeginSentenceWrite(state)
        return state

    def score(self, state, token):
        return self._score(state, self.words[token])

    def final(self, state):
        return self._score(state, "</s>")[0]

    def _score(self, state, word):
        after = kenlm.State()
        log10 = self.model.BaseScore(state, word, after)
        return log10 * math.log(10), after


def sequences(tokenizer, lines, count, seed):
    """Random ids, and beginnings of lines with random ids after them."""
    rng = random.Random(seed)
    known = [tokenizer.encode(line) for line in lines if line]
    for _ in range(count):
        tokens = []
        if rng.random() < 0.5:
            tokens = rng.choice(known)[: rng.randrange(12)]
        length = rng.randrange(8)
        yield tokens + rng.choices(range(1, tokenizer.size), k=length)


@pytest.mark.parametrize("prune", [(), (0, 0, 1), (0, 1)])
@pytest.mark.parametrize("order", [1, 2, 3, 6, 10])
@pytest.mark.parametrize("text", ["notes", "chant", "gap", "tiny"])
def test_every_score_and_every_state_is_kenlms(
    text, order, prune, tmp_path, reference_text
):
    """Natural logs within 1e-4; states equal where, and only where, KenLM's.

    The tokenizer has two pieces that no text has.
    """
    lines = reference_text(text)
    letters = "".join(sorted(set("".join(lines)) | {"\u03a9", "\u0416"}))
    tokenizer = CharTokenizer(letters)
    report = train_ngram(
        lines, tokenizer, order, tmp_path / "lm.arpa", prune[:order], False
    )
    lm = NgramLM.load(report.path, tokenizer)
    oracle = Oracle(report.arpa, tokenizer)
    # KenLM has a state for <s> even where nothing is known of it.
    pairs = set()
    seed = order * 100 + len(prune)
    for tokens in sequences(tokenizer, lines, 200, seed):
        state, wanted_state, total = lm.start(), oracle.start(), 0.0
        for token in tokens:
            log_prob, state = lm.score(state, token)
            wanted, wanted_state = oracle.score(wanted_state, token)
            assert log_prob == pytest.approx(wanted, abs=1e-4, rel=0)
            pairs.add((state, wanted_state))
            total += log_prob
        wanted = oracle.final(wanted_state)
        assert lm.final(state) == pytest.approx(wanted, abs=1e-4, rel=0)
        assert lm.sentence(tokens) == pytest.approx(total + lm.final(state))
    ours, theirs = map(set, zip(*pairs, strict=True))
    assert len(ours) == len(theirs) == len(pairs)


def test_no_state_is_left_over(lm):
    """Every state comes up in some text."""
    seen, new = {0}, {lm.start()}
    while new:
        seen |= new
        tokens = range(1, TOKENIZER.size)
        new = {lm.score(s, token)[1] for s in new for token in tokens} - seen
    assert seen == set(range(len(lm.tables.backoff)))


def test_tokens_of_numpy_are_welcome(lm):
    tokens = np.array(TOKENIZER.encode("cab"), dtype=np.int32)
    assert lm.sentence(tokens) == lm.sentence(tokens.tolist())
    assert lm.score(1, tokens[0]) == lm.score(1, int(tokens[0]))


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
    with pytest.raises(ValueError, match=rf"id {token} is not in 1\.\.6"):
        lm.sentence([1, token, 2])


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
        report = train_ngram(lines, tokenizer, 3, path)
        models.append(NgramLM.load(report.path, tokenizer))
    plain, other = models
    for tokens in itertools.product(range(1, 7), repeat=3):
        assert other.sentence(tokens) == plain.sentence(tokens)


def test_other_tokenizer(trained):
    with pytest.raises(UserError, match="another tokenizer"):
        NgramLM.load(trained.path, CharTokenizer("abcdé"))
