import itertools

import torch

from nar_asr_lobes.lobes.alignment import even_frames, token_frames


def collapse(path):
    """Merge repeats, then drop blanks."""
    return tuple(label for label, _ in itertools.groupby(path) if label)


def middles_by_paths(log_probs, target):
    """The middle of each token's frames on the best of all V^T paths."""
    paths = [
        path
        for path in itertools.product(
            range(log_probs.shape[1]), repeat=len(log_probs)
        )
        if collapse(path) == target
    ]
    steps = torch.arange(len(log_probs))
    scores = [log_probs[steps, torch.tensor(path)].sum() for path in paths]
    best = paths[int(torch.stack(scores).argmax())]
    runs, start = [], 0
    for label, group in itertools.groupby(best):
        width = len(list(group))
        if label:
            runs.append(start + (width - 1) / 2)
        start += width
    return runs


def ragged_lattice(frames, size, seed=0):
    """Log-probabilities [B, T, V] of utterances of some frames."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(frames), max(frames), size, generator=generator)
    return (3 * logits).log_softmax(-1), torch.tensor(frames)


def pad(targets, filler=0):
    tokens = torch.full((len(targets), max(map(len, targets))), filler)
    for row, target in zip(tokens, targets, strict=True):
        row[: len(target)] = torch.tensor(target, dtype=torch.long)
    return tokens, torch.tensor([len(target) for target in targets])


TARGETS = [(1,), (2, 1), (2, 2), (1, 2, 1), (1, 1, 2), (3, 3), ()]
FRAMES = [7, 3, 6, 5, 4, 3, 4]


def test_frames_are_those_of_the_best_of_all_paths():
    for seed in range(25):
        log_probs, lengths = ragged_lattice(FRAMES, 4, seed)
        found = token_frames(log_probs, lengths, *pad(TARGETS))
        for row, (target, count) in enumerate(
            zip(TARGETS, FRAMES, strict=True)
        ):
            if target:
                expected = middles_by_paths(log_probs[row, :count], target)
                assert found[row, : len(target)].tolist() == expected


def test_batch_equals_one_by_one_whatever_the_padding():
    frames = [30, 11, 6, 1, 0, 9]
    targets = [(1, 2, 2, 3), (2,), (3, 1, 1), (2,), (1, 2), ()]
    log_probs, lengths = ragged_lattice(frames, 5)
    together = token_frames(log_probs, lengths, *pad(targets, filler=99))
    for row, (count, target) in enumerate(zip(frames, targets, strict=True)):
        if not target:
            continue
        alone = token_frames(
            log_probs[row : row + 1, :count],
            lengths[row : row + 1],
            torch.tensor([target]),
            torch.tensor([len(target)]),
        )
        assert torch.equal(together[row, : len(target)], alone[0])


def test_what_cannot_be_aligned_is_spread_evenly():
    targets = [(1, 1), (1, 2, 3), (1, 2)]
    log_probs, lengths = ragged_lattice([2, 2, 2], 4)
    tokens, token_lens = pad(targets)
    found = token_frames(log_probs, lengths, tokens, token_lens)
    even = even_frames(3, token_lens, lengths)
    assert torch.equal(found[:2], even[:2])
    assert even[0, :2].tolist() == [0.5, 1.5]
    assert found[2, :2].tolist() == [0, 1]


def test_impossible_tokens_do_not_break_the_others():
    log_probs, lengths = ragged_lattice([6, 6], 4)
    log_probs[0, :, 2] = -torch.inf
    found = token_frames(log_probs, lengths, *pad([(2, 1), (2, 1)]))
    assert found.isfinite().all()
    assert found[1].tolist() == middles_by_paths(log_probs[1], (2, 1))


def test_no_gradient_and_no_tokens():
    log_probs, lengths = ragged_lattice([6], 4)
    tokens = torch.zeros(1, 0, dtype=torch.long)
    found = token_frames(
        log_probs.requires_grad_(), lengths, tokens, torch.tensor([0])
    )
    assert found.shape == (1, 0) and not found.requires_grad
    found = token_frames(log_probs, lengths, *pad([(1, 2)]))
    assert not found.requires_grad
