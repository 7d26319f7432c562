import itertools
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from nar_asr_lobes.decoding.batched_beam import batched_prefix_beam_search
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.batched import BatchedNgram
from nar_asr_lobes.lm.ngram.lookup import score_token
from tests.random_ngram import random_tables

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
ALL = BeamOptions(
    max_candidates=None,
    min_log_prob=None,
    blank_threshold=None,
    recombine=False,
)


@pytest.fixture(params=DEVICES)
def device(request):
    """Every device there is."""
    return request.param


class ScalarLM:
    """The model of the tables, one token at a time."""

    def __init__(self, tables):
        self.tables = tables

    def start(self):
        return int(self.tables.start[0])

    def score(self, state, token):
        return score_token(self.tables, state, token)

    def final(self, state):
        return float(self.tables.final[state])


class RecurrentLM:
    """A tiny network; a state is the next token's log-probabilities [V]."""

    def __init__(self, size, device):
        torch.manual_seed(1)
        self.size = size
        self.mix = torch.randn(size, size, dtype=torch.float64).to(device)
        self.asked = []

    def start(self, count):
        return self.mix[:1].log_softmax(1).expand(count, -1)

    def score(self, states, tokens):
        self.asked.append(tuple(tokens.shape))
        return states.gather(1, tokens), tokens

    def select(self, states, after, rows, columns):
        tokens = after[rows, columns.clamp(min=0)]
        grown = (states[rows] @ self.mix + self.mix[tokens]).log_softmax(1)
        return torch.where(columns[:, None] < 0, states[rows], grown)

    def futures(self, states, after, rows, columns):
        return None

    def final(self, states):
        return states[:, 0]


class OneByOne:
    """A model for batches, one token at a time."""

    def __init__(self, lm):
        self.lm = lm

    def start(self):
        return self.lm.start(1)

    def score(self, state, token):
        log_probs, after = self.lm.score(state, torch.tensor([[token]]))
        first = torch.tensor([0])
        return float(log_probs), self.lm.select(state, after, first, first)

    def final(self, state):
        return float(self.lm.final(state))


@pytest.fixture
def draw(lattice):
    """Return a function that draws utterances [T, V] and their batch."""

    def make(lengths, size, rng, device="cpu", spread=3.0, filling=math.nan):
        utterances = [
            lattice(frames, size, rng, spread, zeros=0.3 * (i % 2)).float()
            for i, frames in enumerate(lengths)
        ]
        batch = torch.full((len(lengths), max(lengths) + 2, size), filling)
        for row, values in zip(batch, utterances, strict=True):
            row[: len(values)] = values
        return utterances, batch.to(device)

    return make


def assert_equal(found, expected, tolerance=1e-4):
    """Check that N-best lists have equal tokens and numbers."""
    assert len(found) == len(expected)
    for nbest, wanted in zip(found, expected, strict=True):
        assert [h.tokens for h in nbest] == [h.tokens for h in wanted]
        for part in ("score", "ctc", "lm", "bonus"):
            assert [getattr(h, part) for h in nbest] == pytest.approx(
                [getattr(h, part) for h in wanted], abs=tolerance
            )


def random_options(rng):
    """Draw every option but the language model's."""
    return BeamOptions(
        beam_size=int(rng.integers(1, 13)),
        token_bonus=float(rng.choice([0, 0.5, 2, -1])),
        max_candidates=[None, 1, 3, 6][rng.integers(4)],
        min_log_prob=[None, -1.0, -5.0][rng.integers(3)],
        blank_threshold=[None, 0.6, 0.9][rng.integers(3)],
        recombine=False,
    )


@pytest.mark.parametrize("lm_weight", [0.0, 0.6])
def test_equals_the_search_of_one(draw, device, lm_weight):
    rng = np.random.default_rng(3)
    for seed in range(30):
        size = int(rng.integers(2, 12))
        lengths = rng.integers(0, 25, size=10).tolist()
        options = replace(random_options(rng), lm_weight=lm_weight)
        utterances, batch = draw(lengths, size, rng, device)
        tables = random_tables(40, size, seed)
        expected = prefix_beam_search(utterances, options, ScalarLM(tables))
        lm = BatchedNgram(tables, device)
        found = batched_prefix_beam_search(batch, lengths, options, lm)
        assert_equal(found, expected)


def textbook(log_probs, lm, options, prior):
    """Score every extension, drop what lost among the best, keep the best."""

    def language(tokens):
        total, state = 0.0, lm.start()
        for token in tokens:
            log_prob, state = lm.score(state, token)
            total += log_prob
        return total, state

    def ends(tokens, pair):
        total, state = language(tokens)
        offset = options.lm_weight * total + options.token_bonus * len(tokens)
        return (state, tokens[-1:]), offset + np.array(pair)

    def dominated(entry, others):
        key, paths = entry
        return any(k == key and (p >= paths).all() for k, p in others)

    beam = {(): [0.0, -math.inf]}  # paths ending in the blank, in the label
    for frame in log_probs.double().numpy():
        frame = frame - options.prior_weight * prior
        found = defaultdict(lambda: [-math.inf, -math.inf])
        for g, (blank, label) in beam.items():
            adds = [(g, 0, np.logaddexp(blank, label) + frame[0])]
            for token in range(1, len(frame)):
                before = np.logaddexp(blank, label)
                if g[-1:] == (token,):
                    adds.append((g, 1, label + frame[token]))
                    before = blank
                adds.append(((*g, token), 1, before + frame[token]))
            for tokens, end, value in adds:
                found[tokens][end] = np.logaddexp(found[tokens][end], value)
        entries = [(g, *ends(g, pair)) for g, pair in found.items()]
        entries = [e for e in entries if e[2].max() > -math.inf]
        entries.sort(key=lambda entry: -np.logaddexp(*entry[2]))
        pool = [e[1:] for e in entries[: 3 * options.beam_size]]
        kept = [
            entries[i][0]
            for i, entry in enumerate(pool)
            if not (options.recombine and dominated(entry, pool[:i]))
        ]
        beam = {g: found[g] for g in kept[: options.beam_size]}
    scores = {}
    for g, pair in beam.items():
        (state, _), paths = ends(g, pair)
        end = options.lm_weight * lm.final(state)
        scores[g] = np.logaddexp(*paths) + end
    return sorted(scores.items(), key=lambda item: -item[1])


def assert_textbook(found, utterances, lm, options, prior=0.0):
    """Check that N-best lists have the textbook's tokens and scores."""
    for nbest, log_probs in zip(found, utterances, strict=True):
        expected = textbook(log_probs, lm, options, prior)
        assert [h.tokens for h in nbest] == [g for g, _ in expected]
        scores = [score for _, score in expected]
        assert [h.score for h in nbest] == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize("recombine", [False, True])
def test_recombination_and_prior_equal_the_textbook(draw, device, recombine):
    rng, differ = np.random.default_rng(5), 0
    for seed in range(12):
        options = replace(
            ALL,
            beam_size=int(rng.integers(2, 7)),
            lm_weight=0.5,
            token_bonus=0.3,
            recombine=recombine,
            prior_weight=float(rng.choice([0.0, 0.4])),
        )
        lengths = rng.integers(1, 13, size=4).tolist()
        utterances, batch = draw(lengths, 4, rng, device, spread=1.5)
        prior = np.append(0.0, np.log(rng.dirichlet(np.ones(3))))
        # so few states that the beam is not full of different ones
        tables = random_tables(1 + seed % 3, 4, seed)
        lm = BatchedNgram(tables, device)
        found = batched_prefix_beam_search(batch, lengths, options, lm, prior)
        scalar = ScalarLM(tables)
        assert_textbook(found, utterances, scalar, options, prior)
        other = replace(options, recombine=not recombine)
        differ += found != batched_prefix_beam_search(
            batch, lengths, other, lm, prior
        )
    assert differ > 6


def test_a_model_that_computes_its_states(draw, device):
    lengths = [9, 0, 14, 5]
    rng = np.random.default_rng(4)
    utterances, batch = draw(lengths, 6, rng, device, spread=1.5)
    options = replace(ALL, lm_weight=0.7, beam_size=6)
    lm = RecurrentLM(6, device)
    found = batched_prefix_beam_search(batch, lengths, options, lm)
    scalar = OneByOne(RecurrentLM(6, "cpu"))
    assert_textbook(found, utterances, scalar, options)
    # no two of its futures are equal, so there is nothing to recombine
    options = replace(options, recombine=True)
    assert found == batched_prefix_beam_search(batch, lengths, options, lm)
    # in each frame only the candidates of each hypothesis
    assert set(lm.asked) == {(4 * 6, 5)}
    lm.asked.clear()
    options = replace(options, max_candidates=3)
    batched_prefix_beam_search(batch, lengths, options, lm)
    assert lm.asked == [(4 * 6, 3)] * 14


def test_recombination_needs_a_language_model(draw, device):
    _, batch = draw([20] * 4, 5, np.random.default_rng(6), device, spread=1.0)
    lists = [
        batched_prefix_beam_search(batch, [20] * 4, replace(ALL, recombine=on))
        for on in (True, False)
    ]
    assert lists[0] == lists[1]


def test_a_batch_equals_one_by_one(draw, device):
    rng, options = np.random.default_rng(7), BeamOptions(lm_weight=0.4)
    lengths = [11, 0, 25, 1, 40]
    utterances, batch = draw(lengths, 7, rng, device)
    lm = BatchedNgram(random_tables(50, 7, 7), device)
    together = batched_prefix_beam_search(batch, lengths, options, lm)
    alone = [
        batched_prefix_beam_search(
            values[None].to(device), [len(values)], options, lm
        )
        for values in utterances
    ]
    assert_equal(together, [nbest for [nbest] in alone], 1e-9)


def test_padding_is_not_looked_at(draw, device):
    lengths = [3, 0, 17, 30]
    lm = BatchedNgram(random_tables(1, 5, 8), device)
    # with the bonus, tokens found in the padding would be worth a lot, and
    # with one state all that end in the same token would be recombined
    options = BeamOptions(
        beam_size=5, lm_weight=0.4, token_bonus=20.0, blank_threshold=0.6
    )
    lists = []
    for filling in (math.nan, 0.0, -math.inf, math.inf):
        rng = np.random.default_rng(8)
        _, batch = draw(lengths, 5, rng, device, filling=filling)
        lists.append(batched_prefix_beam_search(batch, lengths, options, lm))
    assert all(a == b for a, b in itertools.pairwise(lists))


def test_weight_zero_is_identical_to_no_language_model(draw, device):
    lengths = [30, 12]
    _, batch = draw(lengths, 7, np.random.default_rng(9), device)
    lm = BatchedNgram(random_tables(50, 7, 9), device)
    options = BeamOptions(token_bonus=0.1)
    without = batched_prefix_beam_search(batch, lengths, options)
    assert without == batched_prefix_beam_search(batch, lengths, options, lm)
    options = replace(options, lm_weight=0.5)
    assert without != batched_prefix_beam_search(batch, lengths, options, lm)


def test_a_merged_run_of_blanks_still_parts_equal_tokens(device):
    sure, a = [0.9999, 0.00005, 0.00005], [0.01, 0.98, 0.01]
    batch = torch.tensor([[sure, a, sure, sure, a, sure, sure]] * 2).log()
    options = BeamOptions(blank_threshold=0.9)
    found = batched_prefix_beam_search(batch.to(device), [7, 4], options)
    assert [nbest[0].tokens for nbest in found] == [(1, 1), (1,)]
    exact = batched_prefix_beam_search(batch.to(device), [7, 4], ALL)
    for nbest, wanted in zip(found, exact, strict=True):
        assert nbest[0].ctc == pytest.approx(wanted[0].ctc, abs=1e-3)


def test_a_prefix_that_left_the_beam_needs_a_candidate_to_return(device):
    log_probs = torch.tensor(
        [
            [0.1, 0.1, 0.8],
            [0.1, 0.6, 0.3],
            [0.0, 0.0, 1.0],  # (2, 1) leaves, (2,) stays
            [0.1, 0.3, 0.6],  # 1 is possible, but no candidate
        ]
    ).log()
    options = replace(ALL, max_candidates=1, beam_size=9)
    found = batched_prefix_beam_search(log_probs[None].to(device), [4], options)
    assert_equal(found, prefix_beam_search([log_probs], options))
    tokens = {h.tokens for h in found[0]}
    assert (2,) in tokens and (2, 1) not in tokens


def test_the_prior_ranks_candidates_but_does_not_let_them_in(device):
    batch = torch.tensor([[[0.01, 0.3, 0.5, 0.19]]]).log().to(device)
    # the second is frequent, so worth less than the others
    prior = np.log([1.0, 0.05, 0.9, 0.05])
    options = replace(ALL, prior_weight=1.0, max_candidates=1, beam_size=1)

    def best(**limits):
        limited = replace(options, **limits)
        [nbest] = batched_prefix_beam_search(
            batch, [1], limited, log_prior=prior
        )
        return nbest[0].tokens

    assert best() == (1,)
    assert best(prior_weight=0.0) == (2,)
    assert best(min_log_prob=math.log(0.4)) == (2,)
    assert best(min_log_prob=math.log(0.6)) == (2,)  # the most probable may


def test_posteriors_of_16_bits_are_taken_as_they_are(draw, device):
    _, batch = draw([20, 8], 6, np.random.default_rng(10), device)
    half = batch.bfloat16()
    found = batched_prefix_beam_search(half, [20, 8], ALL)
    exact = batched_prefix_beam_search(half.double(), [20, 8], ALL)
    assert_equal(found, exact)


def test_no_frames_and_no_utterances(device):
    options = BeamOptions(lm_weight=0.5)
    tables = random_tables(5, 4, 1)
    lm = BatchedNgram(tables, device)
    empty = torch.zeros(2, 0, 4, device=device)
    for [found] in batched_prefix_beam_search(empty, [0, 0], options, lm):
        assert (found.tokens, found.ctc) == ((), 0.0)
        end = float(tables.final[tables.start[0]])
        assert found.score == pytest.approx(0.5 * end)
    assert batched_prefix_beam_search(empty[:0], [], options, lm) == []


@pytest.mark.parametrize(
    ("options", "changed", "message"),
    [
        ({}, {"log_probs": torch.zeros(2, 3)}, r"shape \[2, 3\]"),
        ({}, {"lengths": [3, 5]}, r"lengths \[3, 5\]"),
        ({}, {"lengths": [3]}, r"lengths \[3\]"),
        ({}, {"log_probs": torch.full((2, 4, 3), math.nan)}, "0: .* NaN"),
        ({"lm_weight": 0.5}, {}, "lm_weight is 0.5 .*no language model"),
        (
            {"lm_weight": 0.5},
            {"lm": BatchedNgram(random_tables(2, 4, 0))},
            "3 labels with a language model of 4",
        ),
        ({"prior_weight": 0.5}, {}, "prior_weight is 0.5 .*no prior"),
        (
            {"prior_weight": 0.5},
            {"log_prior": np.zeros(4)},
            r"shape \[4\] for 3 labels",
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(options, changed, message):
    good = {
        "log_probs": torch.full((2, 4, 3), 1 / 3).log(),
        "lengths": [4, 2],
        "options": BeamOptions(**options),
    }
    batched_prefix_beam_search(**good | {"options": BeamOptions()})
    with pytest.raises(UserError, match=message):
        batched_prefix_beam_search(**good | changed)
