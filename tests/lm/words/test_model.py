"""N-grams over other words, and with all their endings."""

import math
from dataclasses import replace

import kenlm
import numpy as np
import pytest

from nar_asr_lobes.lm.ngram.arpa import write_arpa
from nar_asr_lobes.lm.ngram.kneser_ney import NgramModel, NgramTable, estimate
from nar_asr_lobes.lm.words.model import add_endings, renumber


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


def test_minus_infinity_becomes_the_formats_own_sign(model):
    model.tables[1].log_prob[0] = model.tables[0].backoff[3] = -np.inf
    found = renumber(model, np.arange(3, 7))
    assert found.tables[1].log_prob[0] == found.tables[0].backoff[3] == -99


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
        write_arpa(tmp_path / f"{name}.arpa", found, "abcd")
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
