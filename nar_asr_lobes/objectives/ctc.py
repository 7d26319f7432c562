"""The CTC loss of padded targets, and which of them CTC can align."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from nar_asr_lobes.lobes.lengths import valid_mask


def ctc_feasible(
    tokens: torch.Tensor, token_lens: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Tell which utterances of a batch CTC can align, shape [B]."""
    index = torch.arange(1, max(1, tokens.shape[1]), device=tokens.device)
    valid = index[None] < token_lens[:, None]
    # A path needs a frame for each token and a blank between equal neighbours.
    repeats = ((tokens[:, 1:] == tokens[:, :-1]) & valid).sum(1)
    return (token_lens + repeats <= lengths) & (token_lens > 0)


def log_frequencies(counts: torch.Tensor) -> torch.Tensor:
    """Turn label counts [V], the blank's first, into smoothed log-probs [V]."""
    tokens = counts[1:] + 1.0
    blank = (counts[:1] + 1) / (counts.sum() + 2)
    return torch.cat([blank, (1 - blank) * tokens / tokens.sum()]).log()


@dataclass(frozen=True)
class CtcTargets:
    """Padded tokens [B, U], their lengths [B], and the rows CTC aligns [B]."""

    tokens: torch.Tensor
    token_lens: torch.Tensor
    keep: torch.Tensor

    def count(self) -> float:
        """Count the tokens of the rows that CTC aligns."""
        return float((self.token_lens * self.keep).sum())

    def label_counts(self, lengths: torch.Tensor, size: int) -> torch.Tensor:
        """Count each of ``size`` labels in those rows, [size] on the CPU.

        Label 0, the blank, gets the frames that no token needs.
        """
        valid = valid_mask(self.token_lens, self.tokens.shape[1])
        tokens = self.tokens[valid & self.keep[:, None]].cpu()
        counts = torch.bincount(tokens, minlength=size)
        counts[0] = int((lengths * self.keep).sum()) - len(tokens)
        return counts

    def loss_sum(
        self, log_probs: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Sum the CTC loss (blank 0) of log_probs [B, T, V] over those rows."""
        losses = F.ctc_loss(
            log_probs.transpose(0, 1).float(),
            self.tokens,
            lengths,
            self.token_lens,
            reduction="none",
            zero_infinity=True,
        )
        return (losses * self.keep).sum()
