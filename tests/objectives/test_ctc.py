import itertools

import pytest
import torch
from torch.nn import functional as F

from nar_asr_lobes.objectives.ctc import (
    CtcTargets,
    ctc_feasible,
    log_frequencies,
)


def collapse(path):
    """Merge repeats, then drop blanks."""
    return tuple(label for label, _ in itertools.groupby(path) if label)


def loss_by_paths(log_probs, target):
    """Sum over all V^T paths that spell the target."""
    frames, size = log_probs.shape
    scores = [
        log_probs[torch.arange(frames), torch.tensor(path)].sum()
        for path in itertools.product(range(size), repeat=frames)
        if collapse(path) == target
    ]
    return -torch.logsumexp(torch.stack(scores), 0)


def pad(targets):
    tokens = torch.zeros(len(targets), max(map(len, targets)), dtype=torch.long)
    for row, target in zip(tokens, targets, strict=True):
        row[: len(target)] = torch.tensor(target, dtype=torch.long)
    return tokens, torch.tensor([len(target) for target in targets])


def test_loss_and_gradient_equal_all_paths():
    generator = torch.manual_seed(0)
    targets = [(1,), (2, 1), (2, 2), (1, 2, 1), (1, 1)]
    lengths = torch.tensor([4, 3, 4, 5, 3])
    logits = torch.randn(5, 5, 3, generator=generator, requires_grad=True)
    expected = sum(
        loss_by_paths(row[:length].log_softmax(-1), target)
        for row, length, target in zip(logits, lengths, targets, strict=True)
    )
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    tokens, token_lens = pad(targets)
    keep = ctc_feasible(tokens, token_lens, lengths)
    assert keep.all()
    loss = CtcTargets(tokens, token_lens, keep).loss_sum(
        logits.log_softmax(-1), lengths
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=0)


def test_loss_equals_torch_one_by_one():
    generator = torch.manual_seed(1)
    logits = torch.randn(6, 40, 12, generator=generator)
    lengths = torch.tensor([40, 31, 22, 40, 9, 12])
    targets = [
        torch.randint(1, 12, (n,), generator=generator).tolist()
        for n in (15, 10, 4, 12, 3, 1)
    ]
    tokens, token_lens = pad(targets)
    log_probs = logits.log_softmax(-1)
    expected = sum(
        F.ctc_loss(
            row[:length, None],
            torch.tensor([target]),
            torch.tensor([length]),
            torch.tensor([len(target)]),
            reduction="sum",
        )
        for row, length, target in zip(log_probs, lengths, targets, strict=True)
    )
    keep = ctc_feasible(tokens, token_lens, lengths)
    loss = CtcTargets(tokens, token_lens, keep).loss_sum(log_probs, lengths)
    torch.testing.assert_close(loss, expected)


def test_feasible_is_what_some_path_spells():
    for frames in range(5):
        spelled = {
            collapse(path)
            for path in itertools.product(range(3), repeat=frames)
        }
        targets = [
            target
            for size in range(1, 5)
            for target in itertools.product((1, 2), repeat=size)
        ]
        tokens, token_lens = pad(targets)
        feasible = ctc_feasible(
            tokens, token_lens, torch.full((len(targets),), frames)
        )
        assert feasible.tolist() == [t in spelled for t in targets]


def test_repeats_in_the_padding_do_not_count():
    tokens = torch.tensor([[1, 2, 0, 0, 0]])
    two = torch.tensor([2])
    assert ctc_feasible(tokens, two, two).tolist() == [True]


@pytest.mark.parametrize(
    ("target", "frames"), [((1, 1), 2), ((1, 2, 1), 2), ((1,), 0), ((), 4)]
)
def test_what_cannot_be_aligned_is_nothing(target, frames):
    torch.manual_seed(2)
    logits = torch.randn(2, 6, 3, requires_grad=True)
    lengths = torch.tensor([6, frames])
    tokens, token_lens = pad([(1, 2), target])
    keep = ctc_feasible(tokens, token_lens, lengths)
    assert keep.tolist() == [True, False]
    loss = CtcTargets(tokens, token_lens, keep).loss_sum(
        logits.log_softmax(-1), lengths
    )
    loss.backward()
    alone = loss_by_paths(logits[0].log_softmax(-1), (1, 2))
    torch.testing.assert_close(loss, alone)
    assert logits.grad.isfinite().all()
    assert logits.grad[0].any() and not logits.grad[1].any()


def test_none_kept_is_zero_with_a_gradient_of_zero():
    logits = torch.randn(1, 3, 3, requires_grad=True)
    one = torch.tensor([1])
    loss = CtcTargets(torch.tensor([[1]]), one, torch.tensor([False])).loss_sum(
        logits.log_softmax(-1), torch.tensor([3])
    )
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_padding_frames_get_no_gradient():
    logits = torch.randn(1, 6, 3, requires_grad=True)
    one = torch.tensor([1])
    keep = torch.tensor([True])
    CtcTargets(one[None], one, keep).loss_sum(
        logits.log_softmax(-1), torch.tensor([4])
    ).backward()
    assert logits.grad[0, :4].any() and not logits.grad[0, 4:].any()


@pytest.mark.parametrize("counts", [[60, 30, 10], [0, 5, 0], [9, 0, 0]])
def test_frequencies_are_a_distribution_without_zeros(counts):
    counts = torch.tensor(counts)
    found = log_frequencies(counts).exp()
    assert found.sum().item() == pytest.approx(1)
    assert (found > 0).all()
    many = log_frequencies(counts * 10**6).exp()
    torch.testing.assert_close(many, counts / counts.sum(), atol=1e-5, rtol=0)
