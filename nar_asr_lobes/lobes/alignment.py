"""The best CTC path through given tokens (Viterbi), for a whole batch.

The decoder's queries start from the frames of its tokens, so that its
cross-attention need not learn the alignment from little data.
"""

from __future__ import annotations

import numpy as np
import torch

from nar_asr_lobes.jit import jit_entry
from nar_asr_lobes.lobes.lengths import valid_mask

_NEG = np.float32(-1e30)


@jit_entry
def best_states(
    emissions: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
    token_lens: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the most probable CTC path through blanks and given tokens.

    emissions [B, T, S] of each state, lengths [B], labels [B, S] of the states
    (blanks and tokens in turn), token_lens [B] -> the state of each frame [B,
    T], 0 in padding, where token u is state 2 u + 1, and whether a path exists
    [B].
    """
    batch, total, _ = emissions.shape
    states = np.zeros((batch, total), dtype=np.int64)
    reached = np.zeros(batch, dtype=np.bool_)
    for b in range(batch):
        frames, size = lengths[b], 2 * max(1, token_lens[b]) + 1
        if frames == 0:
            continue
        moves = np.zeros((frames, size), dtype=np.uint8)
        score = np.full(size, _NEG)
        score[:2] = emissions[b, 0, :2]
        for t in range(1, frames):
            for s in range(size - 1, -1, -1):  # lower states are still at t - 1
                best, move = score[s], 0
                if s > 0 and score[s - 1] > best:
                    best, move = score[s - 1], 1
                label = labels[b, s]
                if s > 1 and label != 0 and label != labels[b, s - 2]:
                    if score[s - 2] > best:
                        best, move = score[s - 2], 2
                score[s] = max(_NEG, best + emissions[b, t, s])
                moves[t, s] = move
        state = size - 1
        if score[state - 1] > score[state]:
            state -= 1
        reached[b] = score[state] > _NEG / 2
        for t in range(frames - 1, -1, -1):
            states[b, t] = state
            state -= moves[t, state]
    return states, reached


@torch.no_grad()
def token_frames(
    log_probs: torch.Tensor,
    lengths: torch.Tensor,
    tokens: torch.Tensor,
    token_lens: torch.Tensor,
) -> torch.Tensor:
    """Find the frame of each token on the best CTC path (Viterbi).

    Arguments
    ---------
    log_probs : torch.Tensor
        CTC log-probabilities, blank 0, shape [B, T, V].
    lengths : torch.Tensor
        Valid frames, shape [B].
    tokens : torch.Tensor
        Padded tokens, shape [B, U].
    token_lens : torch.Tensor
        Valid tokens, shape [B].

    Returns
    -------
    torch.Tensor
        Middle of each token's run of frames, shape [B, U]; evenly spread over
        the valid frames where CTC cannot align.

    Example
    -------
    >>> probs = torch.tensor([[[0.1, 0.9], [0.9, 0.1], [0.2, 0.8]]])
    >>> token_frames(
    ...     probs.log(), torch.tensor([3]), torch.tensor([[1, 1]]),
    ...     torch.tensor([2]),
    ... ).tolist()
    [[0.0, 2.0]]
    """
    even = even_frames(tokens.shape[1], token_lens, lengths)
    if tokens.shape[1] == 0 or log_probs.shape[1] == 0:
        return even
    labels = tokens.new_zeros(len(tokens), 2 * tokens.shape[1] + 1)
    # Padding may hold ids that are no labels.
    labels[:, 1::2] = tokens * valid_mask(token_lens, tokens.shape[1])
    emissions = log_probs.float().gather(
        2, labels[:, None].expand(-1, log_probs.shape[1], -1)
    )  # [B, T, 2 U + 1]
    inputs = (emissions, lengths, labels, token_lens)
    # On the CPU even for a GPU: it takes less time than launching the dozen
    # small operations of each frame.
    paths = best_states(*(x.cpu().numpy() for x in inputs))
    states, reached = (torch.from_numpy(x).to(log_probs.device) for x in paths)
    frames = _middles(states, lengths, tokens.shape[1])
    return torch.where(reached[:, None], frames, even)


def even_frames(
    size: int, token_lens: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Place token u of U at frame (u + 0.5) T / U; shape [B, size]."""
    index = torch.arange(size, device=lengths.device) + 0.5
    return index[None] * (lengths / token_lens.clamp_min(1))[:, None]


def _middles(
    states: torch.Tensor, lengths: torch.Tensor, size: int
) -> torch.Tensor:
    """Average the frames of each token's states; shape [B, size]."""
    frames = torch.arange(states.shape[1], device=states.device)
    in_token = (states % 2 == 1) & (frames < lengths[:, None])
    index = (states // 2).clamp_max(size - 1)
    weights = in_token.float()
    sums = torch.zeros(len(states), size, device=states.device)
    counts = sums.clone()
    sums.scatter_add_(1, index, weights * frames)
    counts.scatter_add_(1, index, weights)
    return sums / counts.clamp_min(1)
