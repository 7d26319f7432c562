import itertools
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from nar_asr_lobes.decoding.beam import search as prefix_beam
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.rescore import ctc_scores
from nar_asr_lobes.errors import UserError
from tests.decoding.conftest import BigramLM
from tests.decoding.ngram_tables import BackoffLM

EXACT = BeamOptions(
    beam_size=10**6,
    max_candidates=None,
    min_log_prob=None,
    blank_threshold=None,
    recombine=False,
    margin=0.0,
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


def naive_frames(log_probs, options):
    """Yield the blank's log-probability and the candidates of each frame."""
    run = None
    for row in log_probs.tolist():
        sure = options.blank_threshold or 2.0
        if math.exp(row[0]) > sure:
            run = (run or 0.0) + row[0]
            continue
        if run is not None:
            yield run, None, []
        run = None
        tokens = range(1, len(row))
        allowed = [v for v in tokens if row[v] > (options.min_log_prob or -99)]
        allowed = allowed or [max(tokens, key=row.__getitem__)]
        allowed.sort(key=lambda v: -row[v])
        yield row[0], row, allowed[: options.max_candidates]
    if run is not None:
        yield run, None, []


def naive_beam(log_probs, lm, options):
    """The textbook search: every extension is scored, then the best kept."""

    def score(tokens, pair, language=lm.partial):
        weighted = options.lm_weight * language(tokens)
        bonus = options.token_bonus * len(tokens)
        return np.logaddexp(*pair) + weighted + bonus

    beam = {(): [0.0, -math.inf]}  # paths ending in the blank, in the label
    for blank_now, row, allowed in naive_frames(log_probs, options):
        found = defaultdict(lambda: [-math.inf, -math.inf])

        def add(tokens, end, log_prob, found=found):
            found[tokens][end] = np.logaddexp(found[tokens][end], log_prob)

        for tokens, (blank, label) in beam.items():
            total = np.logaddexp(blank, label)
            add(tokens, 0, total + blank_now)
            if tokens and row is not None:
                add(tokens, 1, label + row[tokens[-1]])
        for tokens, (blank, label) in beam.items():
            for token in range(1, log_probs.shape[1]) if row else ():
                longer = (*tokens, token)
                # one in the beam already gets what its parent gives
                if token in allowed or longer in beam:
                    repeats = tokens[-1:] == (token,)
                    total = blank if repeats else np.logaddexp(blank, label)
                    add(longer, 1, total + row[token])
        possible = [item for item in found.items() if max(item[1]) > -math.inf]
        ranked = sorted(possible, key=lambda item: -score(*item))
        bar, size = score(*ranked[0]) - options.margin, options.beam_size
        near = [item for item in ranked[: 4 * size] if score(*item) > bar]
        beam = dict(ranked[: max(size, len(near))])
    ends = [(g, score(g, pair, lm.sentence)) for g, pair in beam.items()]
    ends.sort(key=lambda item: -item[1])
    return ends[: options.beam_size]


def true_score(log_probs, lm, options, tokens):
    """Score tokens by all their paths."""
    [ctc] = ctc_scores(log_probs, [tokens])
    language = options.lm_weight * lm.sentence(tokens)
    return ctc + language + options.token_bonus * len(tokens)


@pytest.mark.parametrize("lm_weight", [0.0, 0.7])
@pytest.mark.parametrize("make", [BigramLM, BackoffLM])
def test_an_unlimited_beam_equals_all_paths(lattice, lm_weight, make):
    rng = np.random.default_rng(5)
    options = replace(EXACT, lm_weight=lm_weight, token_bonus=0.4)
    for seed in range(500):
        size = int(rng.integers(2, 5))
        frames = int(rng.integers(1, 9 - size))
        zeros = 0.2 if seed % 3 == 0 else 0.0
        log_probs = lattice(frames, size, rng, zeros=zeros)
        lm = make(size, seed)
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


@pytest.mark.parametrize("recombine", [False, True])
def test_the_parts_of_a_score_add_up(lattice, recombine):
    log_probs, lm = lattice(12, 6, np.random.default_rng(2)), BackoffLM(6, 2)
    options = BeamOptions(lm_weight=0.6, token_bonus=0.3, recombine=recombine)
    [nbest] = prefix_beam_search([log_probs], options, lm)
    assert len({h.tokens for h in nbest}) == 5
    for found in nbest:
        parts = found.ctc + 0.6 * found.lm + found.bonus
        assert found.score == pytest.approx(parts)
        assert found.lm == pytest.approx(lm.sentence(found.tokens))
        assert found.bonus == pytest.approx(0.3 * len(found.tokens))


@pytest.mark.parametrize("seed", range(8))
def test_a_limited_search_equals_the_textbook(lattice, seed):
    rng = np.random.default_rng(seed)
    for case in range(15):
        options = BeamOptions(
            beam_size=int(rng.choice([1, 2, 5, 12])),
            lm_weight=float(rng.choice([0.0, 0.5])),
            token_bonus=float(rng.choice([0.2, 3.0, -1.0])),
            max_candidates=[None, 1, 3][rng.integers(3)],
            min_log_prob=[None, -1.0, -3.0][rng.integers(3)],
            blank_threshold=[None, 0.6][rng.integers(2)],
            recombine=False,
            margin=float(rng.choice([0.0, 1.0, 3.0, 9.0])),
        )
        log_probs, lm = lattice(15, 6, rng, spread=2.0), BackoffLM(6, case)
        expected = naive_beam(log_probs, lm, options)
        [nbest] = prefix_beam_search([log_probs], options, lm)
        assert [h.tokens for h in nbest] == [tokens for tokens, _ in expected]
        scores = [score for _, score in expected]
        assert [h.score for h in nbest] == pytest.approx(scores, abs=1e-9)


def test_a_long_utterance_equals_the_textbook(lattice):
    """Its prefixes outgrow the first room for them."""
    rng, lm = np.random.default_rng(6), BackoffLM(5, 0)
    log_probs = lattice(70, 5, rng)
    options = replace(EXACT, beam_size=20, lm_weight=0.5, token_bonus=3.0)
    expected = naive_beam(log_probs, lm, options)
    [nbest] = prefix_beam_search([log_probs], options, lm)
    assert [h.tokens for h in nbest] == [tokens for tokens, _ in expected]


@pytest.mark.parametrize("margin", [0.0, 2.0])
@pytest.mark.parametrize("beam_size", [1, 5, 70])
def test_flat_posteriors_equal_the_textbook(lattice, beam_size, margin):
    """Many tokens are near, so most are refused unseen."""
    rng = np.random.default_rng(beam_size)
    for case in range(4):
        log_probs = lattice(12, 25, rng, spread=0.3)
        lm = BackoffLM(25, case)
        options = replace(EXACT, beam_size=beam_size, lm_weight=0.8)
        options = replace(options, token_bonus=3.0, margin=margin)
        expected = naive_beam(log_probs, lm, options)
        [nbest] = prefix_beam_search([log_probs], options, lm)
        assert [h.tokens for h in nbest] == [tokens for tokens, _ in expected]
        scores = [score for _, score in expected]
        assert [h.score for h in nbest] == pytest.approx(scores, abs=1e-9)


def test_an_endless_margin_equals_a_beam_of_four_times_the_size(lattice):
    rng = np.random.default_rng(17)
    options = replace(EXACT, beam_size=3, lm_weight=0.6, token_bonus=2.0)
    for case in range(20):
        log_probs, lm = lattice(20, 8, rng, spread=1.5), BackoffLM(8, case)
        wide = replace(options, beam_size=12)
        [expected] = prefix_beam_search([log_probs], wide, lm)
        [found] = prefix_beam_search(
            [log_probs], replace(options, margin=1e6), lm
        )
        assert found == expected[:3]


def test_a_margin_leaves_fewer_search_errors_on_flat_posteriors(lattice):
    rng, lm = np.random.default_rng(18), BackoffLM(12, 1, kept=0.3)
    utterances = [lattice(40, 12, rng, spread=1.0) for _ in range(60)]

    def mean(**changes):
        options = BeamOptions(lm_weight=0.8, token_bonus=1.5, **changes)
        nbests = prefix_beam_search(utterances, options, lm)
        return np.mean([nbest[0].score for nbest in nbests])

    plain, near, wide = mean(margin=0.0), mean(), mean(beam_size=500)
    assert wide - near < 0.5 * (wide - plain)


def test_states_that_tell_histories_apart_leave_nothing_to_merge(lattice):
    rng, lm = np.random.default_rng(12), BackoffLM(3, 0, order=6, kept=1.0)
    exact = replace(EXACT, lm_weight=0.6)
    for _ in range(20):
        log_probs = lattice(4, 3, rng)
        merging = replace(exact, recombine=True)
        [merged] = prefix_beam_search([log_probs], merging, lm)
        [every] = prefix_beam_search([log_probs], exact, lm)
        assert [h.tokens for h in merged] == [h.tokens for h in every]
        scores = [h.score for h in every]
        assert [h.score for h in merged] == pytest.approx(scores, abs=1e-5)


def test_merging_equal_futures_finds_better_hypotheses(lattice):
    """A narrow beam that merges does the work of a wide one."""
    rng, lm = np.random.default_rng(13), BackoffLM(12, 1, kept=0.15)
    utterances = [lattice(40, 12, rng, spread=1.5) for _ in range(60)]
    plain = BeamOptions(
        beam_size=4,
        lm_weight=0.8,
        token_bonus=1.0,
        recombine=False,
        margin=0.0,
    )

    def best(options):
        nbest = prefix_beam_search(utterances, options, lm)
        return np.array(
            [
                true_score(log_probs, lm, options, found[0].tokens)
                for log_probs, found in zip(utterances, nbest, strict=True)
            ]
        )

    without, merged = best(plain), best(replace(plain, recombine=True))
    wide = best(replace(plain, beam_size=200))
    assert (merged < without - 1e-6).sum() <= 6
    assert (wide - merged).mean() < 0.5 * (wide - without).mean()


def test_the_nbest_holds_what_was_merged(lattice):
    """As much of the true N-best as without merging, scores nearly true."""
    rng, lm = np.random.default_rng(14), BackoffLM(5, 3)
    exact = replace(EXACT, lm_weight=0.5)
    plain = replace(exact, beam_size=8)
    shared, gaps = {False: 0, True: 0}, []
    for _ in range(40):
        log_probs = lattice(6, 5, rng, spread=2.0)
        [every] = prefix_beam_search([log_probs], exact, lm)
        true = {h.tokens: h.score for h in every}
        for recombine in shared:
            options = replace(plain, recombine=recombine)
            [nbest] = prefix_beam_search([log_probs], options, lm)
            tokens = [h.tokens for h in nbest]
            assert len(set(tokens)) == len(tokens) == 8
            scores = [h.score for h in nbest]
            assert scores == sorted(scores, reverse=True)
            shared[recombine] += len({h.tokens for h in every[:5]} & {*tokens})
            gaps += [abs(true[h.tokens] - h.score) for h in nbest]
    assert shared[True] > 0.97 * shared[False]
    assert np.mean(gaps) < 0.2


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


@pytest.mark.parametrize("most", [1, 300, 10**9])
def test_utterances_that_share_a_call_equal_one_by_one(
    lattice, monkeypatch, most
):
    rng, lm = np.random.default_rng(10), BackoffLM(7, 2)
    # the third makes the arrays grow that the others find
    frames = (11, 3, 400, 25, 0, 0, 30, 1)
    utterances = [lattice(number, 7, rng) for number in frames]
    options = BeamOptions(30, lm_weight=0.4, token_bonus=2.0)
    alone = [prefix_beam_search([u], options, lm)[0] for u in utterances]
    monkeypatch.setattr(prefix_beam, "_RUN", most)
    assert prefix_beam_search(utterances, options, lm) == alone


def test_the_room_of_another_utterance_changes_nothing(lattice, monkeypatch):
    """Flat posteriors, so that rows of the language model are in it too."""
    monkeypatch.setattr(prefix_beam, "_RUN", 1)
    log_probs = lattice(60, 40, np.random.default_rng(8), spread=0.3)
    lm, options = BackoffLM(40, 8), BeamOptions(lm_weight=0.5)
    first, *others = prefix_beam_search([log_probs] * 4, options, lm)
    assert others == [first] * 3


def test_what_grows_beyond_its_room_is_searched_again(lattice, monkeypatch):
    rng, lm = np.random.default_rng(9), BackoffLM(5, 9)
    lattices = [lattice(frames, 5, rng) for frames in (2, 7, 3, 7)]
    options = replace(EXACT, lm_weight=0.5)
    expected = prefix_beam_search(lattices, options, lm)
    assert max(map(len, expected)) > 2000
    monkeypatch.setattr(prefix_beam, "_CAPACITY", 1)
    prefix_beam._spare_buffers.cache_clear()
    assert prefix_beam_search(lattices, options, lm) == expected


def test_numbers_of_labels_may_differ(lattice):
    rng = np.random.default_rng(12)
    utterances = [lattice(9, size, rng) for size in (4, 4, 80, 6, 80, 4)]
    alone = [prefix_beam_search([u], BeamOptions())[0] for u in utterances]
    assert prefix_beam_search(utterances, BeamOptions()) == alone


def test_threads_change_nothing(lattice):
    rng, lm = np.random.default_rng(11), BackoffLM(9, 1)
    utterances = [lattice(frames, 9, rng) for frames in range(30, 0, -1)]
    options, threads = BeamOptions(lm_weight=0.4), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 2, 3):
            torch.set_num_threads(count)
            found.append(prefix_beam_search(utterances, options, lm))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2] == found[3]


def test_any_kind_of_array_gives_the_same(lattice):
    log_probs = lattice(20, 6, np.random.default_rng(15)).numpy()
    frozen = log_probs.astype(np.float32)
    frozen.flags.writeable = False
    kinds = [
        log_probs,
        frozen,
        np.asfortranarray(log_probs),
        torch.from_numpy(log_probs).float().requires_grad_(),
    ]
    found = prefix_beam_search(kinds, BeamOptions())
    assert found[0] == found[1] == found[2] == found[3]
    assert not frozen.flags.writeable


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
    assert found.score == pytest.approx(0.5 * lm.sentence(()))


def test_bad_input_is_one_clear_sentence():
    good = torch.full((2, 3), 1 / 3).log()
    bad = good.clone()
    bad[1, 1] = float("nan")
    with pytest.raises(UserError, match="utterance 1: .*NaN"):
        prefix_beam_search([good, bad], BeamOptions())
    longer = torch.full((70_000, 3), 1 / 3).log()
    with pytest.raises(UserError, match="utterance 3: .*NaN"):
        prefix_beam_search([good, longer, good, bad], BeamOptions())
    with pytest.raises(UserError, match=r"utterance 1: .*shape \[2, 1\]"):
        prefix_beam_search([good, good[:, :1]], BeamOptions())
    with pytest.raises(UserError, match="lm_weight is 0.5 .*no language model"):
        prefix_beam_search([good], BeamOptions(lm_weight=0.5))
    with pytest.raises(UserError, match="of 3 labels with .*model of 4"):
        prefix_beam_search([good], BeamOptions(lm_weight=0.5), BigramLM(4, 0))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, math.nan, "NaN"),
        (70, math.nan, "NaN"),
        (0, 0.5, "above 0"),
        (99, 0.5, "above 0"),
    ],
)
@pytest.mark.parametrize("blank", [-7.0, -1e-6])
def test_no_damaged_value_is_overlooked(column, value, message, blank):
    log_probs = torch.full((3, 100), -7.0)
    log_probs[:, 0] = blank
    prefix_beam_search([log_probs], BeamOptions())
    log_probs[1, column] = value
    with pytest.raises(UserError, match=f"utterance 0: .*{message}"):
        prefix_beam_search([log_probs], BeamOptions())


def test_a_frame_without_any_label_is_refused():
    log_probs = torch.full((3, 4), -1.4)
    log_probs[2] = -math.inf
    with pytest.raises(UserError, match="frame 2 .*probability 0"):
        prefix_beam_search([log_probs], BeamOptions())
