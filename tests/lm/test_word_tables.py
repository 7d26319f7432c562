"""Look-ahead against its definition, and what it does for a narrow beam."""

import itertools
import math

import numpy as np
import pytest

from nar_asr_lobes.dataio.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.prefix_beam import prefix_beam_search
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm import tries, word_tables
from nar_asr_lobes.lm.arpa import read_words
from nar_asr_lobes.lm.kneser_ney import estimate
from nar_asr_lobes.lm.lexicon import make_lexicon
from nar_asr_lobes.lm.lookup import score_sentence, score_token
from nar_asr_lobes.lm.scorer import NgramLM
from nar_asr_lobes.lm.states import build_tables
from nar_asr_lobes.lm.tables import find_fault
from nar_asr_lobes.lm.word_ngram import train_word_ngram

TOKENIZER = CharTokenizer(" abc")  # no word has a c
LINES = [
    *("ab a", "ab ba", "b ab a", "ab ab ba", "aab a", "ab", "ba aab"),
    *("b b ab", "a ab ba b", "ba b", "bbba", "abb a"),
]


@pytest.fixture(scope="module", params=[1, 2, 3])
def trained(request, tmp_path_factory):
    """The order, the ARPA file and the model of the lines."""
    path = tmp_path_factory.mktemp("words") / "lm.arpa"
    report = train_word_ngram(
        LINES, TOKENIZER, request.param, path, (), False, min_count=2
    )
    return request.param, path, NgramLM.load(report.path, TOKENIZER)


class Naive:
    """Scores pieces by searching the whole vocabulary for what may follow."""

    def __init__(self, grams, words, order):
        self.grams, self.words, self.order = grams, words, order
        lexicon = make_lexicon(words, TOKENIZER)
        letters = estimate(lexicon.pieces, np.diff(lexicon.begin), 3)
        self.letters = build_tables(letters, TOKENIZER.size)

    def word(self, history, word):
        """Return log P of a word, its end included."""
        name = word if word in (*self.words, "</s>") else "<unk>"
        start = max(0, len(history) - self.order + 1)
        total = self.grams.predict(tuple(history[start:]), name)
        spelled = 0.0
        if name == "<unk>":
            spelled = score_sentence(self.letters, np.array(ids(word), int))
        return total * math.log(10) + spelled

    def beginning(self, history, letters):
        """Return the highest log P of a word that may come of the letters."""
        state, spelled = self.letters.start[0], 0.0
        for token in ids(letters):
            log_prob, state = score_token(self.letters, state, token)
            spelled += log_prob
        start = max(0, len(history) - self.order + 1)
        unknown = self.grams.predict(tuple(history[start:]), "<unk>")
        may = [w for w in self.words if w.startswith(letters)]
        found = [self.word(history, word) for word in may]
        return max([unknown * math.log(10) + spelled, *found])

    def partial(self, text):
        """Return what the pieces of a text cost so far."""
        *whole, last = text.split(" ")
        history = ["<s>", *(w if w in self.words else "<unk>" for w in whole)]
        total = sum(
            self.word(history[: i + 1], word) for i, word in enumerate(whole)
        )
        return total + (self.beginning(history, last) if last else 0.0)

    def sentence(self, text):
        """Return the log-probability of a text and its end."""
        words = text.split(" ") if text else []
        history = ["<s>", *(w if w in self.words else "<unk>" for w in words)]
        return sum(
            self.word(history[: i + 1], word)
            for i, word in enumerate([*words, "</s>"])
        )


def ids(text):
    return [" abc".index(letter) + 1 for letter in text]


def texts(longest):
    """All there are, those with spaces in odd places too."""
    for length in range(longest + 1):
        yield from map("".join, itertools.product(" abc", repeat=length))


@pytest.fixture
def naive(trained, read_arpa):
    order, path, _ = trained
    return Naive(read_arpa(path), read_words(path), order)


def test_every_beginning_costs_what_its_best_word_would(trained, naive):
    lm = trained[2]
    for text in texts(5):
        state, total = lm.start(), 0.0
        for token in ids(text):
            log_prob, state = lm.score(state, token)
            total += log_prob
        assert total == pytest.approx(naive.partial(text), abs=1e-4), text
        assert lm.sentence(ids(text)) == pytest.approx(
            naive.sentence(text), abs=1e-4
        ), text


def test_no_piece_raises_a_score(trained):
    tables = trained[2].tables
    scores = [
        score_token(tables, state, token)[0]
        for state in range(len(tables.backoff))
        for token in range(1, TOKENIZER.size)
    ]
    assert max(scores) <= 1e-6
    assert max(tables.final) <= 0
    assert find_fault(tables) is None


def test_an_unlimited_beam_is_exhaustive(trained, naive):
    """Alignments are enumerated, and the text's words scored by the ARPA."""
    options = BeamOptions(
        beam_size=10**6,
        lm_weight=0.7,
        token_bonus=0.4,
        max_candidates=None,
        min_log_prob=None,
        blank_threshold=None,
        recombine=False,
    )
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 4, 5)).astype("f4")
    frames = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for rows, found in zip(
        frames,
        prefix_beam_search(list(frames), options, trained[2]),
        strict=True,
    ):
        sums = {}
        for path in itertools.product(range(5), repeat=len(rows)):
            spelled = [label for label, _ in itertools.groupby(path) if label]
            text = "".join(" abc"[label - 1] for label in spelled)
            probability = np.exp(rows[range(len(rows)), path].sum())
            sums[text] = sums.get(text, 0.0) + probability
        wanted = {
            text: math.log(p) + 0.7 * naive.sentence(text) + 0.4 * len(text)
            for text, p in sums.items()
        }
        best = max(wanted, key=wanted.get)
        assert found[0].tokens == tuple(ids(best))
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
            [log_probs], BeamOptions(beam_size=5, lm_weight=1.0), lm
        )
        texts.append(tokenizer.decode(best.tokens))
    assert texts[0] == "x cy"
    assert texts[1] != "x cy"


def test_too_many_states_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tries, "_MOST_STATES", 20)
    with pytest.raises(UserError, match="states over pieces, more than 19; pr"):
        train_word_ngram(LINES, TOKENIZER, 2, tmp_path / "lm.arpa", (), False)
