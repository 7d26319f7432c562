"""Where each token is spoken, by the best CTC path, for a whole batch.

The decoder's slots query the encoder from these frames, so that its
cross-attention does not have to discover time from little data.
"""

from __future__ import annotations

import torch

from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.lobes.viterbi import best_states


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
        Pieces, padded, shape [B, U].
    token_lens : torch.Tensor
        Valid tokens, shape [B].

    Returns
    -------
    torch.Tensor
        Middle of each token's run of frames, shape [B, U]; tokens that CTC
        cannot align are spread evenly over the valid frames.

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
    # What stands in the padding may be no piece at all.
    labels[:, 1::2] = tokens * valid_mask(token_lens, tokens.shape[1])
    emissions = log_probs.float().gather(
        2, labels[:, None].expand(-1, log_probs.shape[1], -1)
    )
    states, reached = _viterbi(emissions, lengths, labels, token_lens)
    frames = _middles(states, lengths, tokens.shape[1])
    return torch.where(reached[:, None], frames, even)


def even_frames(
    slots: int, token_lens: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Place slot i of U at frame (i + 0.5) T / U; shape [B, slots].

    Example
    -------
    >>> even_frames(2, torch.tensor([2]), torch.tensor([8])).tolist()
    [[2.0, 6.0]]
    """
    index = torch.arange(slots, device=lengths.device) + 0.5
    return index[None] * (lengths / token_lens.clamp_min(1))[:, None]


def _viterbi(
    emissions: torch.Tensor,
    lengths: torch.Tensor,
    labels: torch.Tensor,
    token_lens: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the state of each frame [B, T] and whether an end was reached."""
    inputs = (emissions, lengths, labels, token_lens)
    found = best_states(*(x.cpu().numpy() for x in inputs))
    states, reached = (torch.from_numpy(x).to(emissions.device) for x in found)
    return states, reached


def _middles(
    states: torch.Tensor, lengths: torch.Tensor, slots: int
) -> torch.Tensor:
    """Average the frames of each token's states; shape [B, slots]."""
    frames = torch.arange(states.shape[1], device=states.device)
    spoken = (states % 2 == 1) & (frames < lengths[:, None])
    slot = (states // 2).clamp_max(slots - 1)
    weights = spoken.float()
    sums = torch.zeros(len(states), slots, device=states.device)
    counts = sums.clone()
    sums.scatter_add_(1, slot, weights * frames)
    counts.scatter_add_(1, slot, weights)
    return sums / counts.clamp_min(1)
