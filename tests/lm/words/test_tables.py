"""Look-ahead against its definition, and what it does for a narrow beam."""

import functools
import itertools
import math
import random

import numpy as np
import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.arpa import read_words
from nar_asr_lobes.lm.ngram.kneser_ney import estimate
from nar_asr_lobes.lm.ngram.lookup import NgramLM, score_token
from nar_asr_lobes.lm.ngram.states import build_tables
from nar_asr_lobes.lm.ngram.tables import find_fault
from nar_asr_lobes.lm.words import lexicon as word_lexicon
from nar_asr_lobes.lm.words import tables as word_tables
from nar_asr_lobes.lm.words.lexicon import make_lexicon
from nar_asr_lobes.lm.words.ngram import train_word_ngram

LINES = [
    *("ab a", "ab ba", "b ab a", "ab ab ba", "aab a", "ab", "ba aab"),
    *("b b ab", "a ab ba b", "ba b", "bbba", "abb a"),
]
TOKENIZERS = {  # no word of the lines has a c
    "char": CharTokenizer(" abc"),
    "unigram": train_tokenizer([*LINES, "c ac"], "unigram", 7),
    "bpe": train_tokenizer([*LINES, "c ac"], "bpe", 8),
}
KINDS = [(kind, order) for kind in TOKENIZERS for order in (1, 2, 3)]


@pytest.fixture(scope="module", params=KINDS, ids=str)
def trained(request, tmp_path_factory):
    """The tokenizer, the order, the ARPA file and the model of the lines."""
    kind, order = request.param
    path = tmp_path_factory.mktemp("words") / "lm.arpa"
    tokenizer = TOKENIZERS[kind]
    report = train_word_ngram(
        LINES, tokenizer, order, path, (), False, min_count=2
    )
    lm = NgramLM.load(report.path, tokenizer)
    return tokenizer, order, path, lm


class Naive:
    """Scores pieces by searching the whole vocabulary for what may follow."""

    def __init__(self, grams, words, order, tokenizer):
        self.grams, self.order, self.pieces = grams, order, tokenizer.pieces
        self.space = isinstance(tokenizer, CharTokenizer)
        self.words = {tuple(tokenizer.encode(word)): word for word in words}
        lexicon = make_lexicon(words, tokenizer)
        letters = estimate(lexicon.pieces, np.diff(lexicon.begin), 3)
        self.letters = build_tables(letters, tokenizer.size)
        self.word = functools.cache(self._word)
        self.beginning = functools.cache(self._beginning)

    def split(self, ids):
        """Return the pieces of each word; the last has not ended."""
        words = [()]
        for i, token in enumerate(ids):
            ends = "▁" in self.pieces[token]
            if ends and (self.space or i):
                words.append(())
            if not (ends and self.space):
                words[-1] += (token,)
        return words

    def context(self, before):
        """Return the names of the words before that count."""
        names = ["<s>", *(self.words.get(word, "<unk>") for word in before)]
        return tuple(names[max(0, len(names) - self.order + 1) :])

    def spelled(self, word):
        """Return log P of the pieces without and with a word's end."""
        state, total = self.letters.start[0], 0.0
        for token in word:
            log_prob, state = score_token(self.letters, state, token)
            total += log_prob
        return total, total + self.letters.final[state]

    def _word(self, context, word):
        """Return log P of a word, its end included."""
        name = self.words.get(word, "<unk>")
        spelled = 0.0 if word in self.words else self.spelled(word)[1]
        return self.grams.predict(context, name) * math.log(10) + spelled

    def _beginning(self, context, pieces):
        """Return the highest log P of a word that may come of the pieces."""
        unknown = self.grams.predict(context, "<unk>") * math.log(10)
        may = [w for w in self.words if w[: len(pieces)] == pieces]
        found = [self.word(context, word) for word in may]
        return max([unknown + self.spelled(pieces)[0], *found])

    def partial(self, ids):
        """Return what the pieces cost so far."""
        *whole, last = self.split(ids)
        total = self.whole(whole)
        if last:
            total += self.beginning(self.context(whole), last)
        return total

    def whole(self, words):
        return sum(
            self.word(self.context(words[:i]), word)
            for i, word in enumerate(words)
        )

    def sentence(self, ids):
        """Return the log-probability of the pieces and the sentence's end."""
        words = self.split(ids) if ids else []
        end = self.grams.predict(self.context(words), "</s>")
        return self.whole(words) + end * math.log(10)


def sequences(size, longest):
    """All there are, those with spaces in odd places too."""
    for length in range(longest + 1):
        yield from itertools.product(range(1, size), repeat=length)


@pytest.fixture(scope="module")
def naive(trained, read_arpa):
    tokenizer, order, path, _ = trained
    return Naive(read_arpa(path), read_words(path), order, tokenizer)


def assert_equal(lm, naive, ids):
    state, total = lm.start(), 0.0
    for token in ids:
        log_prob, state = lm.score(state, token)
        total += log_prob
    assert total == pytest.approx(naive.partial(ids), abs=1e-4), ids
    found = lm.sentence(ids)
    assert found == pytest.approx(naive.sentence(ids), abs=1e-4), ids


def test_every_beginning_costs_what_its_best_word_would(trained, naive):
    tokenizer, _, _, lm = trained
    for ids in sequences(tokenizer.size, 4):
        assert_equal(lm, naive, ids)
    rng = random.Random(0)
    for _ in range(500):
        ids = rng.choices(range(1, tokenizer.size), k=rng.randint(5, 12))
        assert_equal(lm, naive, tuple(ids))


def test_no_piece_raises_a_score(trained):
    tokenizer, *_, lm = trained
    tables = lm.tables
    scores = [
        score_token(tables, state, token)[0]
        for state in range(len(tables.final))
        for token in range(1, tokenizer.size)
    ]
    assert max(scores) <= 1e-6
    assert max(tables.final) <= 0
    assert find_fault(tables) is None


def test_an_unlimited_beam_is_exhaustive(trained, naive):
    """Alignments are enumerated, and the pieces' words scored by the ARPA."""
    tokenizer, *_, lm = trained
    options = BeamOptions(
        beam_size=10**6,
        lm_weight=0.7,
        token_bonus=0.4,
        max_candidates=None,
        min_log_prob=None,
        blank_threshold=None,
        recombine=False,
    )
    rng, labels = np.random.default_rng(0), range(tokenizer.size)
    logits = rng.normal(size=(8, 4, tokenizer.size)).astype("f4")
    frames = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for rows, found in zip(
        frames, prefix_beam_search(list(frames), options, lm), strict=True
    ):
        sums = {}
        for path in itertools.product(labels, repeat=len(rows)):
            ids = tuple(label for label, _ in itertools.groupby(path) if label)
            probability = np.exp(rows[range(len(rows)), path].sum())
            sums[ids] = sums.get(ids, 0.0) + probability
        wanted = {
            ids: math.log(p) + 0.7 * naive.sentence(ids) + 0.4 * len(ids)
            for ids, p in sums.items()
        }
        best = max(wanted, key=wanted.get)
        assert found[0].tokens == best
        assert found[0].score == pytest.approx(wanted[best], abs=1e-3)


def train_ends_only(monkeypatch, lines, tokenizer, path):
    """Train a model that scores words at their ends, of equal sums."""
    with monkeypatch.context() as patch:
        patch.setattr(
            word_tables,
            "raise_to_beginnings",
            lambda _, potential: potential.fill(0.0),
        )
        report = train_word_ngram(lines, tokenizer, 2, path, (), False)
    return NgramLM.load(report.path, tokenizer)


def test_a_beam_of_five_keeps_the_beginning_of_the_right_word(
    tmp_path, monkeypatch
):
    """Seven first letters sound alike; the words before tell which it was."""
    tokenizer = CharTokenizer(" abcdefgxy")
    lines = ["x cy"] * 30 + [f"x {letter}y" for letter in "abdefg"]
    report = train_word_ngram(
        lines, tokenizer, 2, tmp_path / "a.arpa", (), False
    )
    ahead = NgramLM.load(report.path, tokenizer)
    at_ends = train_ends_only(
        monkeypatch, lines, tokenizer, tmp_path / "b.arpa"
    )
    wanted = tokenizer.encode("x cy")
    assert ahead.sentence(wanted) == pytest.approx(at_ends.sentence(wanted))
    frames = np.full((4, tokenizer.size), 1e-4)
    for row, letter in zip(frames, "x .y", strict=True):
        row[tokenizer.encode(letter) if letter != "." else 0] = 1.0
    frames[2, tokenizer.encode("abcdefg")] = [1.0, 1.0, 0.6, 1.0, 1.0, 1.0, 1.0]
    log_probs = np.log(frames / frames.sum(1, keepdims=True)).astype("f4")
    texts = []
    for lm in (ahead, at_ends):
        [[best, *_]] = prefix_beam_search(
            [log_probs], BeamOptions(lm_weight=1.0, margin=0.0), lm
        )
        texts.append(tokenizer.decode(best.tokens))
    assert texts[0] == "x cy"
    assert texts[1] != "x cy"


def test_too_many_states_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(word_lexicon, "_MOST_STATES", 20)
    path, tokenizer = tmp_path / "lm.arpa", TOKENIZERS["bpe"]
    with pytest.raises(UserError, match="states over pieces, more than 19; pr"):
        train_word_ngram(LINES, tokenizer, 2, path, (), False)
