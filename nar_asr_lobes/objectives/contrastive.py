"""wav2vec 2.0's losses: tell a frame's code from those of other frames.

Baevski et al., https://arxiv.org/abs/2006.11477. Letters: B utterances, N
frames asked for (the hidden ones) of the fullest of them, P width of the
comparison, G groups of V codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F


def draw_distractors(
    seeds: Sequence[int], counts: Sequence[int], number: int
) -> torch.Tensor:
    """Draw the frames that each frame asked for is to be told from.

    Each gets ``number`` of the other frames asked for of its own utterance,
    uniformly and with replacement, as in the paper's code. They are given as a
    table of how often each was drawn: for the loss that says as much as a list,
    and it needs no gathering of similarities.

    Arguments
    ---------
    seeds : sequence of int
        One for each utterance.
    counts : sequence of int
        Frames asked for of each utterance; never one alone.
    number : int
        Distractors of a frame.

    Returns
    -------
    torch.Tensor
        Shape [B, N, N], N at least 1: how often frame j was drawn for frame i;
        0 where i is j and for what pads.

    Example
    -------
    >>> table = draw_distractors([7, 8], [3, 2], 100)
    >>> table.shape, table.diagonal(dim1=1, dim2=2).any().item()
    (torch.Size([2, 3, 3]), False)
    >>> table.sum(2).tolist()
    [[100, 100, 100], [100, 100, 0]]
    """
    size = max(1, *counts)
    table = np.zeros((len(counts), size, size), dtype=np.int16)
    for rows, seed, count in zip(table, seeds, counts, strict=True):
        if count == 0:
            continue
        rng = np.random.default_rng([int(seed), 8])
        own = np.arange(count)[:, None]
        drawn = rng.integers(0, count - 1, (count, number), dtype=np.int32)
        places = own * count + drawn + (drawn >= own)  # over itself
        times = np.bincount(places.ravel(), minlength=count * count)
        rows[:count, :count] = times.reshape(count, count)
    return torch.from_numpy(table)


@dataclass(frozen=True)
class Contrast:
    """The loss in nats of each frame asked for, and if it hits, [B, N]."""

    loss: torch.Tensor
    hits: torch.Tensor


def contrast_frames(
    contexts: torch.Tensor,
    targets: torch.Tensor,
    codes: torch.Tensor,
    distractors: torch.Tensor,
    temperature: float = 0.1,
) -> Contrast:
    """Give -log softmax(cosine / temperature) of each frame's own target.

    A distractor with the codes of the true target is none: it is left out.
    Codes are compared, not vectors, which differ by what rounding left.

    Arguments
    ---------
    contexts, targets : torch.Tensor
        What the encoder says and what is true, shape [B, N, P].
    codes : torch.Tensor
        Of the targets, shape [B, N, G].
    distractors : torch.Tensor
        As ``draw_distractors`` gives them, shape [B, N, N].
    temperature : float
        Of the softmax.

    Returns
    -------
    Contrast
        The loss of a frame without a distractor, such as one that pads, is 0; a
        hit is a target that is nearer than every distractor.

    Example
    -------
    >>> frames = torch.eye(2)[None]
    >>> codes, table = torch.tensor([[[0], [1]]]), 1 - torch.eye(2)[None].int()
    >>> contrast = contrast_frames(frames, frames, codes, table, 1.0)
    >>> round(contrast.loss[0, 0].item(), 4), contrast.hits.tolist()
    (0.3133, [[True, True]])
    """
    with torch.autocast(contexts.device.type, enabled=False):
        contexts = F.normalize(contexts.float(), dim=-1)
        targets = F.normalize(targets.float(), dim=-1)
        logits = contexts @ targets.mT / temperature
    same = (codes[:, :, None] == codes[:, None]).all(-1)
    times = distractors.masked_fill(same, 0)
    others = times > 0
    own = logits.diagonal(dim1=1, dim2=2)
    # Drawn n times, a distractor stands n times in the sum of exponentials.
    weighted = logits + times.clamp_min(1).log()
    kept = others | torch.eye(
        logits.shape[1], dtype=torch.bool, device=logits.device
    )
    total = weighted.masked_fill(~kept, -torch.inf).logsumexp(-1)
    best = logits.detach().masked_fill(~others, -torch.inf).amax(-1)
    hits = (own.detach() > best) & others.any(-1)
    return Contrast(total - own, hits)


def unused_share(probabilities: torch.Tensor) -> torch.Tensor:
    """Give the share of the codes that are not in use: the diversity loss.

    (G V - sum of the groups' perplexities) / (G V).

    Arguments
    ---------
    probabilities : torch.Tensor
        Softmax over the codes, averaged over frames, shape [G, V].

    Returns
    -------
    torch.Tensor
        A scalar: 0 when all codes are in equal use, 1 - 1/V when one is.

    Example
    -------
    >>> probabilities = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    >>> round(unused_share(probabilities).item(), 4)
    0.25
    """
    entropy = -torch.xlogy(probabilities, probabilities + 1e-7).sum(-1)
    return 1 - entropy.exp().sum() / probabilities.numel()
