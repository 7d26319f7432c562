import itertools
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.prefix_beam import prefix_beam_search
from nar_asr_lobes.errors import UserError

EXACT = BeamOptions(
    beam_size=10**6,
    max_candidates=None,
    min_log_prob=None,
    blank_threshold=None,
    recombine=False,
)


def collapse(path):
    """Merge repeats, then drop blanks."""
    return tuple(label for label, _ in itertools.groupby(path) if label)


def enumerate_paths(log_probs):
    """Sum the probabilities of all V^T paths by what they spell."""
    rows = log_probs.exp().tolist()
    sums = {}
    for path in itertools.product(range(len(rows[0])), repeat=len(rows)):
        probability = math.prod(
            row[label] for row, label in zip(rows, path, strict=True)
        )
        tokens = collapse(path)
        sums[tokens] = sums.get(tokens, 0.0) + probability
    return {tokens: math.log(p) for tokens, p in sums.items() if p > 0}


def naive_beam(log_probs, lm, options):
    """The textbook search: every extension is scored, then the best kept."""

    def score(tokens, pair, end=0.0):
        pairs = itertools.pairwise((0, *tokens))
        language = sum(lm.table[a][b] for a, b in pairs) + end
        bonus = options.token_bonus * len(tokens)
        return np.logaddexp(*pair) + options.lm_weight * language + bonus

    beam = {(): [0.0, -math.inf]}  # paths ending in the blank, in the label
    for frame in log_probs.tolist():
        found = defaultdict(lambda: [-math.inf, -math.inf])

        def add(tokens, end, log_prob, found=found):
            found[tokens][end] = np.logaddexp(found[tokens][end], log_prob)

        for tokens, (blank, label) in beam.items():
            total = np.logaddexp(blank, label)
            add(tokens, 0, total + frame[0])
            for token in range(1, len(frame)):
                if tokens[-1:] == (token,):
                    add(tokens, 1, label + frame[token])
                    add((*tokens, token), 1, blank + frame[token])
                else:
                    add((*tokens, token), 1, total + frame[token])
        ranked = sorted(found.items(), key=lambda item: -score(*item))
        beam = dict(ranked[: options.beam_size])
    ends = [(g, score(g, pair, lm.final(g))) for g, pair in beam.items()]
    return sorted(ends, key=lambda item: -item[1])


@pytest.mark.parametrize("lm_weight", [0.0, 0.7])
def test_an_unlimited_beam_equals_all_paths(lattice, bigram, lm_weight):
    rng = np.random.default_rng(5)
    options = replace(EXACT, lm_weight=lm_weight, token_bonus=0.4)
    for seed in range(150):
        frames, size = int(rng.integers(1, 6)), int(rng.integers(2, 5))
        zeros = 0.2 if seed % 3 == 0 else 0.0
        log_probs = lattice(frames, size, rng, zeros=zeros)
        lm = bigram(size, seed)
        expected = {
            tokens: ctc + lm_weight * lm.sentence(tokens) + 0.4 * len(tokens)
            for tokens, ctc in enumerate_paths(log_probs).items()
        }
        [nbest] = prefix_beam_search([log_probs], options, lm)
        found = {h.tokens: h.score for h in nbest}
        assert len(found) == len(nbest)
        assert found == pytest.approx(expected, abs=1e-9)
        assert nbest[0].tokens == max(expected, key=expected.get)
        assert [h.score for h in nbest] == sorted(found.values(), reverse=True)


def test_the_parts_of_a_score_add_up(lattice, bigram):
    log_probs, lm = lattice(12, 6, np.random.default_rng(2)), bigram(6, 2)
    options = BeamOptions(lm_weight=0.6, token_bonus=0.3)
    [nbest] = prefix_beam_search([log_probs], options, lm)
    assert len(nbest) == 5
    for found in nbest:
        parts = found.ctc + 0.6 * found.lm + found.bonus
        assert found.score == pytest.approx(parts)
        assert found.lm == pytest.approx(lm.sentence(found.tokens))
        assert found.bonus == pytest.approx(0.3 * len(found.tokens))


@pytest.mark.parametrize(
    ("beam_size", "bonus"), [(1, 0.2), (2, 3.0), (5, 0.2), (5, -1.0), (12, 3.0)]
)
def test_a_narrow_beam_equals_the_textbook(lattice, bigram, beam_size, bonus):
    rng = np.random.default_rng(beam_size)
    options = replace(
        EXACT, beam_size=beam_size, lm_weight=0.5, token_bonus=bonus
    )
    for seed in range(20):
        log_probs, lm = lattice(15, 6, rng, spread=2.0), bigram(6, seed)
        expected = naive_beam(log_probs, lm, options)
        [nbest] = prefix_beam_search([log_probs], options, lm)
        assert [h.tokens for h in nbest] == [tokens for tokens, _ in expected]
        scores = [score for _, score in expected]
        assert [h.score for h in nbest] == pytest.approx(scores, abs=1e-9)


def test_the_language_model_is_asked_once_per_prefix(lattice, bigram):
    log_probs, lm = lattice(40, 8, np.random.default_rng(4)), bigram(8, 4)
    prefix_beam_search([log_probs], BeamOptions(lm_weight=0.5), lm)
    assert len(lm.asked) > 40
    assert len(set(lm.asked)) == len(lm.asked)


def test_equals_flashlight_summing_over_paths(lattice):
    decoder = pytest.importorskip("flashlight.lib.text.decoder")
    size, rng = 4, np.random.default_rng(7)
    options = decoder.LexiconFreeDecoderOptions(
        beam_size=100_000,
        beam_size_token=size,
        beam_threshold=1e6,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,  # without it, it takes the best path only
        criterion_type=decoder.CriterionType.CTC,
    )
    reference = decoder.LexiconFreeDecoder(options, decoder.ZeroLM(), -1, 0, [])
    for _ in range(20):
        log_probs = lattice(6, size, rng, spread=1.5)
        emissions = np.ascontiguousarray(log_probs.numpy(), dtype=np.float32)
        scores = {}
        for found in reference.decode(emissions.ctypes.data, 6, size):
            # it keeps paths ending in the blank apart from the others
            tokens = collapse(max(t, 0) for t in found.tokens)
            scores.setdefault(tokens, []).append(found.score)
        expected = {g: np.logaddexp.reduce(s) for g, s in scores.items()}
        [nbest] = prefix_beam_search([log_probs], EXACT)
        assert {h.tokens: h.score for h in nbest} == pytest.approx(
            expected, abs=1e-4
        )


def test_weight_zero_is_bit_identical_to_no_language_model(lattice, bigram):
    rng = np.random.default_rng(8)
    utterances = [lattice(30, 10, rng, spread=2.0) for _ in range(10)]
    options = BeamOptions(lm_weight=0.0, token_bonus=0.1)
    lm = bigram(10, 0)
    with_lm = prefix_beam_search(utterances, options, lm)
    assert with_lm == prefix_beam_search(utterances, options)
    weighted = replace(options, lm_weight=0.5)
    assert prefix_beam_search(utterances, weighted, lm) != with_lm


def test_a_batch_equals_one_by_one(lattice, bigram):
    rng, lm = np.random.default_rng(9), bigram(7, 1)
    utterances = [lattice(frames, 7, rng) for frames in (11, 0, 25, 1)]
    options = BeamOptions(lm_weight=0.4, token_bonus=0.1)
    together = prefix_beam_search(utterances, options, lm)
    alone = [prefix_beam_search([u], options, lm)[0] for u in utterances]
    assert together == alone


def test_a_merged_run_of_blanks_still_parts_equal_tokens():
    sure, a = [0.9999, 0.00005, 0.00005], [0.01, 0.98, 0.01]
    log_probs = torch.tensor([sure, a, sure, sure, sure, a, sure]).log()
    [nbest] = prefix_beam_search([log_probs], BeamOptions(blank_threshold=0.9))
    assert nbest[0].tokens == (1, 1)
    [exact] = prefix_beam_search([log_probs], EXACT)
    assert nbest[0].score == pytest.approx(exact[0].score, abs=1e-3)


def test_default_pruning_rarely_loses_on_confident_posteriors(lattice):
    rng = np.random.default_rng(10)
    utterances = []
    for _ in range(30):
        logits = torch.zeros(40, 30, dtype=torch.float64)
        labels = rng.integers(1, 30, size=40) * (rng.random(40) < 0.4)
        logits[torch.arange(40), labels] = 9.0
        noise = torch.from_numpy(rng.normal(size=(40, 30)))
        utterances.append((logits + noise).log_softmax(-1))
    pruned = prefix_beam_search(utterances, BeamOptions())
    wide = prefix_beam_search(utterances, replace(EXACT, beam_size=50))
    for narrow, best in zip(pruned, wide, strict=True):
        assert narrow[0].tokens == best[0].tokens
        assert narrow[0].ctc == pytest.approx(best[0].ctc, abs=0.05)


def test_candidate_limits_bind(lattice):
    log_probs = lattice(6, 8, np.random.default_rng(3))
    best_two = log_probs[:, 1:].topk(2).indices + 1
    limited = replace(EXACT, max_candidates=2)
    for found in prefix_beam_search([log_probs], limited)[0]:
        assert set(found.tokens) <= set(best_two.flatten().tolist())
    tight = replace(EXACT, min_log_prob=-0.001)
    only_best = set(log_probs[:, 1:].argmax(1).add(1).tolist())
    for found in prefix_beam_search([log_probs], tight)[0]:
        assert set(found.tokens) <= only_best


def test_no_frames_give_the_empty_hypothesis(bigram):
    lm = bigram(4, 0)
    options = BeamOptions(lm_weight=0.5)
    [[found]] = prefix_beam_search([torch.zeros(0, 4)], options, lm)
    assert found.tokens == ()
    assert found.ctc == 0.0
    assert found.score == pytest.approx(0.5 * lm.final(()))


def test_bad_input_is_one_clear_sentence():
    good = torch.full((2, 3), 1 / 3).log()
    bad = good.clone()
    bad[1, 1] = float("nan")
    with pytest.raises(UserError, match="utterance 1: .*NaN"):
        prefix_beam_search([good, bad], BeamOptions())
    with pytest.raises(UserError, match="lm_weight is 0.5 .*no language model"):
        prefix_beam_search([good], BeamOptions(lm_weight=0.5))
