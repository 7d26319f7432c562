import math
from dataclasses import dataclass

import pytest
import torch

from nar_asr_lobes.decoding.encoded import take
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.decoding.mask_predict import (
    MaskPredictOptions,
    mask_predict,
)
from nar_asr_lobes.decoding.rescore import ctc_scores
from nar_asr_lobes.errors import UserError

VOCAB, MASK = 8, 8


@dataclass
class FakeEncoded:
    states: torch.Tensor
    lengths: torch.Tensor
    log_probs: torch.Tensor
    inter_log_probs: list


class ChainDecoder:
    """Knows a slot's token surely only when its left neighbour is visible.

    The right token is the left one plus 1 (1 in the first slot). Keeps what
    it was asked in ``calls``.
    """

    mask_id = MASK

    def __init__(self):
        self.calls = []

    def decode(self, encoded, tokens, token_lens, target_frames):
        self.calls.append(tokens.clone())
        probs = torch.full((*tokens.shape, VOCAB), 0.001)
        for row, slots in enumerate(tokens.tolist()):
            for slot in range(len(slots)):
                left = slots[slot - 1] if slot else 0
                sure = left != MASK
                best = left + 1 if sure else VOCAB - 1
                probs[row, slot, best] = 0.9 if sure else 0.3
        probs[..., 0] = 0.0
        return (probs / probs.sum(-1, keepdim=True)).log()


def encoded_as(*utterances):
    """Frames [token, confidence], a sure blank behind each."""
    frames = max(2 * len(u) for u in utterances)
    probs = torch.full((len(utterances), frames, VOCAB), 0.0)
    probs[..., 0] = 1.0
    for row, utterance in enumerate(utterances):
        for i, (token, confidence) in enumerate(utterance):
            probs[row, 2 * i] = (1 - confidence) / (VOCAB - 1)
            probs[row, 2 * i, token] = confidence
    lengths = torch.tensor([2 * len(u) for u in utterances])
    states = torch.zeros(len(utterances), frames, 1)
    return FakeEncoded(states, lengths, probs.log(), [])


def test_unsure_tokens_are_filled_and_sure_ones_kept():
    encoded = encoded_as([(1, 0.99), (5, 0.4), (5, 0.99)])
    options = MaskPredictOptions(threshold=0.9)
    [found] = mask_predict(ChainDecoder(), encoded, options)
    assert found.tokens == (1, 2, 5)
    assert found.decoder == pytest.approx(math.log(0.9 / 0.906), abs=1e-5)
    expected = found.decoder + 2 * math.log(0.99)
    assert found.score == pytest.approx(expected, abs=1e-5)
    assert found.ctc == ctc_scores(encoded.log_probs[0], [(1, 2, 5)])[0]


def test_easy_ones_first_make_the_hard_ones_easy():
    unsure = encoded_as([(7, 0.5)] * 5)
    model = ChainDecoder()
    [found] = mask_predict(model, unsure, MaskPredictOptions(passes=5))
    assert found.tokens == (1, 2, 3, 4, 5)
    visible = [5 - int((t == MASK).sum()) for t in model.calls]
    assert visible == [0, 1, 2, 3, 4]
    [hasty] = mask_predict(model, unsure, MaskPredictOptions(passes=1))
    assert hasty.tokens == (1, 7, 7, 7, 7)


def test_passes_are_counted_per_utterance():
    encoded = encoded_as([(7, 0.5)] * 5, [(1, 0.5)], [(3, 1.0), (4, 1.0)])
    model = ChainDecoder()
    found = mask_predict(model, encoded, MaskPredictOptions(passes=3))
    assert [len(call) for call in model.calls] == [2, 1, 1]
    visible = [5 - int((call[0] == MASK).sum()) for call in model.calls]
    assert visible == [0, 1, 2]  # 1, 1 and then the remaining 3
    assert found[1].tokens == (1,)
    assert found[2].tokens == (3, 4)
    assert found[2].decoder == 0.0


def test_threshold_zero_keeps_the_greedy_result(model, batch):
    encoded = batch[2]
    options = MaskPredictOptions(threshold=0.0)
    found = mask_predict(model, encoded, options)
    paths = greedy_paths(encoded.log_probs, encoded.lengths)
    assert [h.tokens for h in found] == [p.tokens for p in paths]
    assert any(h.tokens for h in found)


@pytest.mark.parametrize("ctc_weight", [0.0, 0.4])
def test_a_batch_equals_one_by_one(model, batch, ctc_weight):
    encoded = batch[2]
    options = MaskPredictOptions(
        threshold=0.95, passes=4, ctc_weight=ctc_weight
    )
    with torch.inference_mode():
        together = mask_predict(model, encoded, options)
        for row, found in enumerate(together):
            alone = take(encoded, torch.tensor([row]))
            [single] = mask_predict(model, alone, options)
            assert found.tokens == single.tokens
            assert 0 not in found.tokens
            assert found.score == pytest.approx(single.score, abs=1e-5)
            assert found.ctc == pytest.approx(single.ctc, abs=1e-9)
    greedy = greedy_paths(encoded.log_probs, encoded.lengths)
    assert [len(h.tokens) for h in together] == [len(p.tokens) for p in greedy]
    assert [h.tokens for h in together] != [p.tokens for p in greedy]


def test_the_ctc_posterior_can_take_part():
    encoded = encoded_as([(5, 0.8), (2, 1.0)])
    alone = MaskPredictOptions(threshold=0.9)
    joint = MaskPredictOptions(threshold=0.9, ctc_weight=0.9)
    assert mask_predict(ChainDecoder(), encoded, alone)[0].tokens == (1, 2)
    assert mask_predict(ChainDecoder(), encoded, joint)[0].tokens == (5, 2)


def test_utterances_without_tokens_or_frames():
    encoded = encoded_as([], [(4, 0.5)], [])
    found = mask_predict(ChainDecoder(), encoded, MaskPredictOptions())
    assert [h.tokens for h in found] == [(), (1,), ()]
    assert found[0].score == 0.0
    empty = encoded_as([], [])
    found = mask_predict(ChainDecoder(), empty, MaskPredictOptions())
    assert [h.tokens for h in found] == [(), ()]


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": float("nan")}, {"threshold": 1.1}, {"passes": 0}],
)
def test_a_wrong_option_is_named(wrong):
    [name] = wrong
    with pytest.raises(UserError, match=f"^{name} is "):
        MaskPredictOptions(**wrong)
