import math

import numpy as np
import pytest
import torch

from nar_asr_lobes.decoding import rescore as rescoring
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.encoded import posteriors, take
from nar_asr_lobes.decoding.hypotheses import BeamOptions, Hypothesis
from nar_asr_lobes.decoding.rescore import (
    RescoreOptions,
    _pseudo_log_likelihoods,
    ctc_scores,
    rescore,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.models import LanguageModels
from nar_asr_lobes.lm.neural import NeuralLM
from nar_asr_lobes.lobes.alignment import token_frames
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm

SEQUENCES = [(3, 1, 4, 1, 5), (2,), (), (7, 7, 7, 8, 8, 1, 2, 3, 4), (6, 2)]


def hypotheses(sequences):
    return [Hypothesis(tokens, 0.0, 0.0) for tokens in sequences]


def test_ctc_scores_equal_the_unlimited_beam(lattice):
    rng = np.random.default_rng(0)
    exact = BeamOptions(10**6, 0.0, 0.0, None, None, None)
    for _ in range(20):
        log_probs = lattice(int(rng.integers(1, 6)), 4, rng)
        [nbest] = prefix_beam_search([log_probs], exact)
        scores = ctc_scores(log_probs, [h.tokens for h in nbest])
        assert scores == pytest.approx([h.ctc for h in nbest], abs=1e-9)


def test_ctc_scores_of_what_cannot_be():
    log_probs = torch.full((3, 4), 0.25).log()
    scores = ctc_scores(log_probs, [(1, 1, 1), (1, 2, 3, 1), (1, 1)])
    assert scores[:2] == [-math.inf, -math.inf]
    assert scores[2] == pytest.approx(3 * math.log(0.25))
    nothing = torch.zeros(0, 4)
    assert ctc_scores(nothing, [(), (1,)]) == [0.0, -math.inf]
    assert ctc_scores(log_probs, []) == []


def naive_pll(model, encoded, row, tokens, masks):
    """One decoder pass for each mask, one utterance, no padding."""
    alone, total = take(encoded, torch.tensor([row])), 0.0
    for mask in range(masks):
        slots = [i for i in range(len(tokens)) if i % masks == mask]
        if not slots:
            continue
        visible = torch.tensor([tokens])
        visible[0, slots] = model.mask_id
        length = torch.tensor([len(tokens)])
        frames = token_frames(
            alone.log_probs, alone.lengths, torch.tensor([tokens]), length
        )
        log_probs = model.decode(alone, visible, length, frames)
        total += sum(float(log_probs[0, i, tokens[i]]) for i in slots)
    return total


@pytest.mark.parametrize("masks", [1, 2, 4, 20])
@torch.inference_mode()
def test_pll_equals_one_pass_per_mask(model, batch, masks):
    encoded = batch[2]
    for row in range(3):
        scores = _pseudo_log_likelihoods(model, encoded, row, SEQUENCES, masks)
        expected = [
            naive_pll(model, encoded, row, tokens, masks)
            for tokens in SEQUENCES
        ]
        assert scores == pytest.approx(expected, abs=1e-4)
        assert scores[2] == 0.0


@torch.inference_mode()
def test_pll_is_one_decoder_pass(model, batch, monkeypatch):
    rows = []
    decode = model.decode

    def counting(encoded, tokens, *others):
        rows.append(len(tokens))
        return decode(encoded, tokens, *others)

    monkeypatch.setattr(model, "decode", counting)
    _pseudo_log_likelihoods(model, batch[2], 0, SEQUENCES, 4)
    assert rows == [4 + 1 + 0 + 4 + 2]  # masks that hide nothing cost nothing
    assert _pseudo_log_likelihoods(model, batch[2], 0, [()], 4) == [0.0]
    assert len(rows) == 1


@torch.inference_mode()
def test_many_candidates_are_scored_in_parts(model, batch, monkeypatch):
    """Ten of them would be a batch of 40 rows; two have room in one."""
    sequences = [(*tokens, 1 + i) for i in range(2) for tokens in SEQUENCES]
    whole = _pseudo_log_likelihoods(model, batch[2], 1, sequences)
    rows, decode = [], model.decode

    def counting(encoded, *others):
        rows.append(len(encoded.states))
        return decode(encoded, *others)

    monkeypatch.setattr(model, "decode", counting)
    frames = int(batch[2].lengths[1])
    monkeypatch.setattr(rescoring, "_FRAMES", 2 * 4 * frames + 1)
    parts = _pseudo_log_likelihoods(model, batch[2], 1, sequences)
    assert parts == pytest.approx(whole, abs=1e-4)
    assert len(rows) == 5 and max(rows) <= 2 * 4


@torch.inference_mode()
def test_the_score_is_the_formula_and_ranks(model, batch, bigram):
    encoded, lm = batch[2], bigram(9, 0)
    lms = LanguageModels(lm)
    options = RescoreOptions(ctc_weight=0.3, lm_weight=0.5, token_bonus=0.2)
    nbest = [hypotheses(SEQUENCES)] * 3
    for row, found in enumerate(rescore(model, encoded, nbest, options, lms)):
        assert {h.tokens for h in found} == set(SEQUENCES)
        scores = [h.score for h in found]
        assert scores == sorted(scores, reverse=True)
        log_probs = encoded.log_probs[row, : int(encoded.lengths[row])]
        for h in found:
            decoder = naive_pll(model, encoded, row, h.tokens, 4)
            [ctc] = ctc_scores(log_probs, [h.tokens])
            expected = (
                0.7 * decoder
                + 0.3 * ctc
                + 0.5 * lm.sentence(h.tokens)
                + 0.2 * len(h.tokens)
            )
            assert h.score == pytest.approx(expected, abs=1e-4)
            assert h.ctc == ctc


@torch.inference_mode()
def test_a_batch_equals_one_by_one(model, batch):
    encoded = batch[2]
    nbest = [hypotheses(SEQUENCES[i:]) for i in range(3)]
    together = rescore(model, encoded, nbest, RescoreOptions())
    for row, found in enumerate(together):
        alone = take(encoded, torch.tensor([row]))
        [single] = rescore(model, alone, [nbest[row]], RescoreOptions())
        assert [h.tokens for h in found] == [h.tokens for h in single]
        scores = [h.score for h in single]
        assert [h.score for h in found] == pytest.approx(scores, abs=1e-5)


@torch.inference_mode()
def test_the_ends_of_the_ctc_weight(model, batch):
    encoded, nbest = batch[2], [hypotheses(SEQUENCES)] * 3
    ctc_only = rescore(model, encoded, nbest, RescoreOptions(ctc_weight=1.0))
    assert all(h.score == h.ctc for h in ctc_only[0])
    decoder_only = rescore(model, encoded, nbest, RescoreOptions(0.0))
    assert all(h.score == h.decoder for h in decoder_only[0])


@torch.inference_mode()
def test_equal_candidates_are_scored_once(model, batch):
    twice = [hypotheses([(1, 2), (1, 2), (3,)])] * 3
    for found in rescore(model, batch[2], twice, RescoreOptions()):
        assert sorted(h.tokens for h in found) == [(1, 2), (3,)]


def test_wrong_options_are_one_clear_sentence(model, batch):
    for wrong in (
        {"ctc_weight": 1.5},
        {"masks": 0},
        {"lm_weight": math.nan},
        {"include_nar": "yes"},
        {"neural_weight": -0.1},
        {"nbest": 4},
        {"nbest": 101},
    ):
        with pytest.raises(UserError, match=f"^{next(iter(wrong))} is "):
            RescoreOptions(**wrong)
    for weight in ("lm_weight", "neural_weight"):
        options = RescoreOptions(**{weight: 0.5})
        with pytest.raises(UserError, match=f"^{weight} is .* no language mo"):
            rescore(model, batch[2], [[]] * 3, options)


@pytest.fixture
def neural():
    generator = torch.Generator().manual_seed(7)
    lm = TransformerLm(LmSizes(16, 2, 32, 1), vocab_size=9)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    return NeuralLM(lm)


@torch.inference_mode()
def test_a_neural_model_enters_with_its_weight(model, batch, neural):
    nbest = [hypotheses(SEQUENCES)] * 3
    plain = rescore(model, batch[2], nbest, RescoreOptions(0.3))
    options = RescoreOptions(0.3, neural_weight=0.6)
    lms = LanguageModels(neural=neural)
    found = rescore(model, batch[2], nbest, options, lms)
    for before, after in zip(plain, found, strict=True):
        scores = {h.tokens: h.score for h in before}
        for h in after:
            [expected] = neural.sentences([h.tokens])
            assert h.neural == pytest.approx(expected)
            added = scores[h.tokens] + 0.6 * h.neural
            assert h.score == pytest.approx(added)
        ranked = [h.score for h in after]
        assert ranked == sorted(ranked, reverse=True)
    order = [[h.tokens for h in rows] for rows in found]
    assert order != [[h.tokens for h in rows] for rows in plain]


@torch.inference_mode()
def test_at_weight_0_nothing_changes_and_no_model_is_asked(
    model, batch, bigram
):
    nbest = [hypotheses(SEQUENCES)] * 3
    options = RescoreOptions(lm_weight=0.5, token_bonus=0.2)
    lm, never_asked = bigram(9, 0), object()
    plain = rescore(model, batch[2], nbest, options, LanguageModels(lm))
    both = LanguageModels(lm, never_asked)
    found = rescore(model, batch[2], nbest, options, both)
    assert found == plain  # to the bit


@torch.inference_mode()
def test_without_decoder_the_exact_ctc_and_the_models_rank(
    model, batch, bigram, monkeypatch
):
    monkeypatch.setattr(model, "decoder", None)
    lms = LanguageModels(bigram(9, 0))
    options = RescoreOptions(ctc_weight=0.3, lm_weight=0.5, token_bonus=0.2)
    nbest = [hypotheses(SEQUENCES)] * 3
    found = rescore(model, batch[2], nbest, options, lms)
    for row, log_probs in zip(found, posteriors(batch[2]), strict=True):
        for h in row:
            [ctc] = ctc_scores(log_probs, [h.tokens])
            lm = lms.ngram.sentence(list(h.tokens))
            assert h.decoder is None
            assert h.score == pytest.approx(ctc + 0.5 * lm + h.bonus, abs=1e-4)
