"""The beam over slots against all sentences that the slots can make."""

import itertools
import math

import numpy as np
import pytest

from nar_asr_lobes.decoding.slot_beam_kernel import search_slots
from tests.decoding.ngram_tables import BackoffLM

SIZE = 5  # tokens 1..4


def random_slots(rng, slots, width):
    """Candidates as the search takes them; some slots have fewer."""
    tokens = np.empty((slots, width), np.int32)
    for row in tokens:
        row[:] = 1 + rng.permutation(SIZE - 1)[:width]
    scores = -np.sort(rng.exponential(1.5, (slots, width)), axis=1)
    return tokens, scores, rng.integers(1, width + 1, slots)


def all_sentences(tokens, scores, counts):
    """Every sentence with the sum of its slots' scores."""
    for picks in itertools.product(*map(range, counts.tolist())):
        sentence = [int(tokens[i, c]) for i, c in enumerate(picks)]
        yield tuple(sentence), sum(scores[i, c] for i, c in enumerate(picks))


def test_a_wide_beam_equals_enumeration():
    rng = np.random.default_rng(0)
    merged = 0
    for trial in range(320):
        lm = BackoffLM(SIZE, trial, order=2 + trial % 2)
        weight = float(rng.uniform(0.2, 1.5))
        slots = random_slots(rng, trial % 5, 1 + trial % 4)
        best, total = {}, 0
        for sentence, score in all_sentences(*slots):
            share = lm.sentence(sentence)
            found = (score + weight * share, share, sentence)
            end = lm.context((0, *sentence))
            best[end] = max(best.get(end, found), found)
            total += 1
        expected = sorted(best.values(), reverse=True)
        merged += total > len(expected)
        parts, tokens = search_slots(*slots, lm.tables, 1000, weight)
        assert [tuple(t) for t in tokens.tolist()] == [e[2] for e in expected]
        wanted = np.reshape([e[:2] for e in expected], (-1, 2))
        np.testing.assert_allclose(parts, wanted, atol=1e-5)
    assert merged > 100  # or there was nothing to recombine


def test_the_beam_is_narrow_by_sentence_end_as_well():
    """Only the sentence end tells the better sentence."""
    rng = np.random.default_rng(1)
    missed = 0
    for trial in range(100):
        lm = BackoffLM(SIZE, trial, kept=1.0)
        slots = random_slots(rng, 4, 4)
        wide, _ = search_slots(*slots, lm.tables, 1000, 1.0)
        narrow, tokens = search_slots(*slots, lm.tables, 2, 1.0)
        assert len(narrow) <= 2
        assert (narrow[:, 0] <= wide[: len(narrow), 0] + 1e-9).all()
        for (score, share), sentence in zip(narrow, tokens, strict=True):
            assert share == pytest.approx(lm.sentence(tuple(sentence)))
            picks = [
                row.tolist().index(t)
                for row, t in zip(slots[0], sentence, strict=True)
            ]
            own = sum(slots[1][i, c] for i, c in enumerate(picks))
            assert score == pytest.approx(own + share)
        missed += narrow[0, 0] < wide[0, 0] - 1e-9
    assert 0 < missed < 50


def test_weight_zero_takes_the_best_of_each_slot_and_asks_no_model():
    rng = np.random.default_rng(2)
    for trial in range(50):
        slots = random_slots(rng, 4, 3)
        unusable = BackoffLM(SIZE, trial).tables._replace(
            unigram_log_prob=np.full(SIZE, math.nan, np.float32)
        )
        unusable.unigram_log_prob.setflags(write=False)
        parts, tokens = search_slots(*slots, unusable, 5, 0.0)
        assert tokens[0].tolist() == slots[0][:, 0].tolist()
        assert (parts[:, 1] == 0).all()
        # without a language model the five best are exact
        scores = sorted((s for _, s in all_sentences(*slots)), reverse=True)
        np.testing.assert_allclose(parts[:, 0], scores[:5], atol=1e-9)
