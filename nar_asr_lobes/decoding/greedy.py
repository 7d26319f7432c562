"""CTC best path: the most probable label per frame, repeats merged.

    log_probs [B, T, V] -> argmax [B, T] -> runs -> tokens, one list each

B utterances, T frames, V labels with the blank at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nar_asr_lobes.decoding.encoded import BLANK, require_log_probs
from nar_asr_lobes.decoding.hypotheses import Hypothesis


@dataclass(frozen=True)
class GreedyPath:
    """The best CTC path of one utterance, token by token."""

    tokens: tuple[int, ...]  # [U]
    log_confidences: np.ndarray  # float64 [U], at its most probable frame
    peaks: np.ndarray  # int64 [U], that frame
    log_prob: float  # of the whole path

    def hypothesis(self) -> Hypothesis:
        """Return the path as a hypothesis scored by its own probability."""
        return Hypothesis(self.tokens, score=self.log_prob, ctc=self.log_prob)


def greedy_paths(
    log_probs: torch.Tensor, lengths: torch.Tensor
) -> list[GreedyPath]:
    """Find the best CTC path of every utterance, [B, T, V] and lengths [B].

    Example
    -------
    >>> probs = torch.tensor([[[.1, .9], [.1, .9], [.8, .2], [.3, .7]]])
    >>> path = greedy_paths(probs.log(), torch.tensor([4]))[0]
    >>> path.tokens, path.peaks.tolist()
    ((1, 1), [0, 3])
    """
    if log_probs.shape[1] == 0:
        return [_collapse(np.zeros(0), np.zeros(0, int)) for _ in lengths]
    best, labels = log_probs.detach().max(dim=-1)
    best, labels = best.double().cpu().numpy(), labels.cpu().numpy()
    paths = []
    for row, frames in enumerate(lengths.tolist()):
        require_log_probs(best[row, :frames], f"utterance {row} of the batch")
        paths.append(_collapse(best[row, :frames], labels[row, :frames]))
    return paths


def _collapse(best: np.ndarray, labels: np.ndarray) -> GreedyPath:
    """Merge repeats and drop blanks of one path [T]."""
    changes = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    bounds = np.concatenate(([0], changes, [len(labels)]))
    tokens, peaks = [], []
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        if end > start and labels[start] != BLANK:
            tokens.append(int(labels[start]))
            peaks.append(start + int(best[start:end].argmax()))
    peaks = np.asarray(peaks, dtype=np.int64)
    return GreedyPath(tuple(tokens), best[peaks], peaks, float(best.sum()))
