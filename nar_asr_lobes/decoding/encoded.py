"""Views of an encoded batch that the searches share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from nar_asr_lobes.errors import UserError

if TYPE_CHECKING:
    from nar_asr_lobes.lobes.model import EncoderOutput, NarAsr


def posteriors(encoded: EncoderOutput) -> list[torch.Tensor]:
    """Cut a batch into the CTC posteriors of its utterances.

    Arguments
    ---------
    encoded : EncoderOutput
        Encoder output with ``log_probs`` [B, T, V] and ``lengths`` [B].

    Returns
    -------
    list of torch.Tensor
        Natural log-probabilities [T_b, V] of each utterance, no padding, on
        the CPU.
    """
    log_probs = encoded.log_probs.detach().cpu()
    return [
        row[:frames]
        for row, frames in zip(log_probs, encoded.lengths.tolist(), strict=True)
    ]


def take(encoded: EncoderOutput, rows: torch.Tensor) -> EncoderOutput:
    """Select utterances of a batch, in the order given; repeats allowed.

    Arguments
    ---------
    encoded : EncoderOutput
        Encoder output of B utterances.
    rows : torch.Tensor
        Their indices [R], at least one.

    Returns
    -------
    EncoderOutput
        Of R utterances, cut to the longest of them, without intermediate
        posteriors.
    """
    lengths = encoded.lengths[rows]
    frames = int(lengths.max())
    return replace(
        encoded,
        states=encoded.states[rows, :frames],
        lengths=lengths,
        log_probs=encoded.log_probs[rows, :frames],
        inter_log_probs=[],
    )


def decode_slots(
    model: NarAsr,
    encoded: EncoderOutput,
    tokens: torch.Tensor,
    token_lens: torch.Tensor,
    target_frames: torch.Tensor,
) -> torch.Tensor:
    """Run the NAR decoder and make sure of its output.

    Arguments
    ---------
    model : NarAsr
        The model whose decoder is asked.
    encoded : EncoderOutput
        Encoder output of B utterances.
    tokens : torch.Tensor
        Token or mask ids [B, U].
    token_lens : torch.Tensor
        Valid slots [B].
    target_frames : torch.Tensor
        Frame at which each slot's token is spoken [B, U]; see
        ``lobes.alignment.token_frames``.

    Returns
    -------
    torch.Tensor
        Natural log-probabilities [B, U, V]; what lies behind the valid slots
        is undefined.

    Raises
    ------
    UserError
        If a valid slot holds NaN.
    """
    log_probs = model.decode(encoded, tokens, token_lens, target_frames)
    slots = torch.arange(tokens.shape[1], device=tokens.device)
    valid = slots < token_lens[:, None]
    if torch.isnan(log_probs).any(dim=-1).logical_and(valid).any():
        raise UserError(
            "the decoder's probabilities hold NaN; the checkpoint's weights "
            "are damaged, so use an earlier one"
        )
    return log_probs
