"""N-grams over other words, with all their endings, and of joined words."""

import math
from dataclasses import replace

import kenlm
import numpy as np
import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.kneser_ney import NgramModel, NgramTable, estimate
from nar_asr_lobes.lm.ngram.vocabulary import (
    add_endings,
    merge_words,
    renumber,
)
from tests.lm.arpa_files import save

NUMBER = np.array([3, 3, 4, 4, 5, 6, 7, 7])  # eight words become five
START, END = 1, 2
WORDS = range(3, 11)


@pytest.fixture
def model():
    """A trigram of four words, with back-offs in all orders."""
    rng = np.random.default_rng(0)
    model = estimate(rng.integers(4, size=60), np.full(12, 5), 3)
    highest = model.tables[-1]
    zeros = np.zeros(len(highest.words), dtype=np.float32)
    return replace(
        model, tables=[*model.tables[:-1], replace(highest, backoff=zeros)]
    )


def ngrams(table):
    return {
        tuple(words): numbers
        for words, *numbers in zip(
            table.words.tolist(), table.log_prob, table.backoff, strict=True
        )
    }


def test_unknown_words_are_one_and_only_begin_ngrams(model):
    found = renumber(model, np.array([4, -1, 0, 3]))
    assert found.vocabulary.tolist() == [0, 1]
    number = {0: 0, 1: 1, 2: 2, 3: 4, 5: 0, 6: 3}
    for before, after in zip(model.tables, found.tables, strict=True):
        wanted = {
            tuple(number[w] for w in gram): numbers
            for gram, numbers in ngrams(before).items()
            if 4 not in gram and not {0, 5} & set(gram[1:])
        }
        if len(before.words.T) == 1:
            unknown, rare = ngrams(before)[(0,)], ngrams(before)[(5,)]
            both = math.log10(10 ** unknown[0] + 10 ** rare[0])
            wanted[(0,)] = [pytest.approx(both), rare[1]]
        assert ngrams(after) == wanted
        assert any(gram[0] == 0 for gram in wanted)


def test_endings_are_added_and_change_nothing(model, tmp_path):
    """KenLM adds them too, for SRILM's sake."""
    begins = {tuple(gram) for gram in model.tables[2].words[:, :2].tolist()}
    rng = np.random.default_rng(1)
    kept = [
        tuple(gram) in begins and rng.random() < 0.8
        for gram in model.tables[1].words.tolist()
    ]
    context = {tuple(gram) for gram in model.tables[1].words[kept].tolist()}
    longer = [
        tuple(gram) in context for gram in model.tables[2].words[:, :2].tolist()
    ]
    tables = [
        table
        if rows is None
        else NgramTable(
            table.words[rows], table.log_prob[rows], table.backoff[rows]
        )
        for table, rows in zip(model.tables, (None, kept, longer), strict=True)
    ]
    pruned = NgramModel(model.vocabulary, tables)
    whole = add_endings(pruned)
    added = set(ngrams(whole.tables[1])) - set(ngrams(tables[1]))
    assert added
    scores = []
    for name, found in (("a", pruned), ("b", whole)):
        save(tmp_path / f"{name}.arpa", found, "abcd")
        scorer = kenlm.Model(str(tmp_path / f"{name}.arpa"))
        rng = np.random.default_rng(2)
        texts = [" ".join(rng.choice(list("abcd"), 6)) for _ in range(50)]
        scores.append([scorer.score(text) for text in texts])
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_model_with_all_its_endings_stays_as_it_is(model):
    for before, after in zip(
        model.tables, add_endings(model).tables, strict=True
    ):
        assert before is after


class Backoff:
    """A model as dictionaries, and the back-off rule."""

    def __init__(self, probs, backoffs):
        self.probs, self.backoffs = probs, backoffs

    @property
    def order(self):
        return max(map(len, self.probs))

    @classmethod
    def of(cls, model):
        probs, backoffs = {}, {}
        for table in model.tables:
            grams = list(map(tuple, table.words.tolist()))
            assert len(set(grams)) == len(grams)
            columns = (table.log_prob, table.backoff)
            numbers = (10.0 ** np.float64(values) for values in columns)
            for gram, prob, backoff in zip(grams, *numbers, strict=True):
                probs[gram], backoffs[gram] = prob, backoff
        return cls(probs, backoffs)

    def prob(self, history, word):
        if (*history, word) in self.probs:
            return self.probs[(*history, word)]
        if not history:
            return self.probs[(0,)]
        below = self.prob(history[1:], word)
        return self.backoffs.get(history, 1.0) * below

    def sums(self):
        """Sum the probabilities of all words behind each history."""
        words = {gram[0] for gram in self.probs if len(gram) == 1} - {START}
        return {
            history: sum(self.prob(history, word) for word in words)
            for history in [(), *self.probs]
            if len(history) < self.order and history[-1:] not in [(END,), (0,)]
        }

    def model(self):
        """Give the tables."""
        tables = []
        for n in range(1, self.order + 1):
            grams = sorted(gram for gram in self.probs if len(gram) == n)
            probs = [self.probs[gram] for gram in grams]
            backoffs = [self.backoffs.get(gram, 1.0) for gram in grams]
            logs = (np.log10(v).astype(np.float32) for v in (probs, backoffs))
            tables.append(NgramTable(np.array(grams, dtype=np.int32), *logs))
        return NgramModel(np.arange(len(WORDS)), tables)


def unrelated(order, seed):
    """A normalised model of which no order has to do with the one below.

    Other than in interpolated models, an n-gram may be far less probable than
    what the back-off would give.
    """
    rng = np.random.default_rng(seed)
    ends = [END, *WORDS]
    unigrams = rng.dirichlet(np.ones(len(ends) + 1))
    probs = dict(zip([(0,), *((w,) for w in ends)], unigrams, strict=True))
    found = Backoff({**probs, (START,): 1e-99}, {})
    histories = [(START,), *((word,) for word in WORDS)]
    for _ in range(order - 1):
        longer = []
        for history in histories:
            known = [w for w in ends if (*history[1:], w) in found.probs]
            last = [w for w in known if rng.random() < 0.4]
            rest = 1 - sum(found.prob(history[1:], w) for w in last)
            if not last or rest < 0.05:
                continue
            mass = rng.dirichlet(np.full(len(last), 0.5)) * 0.7 + 1e-6
            for word, prob in zip(last, mass, strict=True):
                found.probs[(*history, word)] = prob
            found.backoffs[history] = (1 - mass.sum()) / rest
            longer += [(*history, word) for word in last if word != END]
        histories = longer
    return found.model()


def estimated(order, tokens, lengths):
    """A Kneser-Ney model with back-offs in all orders."""
    *lower, last = estimate(tokens, lengths, order).tables
    zeros = np.zeros(len(last.words), dtype=np.float32)
    last = NgramTable(last.words, last.log_prob, zeros)
    return NgramModel(np.arange(len(set(tokens.tolist()))), [*lower, last])


def text(seed=0):
    """Sentences over eight words, of which each occurs."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, 200)
    tokens = np.minimum(rng.geometric(0.2, lengths.sum()) - 1, 7)
    tokens[:8] = range(8)
    # each depends on the one before it
    tokens[9::2] = (tokens[8:-1:2] * 3 + tokens[9::2] // 3) % 8
    return tokens, lengths


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["Kneser-Ney", "unrelated"])
def test_the_probabilities_behind_each_history_sum_to_one(kind, order):
    for seed in range(4):
        model = unrelated(order, seed)
        if kind == "Kneser-Ney":
            model = estimated(order, *text(seed))
        before = Backoff.of(model).sums()
        merged = Backoff.of(merge_words(model, NUMBER))
        assert len(merged.sums()) < len(before) or order == 1
        for sums in (before, merged.sums()):
            assert list(sums.values()) == pytest.approx(
                [1] * len(sums), abs=1e-4
            )
        assert all(
            merged.backoffs[gram] == 1
            for gram in merged.probs
            if len(gram) == order
        )


@pytest.mark.parametrize("kind", ["Kneser-Ney", "unrelated"])
def test_bigrams_are_the_mixture_of_all_spellings(kind):
    model = unrelated(2, 1)
    if kind == "Kneser-Ney":
        model = estimated(2, *text())
    whole = Backoff.of(model)
    merged = Backoff.of(merge_words(model, NUMBER))
    spellings = {START: [START], END: [END], 0: [0]}
    for word, new in zip(WORDS, NUMBER.tolist(), strict=True):
        spellings.setdefault(new, []).append(word)
    for new, words in spellings.items():
        wanted = sum(whole.prob((), word) for word in words)
        assert merged.prob((), new) == pytest.approx(wanted, 1e-5)
    for history, olds in spellings.items():
        weights = [whole.prob((), old) for old in olds]
        for new in set(spellings) - {START}:
            wanted = sum(
                weight / sum(weights) * whole.prob((old,), word)
                for old, weight in zip(olds, weights, strict=True)
                for word in spellings[new]
            )
            assert merged.prob((history,), new) == pytest.approx(wanted, 1e-4)


def test_words_that_stay_apart_keep_their_numbers():
    model = estimated(3, *text())
    order = np.array([10, 3, 9, 4, 8, 5, 7, 6])
    merged = Backoff.of(merge_words(model, order))
    names = [0, START, END, *order.tolist()]
    for gram, prob in Backoff.of(model).probs.items():
        found = merged.probs[tuple(names[i] for i in gram)]
        assert found == pytest.approx(prob, 1e-5)


def test_damaged_models_are_told():
    model = estimated(3, *text())
    words = model.tables[2].words
    first, words[0] = words[0].copy(), words[1]
    with pytest.raises(UserError, match="an n-gram stands twice"):
        merge_words(model, NUMBER)
    words[0] = first
    words[0, :2] = START, START
    with pytest.raises(UserError, match="the beginning of an n-gram is miss"):
        merge_words(model, NUMBER)
