"""log Z against the enumeration of all CTC paths, and its gradient."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.objectives import denominator
from nar_asr_lobes.objectives.denominator import Denominator
from tests.random_ngram import random_tables

TOKENIZER = CharTokenizer("abc")
TEXTS = ["aab", "abba", "b", "caab", "bacca", "abc"]


def random_frames(batch, frames, size, seed=0):
    """Log-probabilities, rather peaked."""
    generator = torch.Generator().manual_seed(seed)
    shape = batch, frames, size
    logits = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits.log_softmax(-1)


def collapse(path):
    return [label for label, _ in itertools.groupby(path) if label]


def enumerated(lm, log_probs):
    """Sum over every path of log_probs [T, V]."""
    frames, size = log_probs.shape
    terms = []
    for path in itertools.product(range(size), repeat=frames):
        acoustic = log_probs[range(frames), path].sum()
        terms.append(acoustic + lm.sentence(collapse(path)))
    return torch.stack(terms).logsumexp(0)


@pytest.fixture(params=[1, 2, 3, 4])
def order(request):
    return request.param


@pytest.fixture
def lm(order, tmp_path):
    report = train_ngram(TEXTS, TOKENIZER, order, tmp_path / "lm.arpa")
    return NgramLM.load(report.path, TOKENIZER)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_it_is_the_sum_over_all_paths(order, lm, frames):
    denominator = Denominator.train(TEXTS, TOKENIZER, order)
    log_probs = random_frames(1, frames, TOKENIZER.size)
    found = denominator(log_probs, torch.tensor([frames]))
    expected = enumerated(lm, log_probs[0])
    torch.testing.assert_close(found[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_any_back_off_automaton_is_summed_over(seed):
    """Arcs that are less probable than their back-off, and jumps of states."""
    tables = random_tables(states=12, size=3, seed=seed)
    tables.unigram_log_prob.setflags(write=True)
    tables.unigram_log_prob[0] = -float("inf")
    log_probs = random_frames(1, 5, 3, seed)
    found = Denominator.from_tables(tables)(log_probs, torch.tensor([5]))
    expected = enumerated(NgramLM(tables, None), log_probs[0])
    torch.testing.assert_close(found[0], expected, rtol=1e-6, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences(order):
    denominator = Denominator.train(TEXTS, TOKENIZER, order)
    log_probs = random_frames(2, 4, TOKENIZER.size).requires_grad_()
    lengths = torch.tensor([4, 2])
    assert torch.autograd.gradcheck(
        lambda x: denominator(x.log_softmax(-1), lengths), log_probs
    )
    assert torch.autograd.gradcheck(
        lambda x: denominator(x, lengths), log_probs
    )


def test_labels_of_a_frame_sum_to_one_and_padding_has_none(order):
    denominator = Denominator.train(TEXTS, TOKENIZER, order)
    log_probs = random_frames(3, 30, TOKENIZER.size).requires_grad_()
    denominator(log_probs, torch.tensor([30, 7, 0])).sum().backward()
    expected = torch.zeros(3, 30, dtype=torch.float64)
    expected[0] = expected[1, :7] = 1
    torch.testing.assert_close(log_probs.grad.sum(-1), expected)
    assert (log_probs.grad > -1e-12).all()


def test_a_batch_is_its_utterances_whatever_the_padding(order):
    denominator = Denominator.train(TEXTS, TOKENIZER, order)
    lengths = [9, 4, 1]
    log_probs = random_frames(3, 12, TOKENIZER.size)
    for row, length in zip(log_probs, lengths, strict=True):
        row[length:] = -1e4
    log_probs.requires_grad_()
    together = denominator(log_probs, torch.tensor(lengths))
    together.sum().backward()
    for i, length in enumerate(lengths):
        row = log_probs[i : i + 1, :length].detach().requires_grad_()
        alone = denominator(row, torch.tensor([length]))
        alone.sum().backward()
        torch.testing.assert_close(together[i : i + 1], alone)
        torch.testing.assert_close(log_probs.grad[i, :length], row.grad[0])


def test_with_the_ctc_loss_it_descends_on_the_posterior(order, lm):
    """-log P(w | x) by enumeration has the gradient of CTC + log Z."""
    denominator = Denominator.train(TEXTS, TOKENIZER, order)
    reference, frames = [1, 1, 2], 5
    logits = random_frames(1, frames, TOKENIZER.size).requires_grad_()
    log_probs = logits.log_softmax(-1)
    paths = [
        log_probs[0, range(frames), path].sum()
        for path in itertools.product(range(TOKENIZER.size), repeat=frames)
        if collapse(path) == reference
    ]
    numerator = torch.stack(paths).logsumexp(0) + lm.sentence(reference)
    exact = enumerated(lm, log_probs[0]) - numerator
    assert exact > 0
    (expected,) = torch.autograd.grad(exact, logits, retain_graph=True)
    lengths = torch.tensor([frames])
    ctc = F.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor([reference]),
        lengths,
        torch.tensor([len(reference)]),
        reduction="sum",
    )
    loss = ctc + denominator(log_probs, lengths).sum()
    (found,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_half_precision_around_it_changes_nothing():
    denominator = Denominator.train(TEXTS, TOKENIZER, order=3)
    log_probs, lengths = (
        random_frames(2, 9, TOKENIZER.size),
        torch.tensor([9, 7]),
    )
    expected = denominator(log_probs, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        found = denominator(log_probs, lengths)
    torch.testing.assert_close(found, expected)


def test_sure_frames_leave_one_sequence(order, lm):
    """Long and certain: no underflow, and all mass lies on one path."""
    path = [1, 0, 1, 1, 2, 0, 3, 3, 2] * 60
    logits = torch.full((1, len(path), TOKENIZER.size), -80.0)
    logits[0, range(len(path)), path] = 80.0
    log_probs = logits.double().log_softmax(-1)
    denominator = Denominator.train(TEXTS, TOKENIZER, order)
    found = denominator(log_probs, torch.tensor([len(path)]))
    expected = lm.sentence(collapse(path))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_a_graph_that_no_step_can_afford_is_refused(monkeypatch):
    tokenizer = CharTokenizer("abc")
    nodes = len(Denominator.train(["abcab"], tokenizer, 3).label)
    monkeypatch.setattr(denominator, "MAX_NODES", nodes)
    Denominator.train(["abcab"], tokenizer, 3)
    monkeypatch.setattr(denominator, "MAX_NODES", nodes - 1)
    with pytest.raises(UserError, match=f"3 tokens makes a graph of {nodes}"):
        Denominator.train(["abcab"], tokenizer, 3)
