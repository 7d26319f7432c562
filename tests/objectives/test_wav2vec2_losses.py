import math

import pytest
import torch

from nar_asr_lobes.objectives.wav2vec2 import (
    _diversity_loss,
    _draw_distractors,
    _info_nce,
)


@pytest.fixture(autouse=True)
def seed():
    """Draw the same numbers whichever tests run."""
    torch.manual_seed(5)


@pytest.mark.parametrize("number", [1, 7, 100])
def test_no_frame_is_its_own_distractor_at_any_length_and_seed(number):
    for seed in range(25):
        counts = [0, *range(2, 41)]
        seeds = range(100 * seed, 100 * seed + len(counts))
        table = _draw_distractors(seeds, counts, number)
        assert table.shape == (len(counts), 40, 40)
        assert not table.diagonal(dim1=1, dim2=2).any()
        for rows, count in zip(table, counts, strict=True):
            assert (rows[:count].sum(1) == number).all()
            assert not rows[count:].any() and not rows[:, count:].any()


def test_every_other_frame_is_as_likely():
    draws = torch.stack(
        [_draw_distractors([seed], [5], 1000)[0] for seed in range(40)]
    ).double()
    shares = draws.mean(0) / 1000
    # 40,000 draws of probability 1/4: a standard deviation of 0.0022.
    expected = (1 - torch.eye(5)) / 4
    torch.testing.assert_close(shares, expected.double(), atol=0.01, rtol=0)


def test_draws_come_from_the_seed_whatever_the_batch():
    whole = _draw_distractors([4, 5, 6], [9, 3, 12], 10)
    for row, (seed, count) in enumerate([(4, 9), (5, 3), (6, 12)]):
        alone = _draw_distractors([seed], [count], 10)[0]
        assert torch.equal(whole[row, :count, :count], alone)
    other = _draw_distractors([7], [9], 10)[0]
    assert not torch.equal(whole[0, :9, :9], other)


def test_no_predicted_frames_give_a_table_of_zeros():
    assert _draw_distractors([1, 2], [0, 0], 5).tolist() == [[[0]], [[0]]]


def by_hand(contexts, targets, codes, table, temperature):
    """The loss as the paper has it, one distractor after the other."""
    loss = hits = 0
    for i, context in enumerate(contexts):

        def score(j, context=context):
            cosine = torch.cosine_similarity(context, targets[j], dim=0)
            return cosine.item() / temperature

        others = [
            j
            for j, times in enumerate(table[i].tolist())
            for _ in range(times)
            if not torch.equal(codes[i], codes[j])
        ]
        below = sum(math.exp(score(j)) for j in [i, *others])
        loss -= score(i) - math.log(below)
        hits += bool(others) and score(i) > max(map(score, others))
    return loss, hits


@pytest.mark.parametrize("kinds", [1, 2, 50])
def test_the_loss_is_that_of_the_paper(kinds):
    counts = [6, 0, 2]
    contexts, targets = torch.randn(2, 3, 6, 8)
    codes = torch.randint(kinds, (3, 6, 2))
    table = _draw_distractors([1, 2, 3], counts, 9)
    found_loss, found_hits = _info_nce(contexts, targets, codes, table, 0.3)
    loss = hits = 0
    for row, count in enumerate(counts):
        rows = (x[row, :count] for x in (contexts, targets, codes, table))
        more = by_hand(*rows, 0.3)
        loss, hits = loss + more[0], hits + more[1]
    assert found_loss.sum().item() == pytest.approx(loss, rel=1e-5, abs=1e-6)
    assert found_hits.sum() == hits
    # Of one kind, all distractors are left out.
    assert (loss == pytest.approx(0, abs=1e-9)) == (kinds == 1)


def test_two_frames_by_hand():
    """Own cosine 0.6 and 1, the other's 0.8 and 0, drawn twice and once."""
    contexts = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    targets = torch.tensor([[[3.0, 4.0], [4.0, 3.0]]])
    table = torch.tensor([[[0, 2], [1, 0]]])
    codes = torch.tensor([[[0, 1], [1, 1]]])
    found_loss, found_hits = _info_nce(contexts, targets, codes, table, 0.5)
    first = math.log(math.exp(1.2) + 2 * math.exp(1.6)) - 1.2
    second = math.log(math.exp(1.2) + math.exp(1.6)) - 1.2
    assert found_loss[0].tolist() == pytest.approx([first, second], rel=1e-6)
    assert not found_hits.any()


def test_padding_adds_nothing_to_the_gradient():
    contexts = torch.randn(1, 5, 4, requires_grad=True)
    targets = torch.randn(1, 5, 4, requires_grad=True)
    table = torch.zeros(1, 5, 5, dtype=torch.int16)
    table[:, :3, :3] = _draw_distractors([3], [3], 10)
    codes = torch.arange(5).view(1, 5, 1)
    _info_nce(contexts, targets, codes, table)[0].sum().backward()
    for gradient in (contexts.grad, targets.grad):
        assert gradient[0, :3].any() and not gradient[0, 3:].any()


def test_the_loss_is_of_float32_in_mixed_precision():
    contexts, targets = torch.randn(2, 2, 6, 8)
    codes = torch.arange(12).view(2, 6, 1)
    table = _draw_distractors([1, 2], [6, 6], 20)
    plain = _info_nce(contexts, targets, codes, table)[0]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = _info_nce(contexts, targets, codes, table)[0]
    assert torch.equal(plain, mixed)


def test_the_diversity_loss_is_zero_for_equal_use_and_pulls_towards_it():
    assert _diversity_loss(torch.full((2, 8), 1 / 8)).item() == pytest.approx(
        0, abs=1e-5
    )
    one = torch.eye(8)[:2]
    assert _diversity_loss(one).item() == pytest.approx(7 / 8, abs=1e-5)
    scores = torch.tensor([[2.0, 0.0, -1.0]], requires_grad=True)
    _diversity_loss(scores.softmax(-1)).backward()
    assert scores.grad[0, 0] > 0 > scores.grad[0, 2]
    certain = torch.eye(3)[:1].requires_grad_()
    _diversity_loss(certain).backward()
    assert certain.grad.isfinite().all()
