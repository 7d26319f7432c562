"""What each step of a batched beam search reads, made ready for all of them.

    log_probs [B, T, V] -> steps [N, B]: candidates [C], blanks passed before

B: utterances, T: frames, V: labels with the blank, N: steps, C: candidates. A
step is a frame that is not surely blank. A run of sure blanks is a number that
the step behind it takes along: it is merged and never dropped, for without its
blank, ``a _ a`` would become a single ``a``. An utterance with fewer such
frames than another has idle steps at its end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.validation import BLANK

_IMPOSSIBLE = -math.inf


class Steps(NamedTuple):
    """The steps of a batch; one of them is the same without N.

    Arguments
    ---------
    active : torch.Tensor
        Whether the utterance has this step, bool [N, B].
    ran : torch.Tensor
        Whether sure blanks come before it, bool [N, B].
    run : torch.Tensor
        Their log-probability, 0 without, float64 [N, B].
    row : torch.Tensor
        Its frame among those of all utterances, int64 [N, B].
    blank : torch.Tensor
        Log-probability of the blank, float64 [N, B].
    tokens : torch.Tensor
        Tokens that may extend a prefix, best first, int64 [N, B, C].
    scores : torch.Tensor
        Their log-probabilities, less the prior; -inf for those that may
        not, float64 [N, B, C].
    """

    active: torch.Tensor
    ran: torch.Tensor
    run: torch.Tensor
    row: torch.Tensor
    blank: torch.Tensor
    tokens: torch.Tensor
    scores: torch.Tensor


def prepare_steps(
    log_probs: torch.Tensor,
    lengths: torch.Tensor,
    options: BeamOptions,
    shift: torch.Tensor,
) -> tuple[Steps, torch.Tensor]:
    """Prune the labels of every frame and merge runs of sure blanks.

    Arguments
    ---------
    log_probs : torch.Tensor
        Natural log-probabilities [B, T, V]; beyond an utterance's length
        anything.
    lengths : torch.Tensor
        Frames of each utterance, int64 [B].
    options : BeamOptions
        Its pruning.
    shift : torch.Tensor
        Added to the log-probabilities of each frame, float64 [V].

    Returns
    -------
    tuple
        The steps, and the log-probability of the sure blanks behind each
        utterance's last one, float64 [B].

    Example
    -------
    >>> frames = torch.tensor([[[.1, .9], [.9999, .0001], [.1, .9]]]).log()
    >>> steps, behind = prepare_steps(
    ...     frames, torch.tensor([3]), BeamOptions(), torch.zeros(2)
    ... )
    >>> steps.row.tolist(), steps.ran.tolist(), behind.tolist()
    ([[0], [2]], [[False], [True]], [0.0])
    """
    batch, frames, _ = log_probs.shape
    device = log_probs.device
    inside = torch.arange(frames, device=device) < lengths[:, None]
    blank = log_probs[:, :, BLANK].double()
    sure = torch.zeros_like(inside)
    if options.blank_threshold is not None:
        sure = inside & (blank > math.log(options.blank_threshold))
    kept = inside & ~sure
    counts = kept.sum(1)
    steps = int(counts.max())
    # the frames kept come first, in their order
    frame = (~kept).long().argsort(dim=1, stable=True)[:, :steps]
    active = torch.arange(steps, device=device) < counts[:, None]
    passed = torch.where(sure, blank, 0.0)
    run = _between(passed, frame, active)
    row = frame + frames * torch.arange(batch, device=device)[:, None]
    rows = log_probs.flatten(0, 1)[row]  # [B, N, V]
    tokens, scores = _candidates(rows[:, :, 1:], options, shift[1:])
    found = Steps(
        active,
        _between(sure.long(), frame, active) > 0,
        run,
        row,
        rows[:, :, BLANK].double(),
        tokens + 1,
        scores,
    )
    found = (values.transpose(0, 1).contiguous() for values in found)
    return Steps(*found), passed.sum(1) - run.sum(1)


def _between(
    values: torch.Tensor, frame: torch.Tensor, active: torch.Tensor
) -> torch.Tensor:
    """Sum the frames' values from one step to the next."""
    sums = values.cumsum(1).gather(1, frame)
    sums = torch.nn.functional.pad(sums, (1, 0))
    return torch.where(active, sums.diff(dim=1), 0)


def _candidates(
    labels: torch.Tensor, options: BeamOptions, shift: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """List each frame's best labels, counted without the blank.

    Ranked by what they are worth with the prior, limited by their probability
    without it.
    """
    size = labels.shape[-1]
    count = min(options.max_candidates or size, size)
    floor = options.min_log_prob
    floor = labels.new_tensor(_IMPOSSIBLE if floor is None else floor)
    ranked = labels
    if options.prior_weight > 0:
        shifted = labels + shift.to(labels.dtype)
        ranked = torch.where(labels > floor, shifted, _IMPOSSIBLE)
    tokens = ranked.topk(count).indices
    best, most_probable = labels.max(-1)
    # the most probable one always may
    alone = best <= floor
    tokens[..., 0] = torch.where(alone, most_probable, tokens[..., 0])
    values = labels.gather(-1, tokens)
    allowed = values > floor
    allowed[..., 0] |= alone
    scores = values.double() + shift[tokens]
    scores = torch.where(allowed, scores, _IMPOSSIBLE)
    return tokens, scores
