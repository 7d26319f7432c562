"""The best CTC path of each utterance of a batch, compiled.

A frame is too little work for a GPU and a frame's dozen of calls: the path of a
batch takes a processor less time than a GPU needs to be asked for it.
"""

from __future__ import annotations

import numpy as np

from nar_asr_lobes.jit import outer

NEG = np.float32(-1e30)


@outer
def best_states(
    emissions: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
    token_lens: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the best path through blanks and tokens.

    Arguments
    ---------
    emissions : numpy.ndarray
        Log-probability of each state in each frame, shape [B, T, S], float32.
    lengths : numpy.ndarray
        Valid frames, shape [B].
    labels : numpy.ndarray
        Label of each state, blanks (0) and tokens in turn, shape [B, S].
    token_lens : numpy.ndarray
        Tokens, shape [B].

    Returns
    -------
    states : numpy.ndarray
        State of each frame, 0 beyond the valid ones, shape [B, T], int64.
    reached : numpy.ndarray
        Whether there is a path, shape [B].
    """
    batch, total, _ = emissions.shape
    states = np.zeros((batch, total), dtype=np.int64)
    reached = np.zeros(batch, dtype=np.bool_)
    for b in range(batch):
        frames, size = lengths[b], 2 * max(1, token_lens[b]) + 1
        if frames == 0:
            continue
        moves = np.zeros((frames, size), dtype=np.uint8)
        score = np.full(size, NEG)
        score[:2] = emissions[b, 0, :2]
        for t in range(1, frames):
            for s in range(size - 1, -1, -1):  # those below are of t - 1 still
                best, move = score[s], 0
                if s > 0 and score[s - 1] > best:
                    best, move = score[s - 1], 1
                label = labels[b, s]
                if s > 1 and label != 0 and label != labels[b, s - 2]:
                    if score[s - 2] > best:
                        best, move = score[s - 2], 2
                score[s] = max(NEG, best + emissions[b, t, s])
                moves[t, s] = move
        state = size - 1
        if score[state - 1] > score[state]:
            state -= 1
        reached[b] = score[state] > NEG / 2
        for t in range(frames - 1, -1, -1):
            states[b, t] = state
            state -= moves[t, state]
    return states, reached
