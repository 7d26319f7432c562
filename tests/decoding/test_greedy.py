import numpy as np
import pytest
import torch

from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.errors import UserError


def naive(log_probs):
    """Collapse the best path frame by frame."""
    tokens, confidences, total, previous = [], [], 0.0, 0
    for frame in log_probs.tolist():
        label = max(range(len(frame)), key=frame.__getitem__)
        total += frame[label]
        if label and label == previous:
            confidences[-1] = max(confidences[-1], frame[label])
        elif label:
            tokens.append(label)
            confidences.append(frame[label])
        previous = label
    return tuple(tokens), confidences, total


def test_equals_a_frame_by_frame_loop(lattice):
    rng = np.random.default_rng(0)
    for _ in range(100):
        log_probs = lattice(int(rng.integers(1, 30)), 4, rng)
        [path] = greedy_paths(log_probs[None], torch.tensor([len(log_probs)]))
        tokens, confidences, total = naive(log_probs)
        assert path.tokens == tokens
        assert path.log_confidences.tolist() == confidences
        assert path.log_prob == pytest.approx(total)
        at_peaks = log_probs[path.peaks, list(tokens)]
        assert at_peaks.tolist() == confidences


def test_a_batch_equals_one_by_one_and_padding_is_not_looked_at(lattice):
    rng = np.random.default_rng(1)
    lengths = [7, 0, 12, 1]
    alone = [lattice(frames, 5, rng) for frames in lengths]
    padded = torch.full((4, 12, 5), float("nan"), dtype=torch.float64)
    for row, log_probs in enumerate(alone):
        padded[row, : len(log_probs)] = log_probs
    together = greedy_paths(padded, torch.tensor(lengths))
    for path, log_probs in zip(together, alone, strict=True):
        [single] = greedy_paths(log_probs[None], torch.tensor([len(log_probs)]))
        assert path.hypothesis() == single.hypothesis()
        assert np.array_equal(path.peaks, single.peaks)


def test_no_frames_give_the_empty_hypothesis():
    [path] = greedy_paths(torch.zeros(1, 0, 4), torch.tensor([0]))
    assert path.hypothesis().tokens == ()
    assert path.hypothesis().score == 0.0


def test_nan_is_refused_naming_the_utterance():
    log_probs = torch.full((2, 3, 4), -1.4)
    log_probs[1, 2, 0] = float("nan")
    with pytest.raises(UserError, match="utterance 1 .*NaN"):
        greedy_paths(log_probs, torch.tensor([3, 3]))
