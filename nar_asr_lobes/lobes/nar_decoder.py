"""A standard Transformer decoder without a causal mask.

tokens or masks [B, U] -> embedding -> N x (self-attention over all positions,
cross-attention to the encoder, feed-forward) -> log-probs [B, U, V]

Trained as a conditional masked language model (Ghazvininejad et al.,
Mask-Predict, https://arxiv.org/abs/1904.09324; Higuchi et al., Mask CTC,
https://arxiv.org/abs/2005.08700): all tokens are predicted in parallel.
"""

from __future__ import annotations

import torch
from torch import nn

from nar_asr_lobes.lobes.alignment import even_frames
from nar_asr_lobes.lobes.attention import (
    Attention,
    ByteDropout,
    FeedForward,
    attention_mask,
    rotary_angles,
)
from nar_asr_lobes.lobes.lengths import valid_mask


class _DecoderLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward, all pre-norm."""

    repeated = True  # compiled as a unit

    def __init__(self, d_model: int, heads: int, ffn_dim: int, dropout: float):
        super().__init__()
        self.self_norm = nn.LayerNorm(d_model)
        self.self_attention = Attention(d_model, heads)
        self.cross_norm = nn.LayerNorm(d_model)
        self.cross_attention = Attention(d_model, heads)
        self.ffn_norm = nn.LayerNorm(d_model)
        self.ffn = FeedForward(d_model, ffn_dim)
        self.dropout = ByteDropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor,
        token_angles: torch.Tensor,
        frame_angles: torch.Tensor,
        token_mask: torch.Tensor,
        frame_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Update x [B, U, D] from the memory [B, T, D]."""
        y = self.self_norm(x)
        y = self.self_attention(y, y, token_angles, token_angles, token_mask)
        x = x + self.dropout(y)
        y = self.cross_norm(x)
        y = self.cross_attention(
            y, memory, token_angles, frame_angles, frame_mask
        )
        x = x + self.dropout(y)
        return x + self.dropout(self.ffn(self.ffn_norm(x)))


class NarDecoder(nn.Module):
    """Predict masked tokens from the other tokens and the encoder.

    Arguments
    ---------
    vocab_size : int
        V, with the blank at 0; the input has one more id, the mask V.
    layers, d_model, heads, ffn_dim : int
        Size of the stack.
    dropout : float
        Dropout on every residual branch.

    Example
    -------
    >>> decoder = NarDecoder(10, 1, 16, 2, 32)
    >>> tokens = torch.full((1, 4), decoder.mask_id)
    >>> out = decoder(
    ...     tokens, torch.tensor([4]), torch.randn(1, 9, 16), torch.tensor([9])
    ... )
    >>> out.shape, bool(out[..., 0].isneginf().all())
    (torch.Size([1, 4, 10]), True)
    """

    def __init__(
        self,
        vocab_size: int,
        layers: int,
        d_model: int,
        heads: int,
        ffn_dim: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.mask_id = vocab_size
        self.head_dim = d_model // heads
        self.embedding = nn.Embedding(vocab_size + 1, d_model)
        self.layers = nn.ModuleList(
            _DecoderLayer(d_model, heads, ffn_dim, dropout)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size)
        self.dropout = ByteDropout(dropout)

    def forward(
        self,
        tokens: torch.Tensor,
        token_lens: torch.Tensor,
        states: torch.Tensor,
        lengths: torch.Tensor,
        target_frames: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict every token.

        Arguments
        ---------
        tokens : torch.Tensor
            Tokens 1 .. V-1 or the mask V, shape [B, U].
        token_lens : torch.Tensor
            Valid tokens, shape [B].
        states : torch.Tensor
            Encoder states, shape [B, T, D].
        lengths : torch.Tensor
            Valid frames, shape [B].
        target_frames : torch.Tensor, optional
            Frame from which each token queries the encoder, shape [B, U];
            see ``token_frames``. Default: evenly spread.

        Returns
        -------
        torch.Tensor
            Log-probabilities, shape [B, U, V]; the blank's are -inf.
        """
        frames = torch.arange(states.shape[1], device=states.device)
        frame_angles = rotary_angles(frames[None].float(), self.head_dim)
        if target_frames is None:
            target_frames = even_frames(tokens.shape[1], token_lens, lengths)
        token_angles = rotary_angles(target_frames, self.head_dim)
        token_mask = attention_mask(valid_mask(token_lens, tokens.shape[1]))
        frame_mask = attention_mask(valid_mask(lengths, states.shape[1]))
        x = self.dropout(self.embedding(tokens))
        for layer in self.layers:
            x = layer(
                x, states, token_angles, frame_angles, token_mask, frame_mask
            )
        logits = self.output(self.norm(x)).float()
        log_probs = torch.log_softmax(logits[..., 1:], dim=-1)
        return nn.functional.pad(log_probs, (1, 0), value=float("-inf"))
