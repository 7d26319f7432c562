"""The first pass with a neural language model against plain recomputation."""

import itertools
import math
from collections import defaultdict
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.batched_beam import batched_prefix_beam_search
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hotwords.tables import HotWords
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.neural_beam import (
    NeuralBeamOptions,
    neural_beam_search,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels
from nar_asr_lobes.lm.neural.scorer import NeuralLM
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

EXACT = NeuralBeamOptions(
    beam_size=130,
    neural_weight=0.7,
    lm_weight=0.4,
    lodr_weight=0.2,
    token_bonus=0.3,
    max_candidates=None,
    min_log_prob=None,
    blank_threshold=None,
)


def random_lm(size):
    """A random model whose history counts, in evaluation mode."""
    generator = torch.Generator().manual_seed(7)
    model = TransformerLm(LmSizes(16, 2, 32, 2), vocab_size=size)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.3 * noise
    return NeuralLM(model)


@cache
@torch.inference_mode()
def predict(lm, tokens):
    """Log-probabilities [V] after a prefix, all of it read anew."""
    tokens = torch.tensor([tokens], dtype=torch.long)
    lengths = torch.tensor([tokens.shape[1]])
    return lm.model.log_probs(tokens, lengths)[0, -1].double()


def naive_sentence(lm, tokens):
    """Score a sentence and its end, prefix after prefix."""
    ends = (*tokens, 0)
    return sum(float(predict(lm, tokens[:i])[v]) for i, v in enumerate(ends))


class Recomputing:
    """A neural model that keeps no states but the prefixes themselves."""

    def __init__(self, lm):
        self.lm, self.size = lm, lm.model.vocab_size

    def start(self, count):
        return [()] * count

    def score(self, states, tokens):
        rows = torch.stack([predict(self.lm, prefix) for prefix in states])
        return rows.gather(1, tokens), tokens

    def select(self, states, after, rows, columns):
        return [
            (*states[i], int(after[i, j])) if j >= 0 else states[i]
            for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
        ]

    def futures(self, states, after, rows, columns):
        return None

    def final(self, states):
        return torch.stack([predict(self.lm, prefix)[0] for prefix in states])


def all_paths(log_probs):
    """Sum the probabilities of every path by the tokens it spells."""
    found = defaultdict(lambda: -math.inf)
    frames, size = log_probs.shape
    for path in itertools.product(range(size), repeat=frames):
        tokens = tuple(v for v, _ in itertools.groupby(path) if v)
        total = sum(float(log_probs[t, v]) for t, v in enumerate(path))
        found[tokens] = np.logaddexp(found[tokens], total)
    return found


@pytest.fixture
def lms(bigram):
    return LanguageModels(bigram(4, 1), random_lm(4), bigram(4, 2))


def posteriors(lattice, lengths, size, seed=0, spread=1.5):
    """Random utterances, alone and as a padded batch."""
    rng = np.random.default_rng(seed)
    utterances = [lattice(frames, size, rng, spread) for frames in lengths]
    batch = torch.zeros(len(lengths), max(lengths), size).double()
    for row, log_probs in zip(batch, utterances, strict=True):
        row[: len(log_probs)] = log_probs
    return utterances, batch


def test_equals_exhaustive_enumeration(lattice, lms):
    lengths = [4, 3, 1, 4]
    utterances, batch = posteriors(lattice, lengths, 4)
    found = neural_beam_search(batch, lengths, EXACT, lms)
    for nbest, log_probs in zip(found, utterances, strict=True):
        scores = {
            tokens: ctc
            + 0.7 * naive_sentence(lms.neural, tokens)
            + 0.4 * lms.ngram.sentence(tokens)
            - 0.2 * lms.lodr.sentence(tokens)
            + 0.3 * len(tokens)
            for tokens, ctc in all_paths(log_probs).items()
        }
        ranked = sorted(scores, key=scores.get, reverse=True)
        assert [h.tokens for h in nbest] == ranked
        assert [h.score for h in nbest] == pytest.approx(
            [scores[tokens] for tokens in ranked], abs=1e-5
        )


def test_the_parts_of_a_score_are_told_apart(lattice, lms):
    _, batch = posteriors(lattice, [12], 4)
    options = replace(EXACT, beam_size=5)
    hot = HotWords.build(["ab", "c"], CharTokenizer("abc"), 2.0)
    [found] = neural_beam_search(batch, [12], options, lms, hot_words=hot)
    assert len(found) == 5 and any(h.hot for h in found)
    for h in found:
        assert h.neural == pytest.approx(
            lms.neural.sentence(h.tokens), abs=1e-4
        )
        assert h.lm == lms.ngram.sentence(h.tokens)
        assert h.lodr == lms.lodr.sentence(h.tokens)
        models = 0.7 * h.neural + 0.4 * h.lm - 0.2 * h.lodr
        assert h.hot == hot.gain(h.tokens)
        assert h.score == pytest.approx(h.ctc + models + h.bonus + h.hot)


def test_at_weight_0_it_is_the_beam_without_language_model(lattice):
    lengths = [30, 12, 0, 50]
    utterances, batch = posteriors(lattice, lengths, 9, spread=3.0)
    silent = LanguageModels(object(), object(), object())
    options = NeuralBeamOptions(neural_weight=0.0, token_bonus=0.2)
    found = neural_beam_search(batch, lengths, options, silent)
    expected = prefix_beam_search(utterances, BeamOptions(token_bonus=0.2))
    for mine, theirs in zip(found, expected, strict=True):
        assert [h.tokens for h in mine] == [h.tokens for h in theirs]
        scores = [h.score for h in theirs]
        assert [h.score for h in mine] == pytest.approx(scores, abs=1e-6)
        assert all(h.neural == h.lm == h.lodr == 0.0 for h in mine)


def test_cached_states_equal_those_computed_anew(lattice, lms):
    lengths = [25, 9]
    _, batch = posteriors(lattice, lengths, 4)
    options = NeuralBeamOptions(lm_weight=0.0)
    found = neural_beam_search(batch, lengths, options, lms)
    anew = batched_prefix_beam_search(
        batch,
        lengths,
        BeamOptions(lm_weight=0.5, token_bonus=0.5),
        Recomputing(lms.neural),
    )
    assert max(len(nbest[0].tokens) for nbest in found) > 5
    for mine, theirs in zip(found, anew, strict=True):
        assert [h.tokens for h in mine] == [h.tokens for h in theirs]
        scores = [h.score for h in theirs]
        assert [h.score for h in mine] == pytest.approx(scores, abs=1e-5)


def test_a_batch_equals_one_by_one(lattice, bigram):
    lengths = [40, 0, 11, 1, 25, 40]
    lms = LanguageModels(bigram(9, 1), random_lm(9), bigram(9, 2))
    options = NeuralBeamOptions(lm_weight=0.3, lodr_weight=0.1)
    utterances, batch = posteriors(lattice, lengths, 9, spread=3.0)
    together = neural_beam_search(batch, lengths, options, lms)
    for nbest, log_probs in zip(together, utterances, strict=True):
        [alone] = neural_beam_search(
            log_probs[None], [len(log_probs)], options, lms
        )
        assert [h.tokens for h in nbest] == [h.tokens for h in alone]
        scores = [h.score for h in alone]
        assert [h.score for h in nbest] == pytest.approx(scores, abs=1e-5)


def test_a_reader_used_again_reads_nothing_twice(lattice, lms):
    _, batch = posteriors(lattice, [15, 15], 4)
    options, reader = NeuralBeamOptions(), lms.neural.batched()
    once = neural_beam_search(batch, [15, 15], options, lms, reader)
    read = len(reader.start(1).pool)
    assert read > 15
    again = neural_beam_search(batch, [15, 15], options, lms, reader)
    assert again == once
    assert len(reader.start(1).pool) == read


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"neural_weight": math.nan}, "neural_weight is nan"),
        ({"lm_weight": -0.1}, "lm_weight is -0.1"),
        ({"lodr_weight": "much"}, "lodr_weight is 'much'"),
        ({"beam_size": 0}, "beam_size is 0"),
        ({"token_bonus": math.inf}, "token_bonus is inf"),
    ],
)
def test_a_wrong_option_is_one_clear_sentence(wrong, message):
    with pytest.raises(UserError, match=f"^{message}; it must be"):
        NeuralBeamOptions(**wrong)


def test_a_weight_needs_its_language_model(lms):
    batch = torch.full((1, 3, 4), 0.25).log()
    for weight, name in {
        "neural_weight": "neural",
        "lm_weight": "ngram",
        "lodr_weight": "lodr",
    }.items():
        options = NeuralBeamOptions(**{weight: 0.25})
        without = replace(lms, **{name: None})
        with pytest.raises(UserError, match=f"{weight} is 0.25 but there is"):
            neural_beam_search(batch, [3], options, without)
