import math
from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.decoding.encoded import posteriors, take
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.decoding.mask_predict import (
    MaskPredictOptions,
    mask_predict,
)
from nar_asr_lobes.decoding.rescore import ctc_scores
from nar_asr_lobes.decoding.slot_beam import SlotBeamOptions, slot_beam_search
from nar_asr_lobes.errors import UserError

LOOSE = SlotBeamOptions(
    mask_threshold=0.95, sure_threshold=1.0, ctc_weight=0.3, lm_weight=0.7
)


@pytest.fixture(scope="module")
def greedy(batch):
    """The tokens of the best CTC paths."""
    encoded = batch[2]
    paths = greedy_paths(encoded.log_probs, encoded.lengths)
    return [path.tokens for path in paths]


@pytest.fixture
def search(model, batch, greedy, bigram):
    """Search the batch, or one row of it."""

    @torch.inference_mode()
    def run(options, row=None, lm=None):
        encoded, starts = batch[2], greedy
        if row is not None:
            encoded = take(encoded, torch.tensor([row]))
            starts = [greedy[row]]
        lm = lm or bigram(9, 0)
        return slot_beam_search(model, encoded, starts, options, lm)

    return run


def test_a_batch_equals_one_by_one(search, greedy):
    together = search(LOOSE)
    for row, found in enumerate(together):
        [alone] = search(LOOSE, row)
        assert [h.tokens for h in found] == [h.tokens for h in alone]
        for one, other in zip(found, alone, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert one.decoder == pytest.approx(other.decoder, abs=1e-5)
    assert [len(nbest[0].tokens) for nbest in together] == list(
        map(len, greedy)
    )
    assert [nbest[0].tokens for nbest in together] != greedy
    assert max(map(len, together)) > 1


def test_without_the_model_it_is_one_pass_of_mask_predict(search, model, batch):
    """Weight 0 leaves the decoder's best token of each masked slot."""
    options = replace(LOOSE, lm_weight=0.0, ctc_weight=0.0)
    one_pass = MaskPredictOptions(threshold=0.95, passes=1)
    with torch.inference_mode():
        expected = mask_predict(model, batch[2], one_pass)
    for [found, *_], same in zip(search(options), expected, strict=True):
        assert found.tokens == same.tokens
        assert found.score == pytest.approx(same.score, abs=1e-4)
        assert found.decoder == pytest.approx(same.decoder, abs=1e-4)
        assert found.lm == 0.0


def test_the_parts_are_those_of_the_tokens(search, batch, bigram):
    lm = bigram(9, 0)
    for rows, nbest in zip(posteriors(batch[2]), search(LOOSE), strict=True):
        assert nbest == sorted(nbest, key=lambda h: -h.score)
        ctc = ctc_scores(rows, [h.tokens for h in nbest])
        assert [h.ctc for h in nbest] == ctc
        for hypothesis in nbest:
            expected = lm.sentence(hypothesis.tokens)
            assert hypothesis.lm == pytest.approx(expected, abs=1e-4)


def test_the_ctc_share_alone_scores_by_the_mean_over_each_run(search, batch):
    options = replace(LOOSE, lm_weight=0.0, ctc_weight=1.0, mask_threshold=1.0)
    for row, [found, *_] in enumerate(search(options)):
        rows = posteriors(batch[2])[row]
        runs, labels = [], rows.argmax(dim=1).tolist()
        for frame, label in enumerate(labels):
            if label and (frame == 0 or labels[frame - 1] != label):
                runs.append([])
            if label:
                runs[-1].append(rows[frame, 1:].exp())
        means = [torch.stack(run).mean(dim=0) for run in runs]
        assert found.tokens == tuple(1 + int(m.argmax()) for m in means)
        shares = [math.log(mean.max() / mean.sum()) for mean in means]
        assert found.score == pytest.approx(sum(shares), abs=1e-4)


def test_sure_slots_keep_their_best_token_alone(search):
    free = replace(LOOSE, lm_weight=30.0, mask_threshold=1.0)
    tied = replace(free, sure_threshold=0.0)
    unweighted = replace(free, lm_weight=0.0)
    best = [nbest[0].tokens for nbest in search(unweighted)]
    assert [nbest[0].tokens for nbest in search(tied)] == best
    assert {len(nbest) for nbest in search(tied)} == {1}
    assert [nbest[0].tokens for nbest in search(free)] != best
    one = replace(free, max_candidates=1)
    assert [nbest[0].tokens for nbest in search(one)] == best


def test_masks_at_zero_keep_all_tokens(search, greedy, batch):
    found = search(replace(LOOSE, mask_threshold=0.0))
    assert [nbest[0].tokens for nbest in found] == greedy
    encoded = batch[2]
    paths = greedy_paths(encoded.log_probs, encoded.lengths)
    for [best], path in zip(found, paths, strict=True):
        own = path.log_confidences.sum()
        assert best.score == pytest.approx(own + 0.7 * best.lm, abs=1e-4)
        assert best.decoder == 0.0


@torch.inference_mode()
def test_no_tokens_and_no_frames(model, batch, bigram):
    encoded = replace(batch[2], lengths=torch.tensor([5, 9, 0]))
    lm = bigram(9, 1)
    found = slot_beam_search(model, encoded, [(), (1,), ()], LOOSE, lm)
    for row in (0, 2):
        [empty] = found[row]
        assert empty.tokens == ()
        assert empty.score == pytest.approx(0.7 * lm.final(0))
    assert len(found[1][0].tokens) == 1


def test_nan_is_one_clear_sentence(model, batch, bigram):
    nan = replace(batch[2], log_probs=batch[2].log_probs * math.nan)
    with pytest.raises(UserError, match="posteriors hold NaN"):
        slot_beam_search(model, nan, [(1,), (), ()], LOOSE, bigram(9, 0))
    nan = replace(batch[2], states=batch[2].states * math.nan)
    with pytest.raises(UserError, match="decoder's probabilities hold NaN"):
        slot_beam_search(model, nan, [(1,), (), ()], LOOSE, bigram(9, 0))


def test_another_tokenizers_model_is_refused(search, bigram):
    with pytest.raises(UserError, match="9 labels with .* model of 7"):
        search(LOOSE, lm=bigram(7, 0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "beam5"},
        {"mask_threshold": 1.5},
        {"sure_threshold": math.nan},
        {"max_candidates": 0},
        {"beam_size": 2.5},
        {"ctc_weight": -0.1},
        {"lm_weight": math.inf},
    ],
)
def test_a_wrong_option_is_named(wrong):
    [name] = wrong
    with pytest.raises(UserError, match=f"^{name} is "):
        SlotBeamOptions(**wrong)
