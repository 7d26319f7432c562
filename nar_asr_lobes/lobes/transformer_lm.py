"""A causal pre-norm Transformer language model over tokens.

<s> + tokens [B, U] -> embedding -> N x (causal self-attention, feed-forward)
                    -> LayerNorm -> linear -> log-probs [B, U + 1, V]

Id 0, the blank's, is not a token: it marks the sentence's start in the input
and its end in the output. Attention is causal, so that padding reaches no valid
position and a sentence's score does not depend on its batch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional as F

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.attention import (
    Attention,
    ByteDropout,
    FeedForward,
    rotary_angles,
    rotate,
    scaled_attention,
)
from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.schema import Checked, count, number, parse

BOUNDARY = 0  # <s> as input, </s> as output


@dataclass(frozen=True)
class LmSizes(Checked):
    """The sizes of a Transformer language model, plain numbers.

    Arguments
    ---------
    d_model, heads, ffn_dim : int
        Width, attention heads and feed-forward width of all layers.
    layers : int
        Depth.
    dropout : float
        On the embeddings and every residual branch.

    Example
    -------
    >>> LmSizes.from_dict({"d_model": 64, "heads": 2}).layers
    6
    >>> LmSizes.from_dict({"width": 64})
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: model: unknown key 'width'; known keys are \
d_model, heads, ffn_dim, layers, dropout
    """

    d_model: int = count(384, least=1)
    heads: int = count(6, least=1)
    ffn_dim: int = count(1536, least=1)
    layers: int = count(6, least=1)
    dropout: float = number(0.1, least=0.0, below=1.0)

    def __post_init__(self):
        """Refuse sizes that do not fit together."""
        super().__post_init__()
        if self.d_model % (2 * self.heads):
            raise UserError(
                f"model: d_model {self.d_model} does not split into "
                f"{self.heads} even heads; make it a multiple of "
                f"{2 * self.heads}"
            )

    @classmethod
    def from_dict(cls, values: dict) -> LmSizes:
        """Make sizes; refuse keys that are unknown."""
        return parse(cls, values, "model")

    def to_dict(self) -> dict:
        """Return the sizes as a plain dictionary."""
        return asdict(self)


class _CausalAttention(Attention):
    """Causal self-attention."""

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        """Attend from x [B, N, D] to itself, at the angles of its positions."""
        key, value = self.key_value(x).chunk(2, dim=-1)
        key, value = rotate(self._split(key), angles), self._split(value)
        query = rotate(self._split(self.query(x)), angles)
        out = scaled_attention(query, key, value, None, causal=True)
        return self.output(out.transpose(1, 2).flatten(2))


class _CausalLayer(nn.Module):
    """Causal self-attention and feed-forward, both pre-norm."""

    repeated = True  # compiled as a unit

    def __init__(self, sizes: LmSizes):
        super().__init__()
        self.attention_norm = nn.LayerNorm(sizes.d_model)
        self.attention = _CausalAttention(sizes.d_model, sizes.heads)
        self.ffn_norm = nn.LayerNorm(sizes.d_model)
        self.ffn = FeedForward(sizes.d_model, sizes.ffn_dim)
        self.dropout = ByteDropout(sizes.dropout)

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        """Update x [B, N, D]; arguments as in ``_CausalAttention``."""
        x = x + self.dropout(self.attention(self.attention_norm(x), angles))
        return x + self.dropout(self.ffn(self.ffn_norm(x)))


class TransformerLm(nn.Module):
    """Predict each token of a sentence from those before it, and its end.

    Arguments
    ---------
    sizes : LmSizes
        Sizes of the stack.
    vocab_size : int
        V, the tokenizer's size with the blank.

    Example
    -------
    >>> model = TransformerLm(LmSizes(16, 2, 32, 1), vocab_size=5)
    >>> tokens = torch.tensor([[1, 4, 2], [3, 0, 0]])
    >>> lens = torch.tensor([3, 1])
    >>> model(tokens, lens).shape, model.log_probs(tokens, lens).shape
    (torch.Size([2, 4]), torch.Size([2, 4, 5]))
    """

    def __init__(self, sizes: LmSizes, vocab_size: int):
        super().__init__()
        self.sizes, self.vocab_size = sizes, vocab_size
        self.head_dim = sizes.d_model // sizes.heads
        self.embedding = nn.Embedding(vocab_size, sizes.d_model)
        self.layers = nn.ModuleList(
            _CausalLayer(sizes) for _ in range(sizes.layers)
        )
        self.norm = nn.LayerNorm(sizes.d_model)
        self.output = nn.Linear(sizes.d_model, vocab_size)
        self.dropout = ByteDropout(sizes.dropout)

    def forward(
        self, tokens: torch.Tensor, token_lens: torch.Tensor
    ) -> torch.Tensor:
        """Score sentences token by token.

        Arguments
        ---------
        tokens : torch.Tensor
            Tokens 1 .. V-1 padded with 0, shape [B, U].
        token_lens : torch.Tensor
            Valid tokens, shape [B].

        Returns
        -------
        torch.Tensor
            Natural log-probability of each token, then of the end, then 0;
            shape [B, U + 1].
        """
        targets = F.pad(tokens, (0, 1), value=BOUNDARY)
        scores = -F.cross_entropy(
            self._logits(tokens).flatten(0, 1),
            targets.flatten(),
            reduction="none",
        ).view_as(targets)
        return scores * valid_mask(token_lens + 1, targets.shape[1])

    def log_probs(
        self, tokens: torch.Tensor, token_lens: torch.Tensor
    ) -> torch.Tensor:
        """Predict every position of sentences.

        Arguments
        ---------
        tokens, token_lens : torch.Tensor
            As in ``forward``.

        Returns
        -------
        torch.Tensor
            Natural log-probabilities, shape [B, U + 1, V]; column 0 is the
            sentence's end, and behind a sentence's end all are 0.
        """
        log_probs = self._logits(tokens).log_softmax(dim=-1)
        valid = valid_mask(token_lens + 1, log_probs.shape[1])
        return log_probs * valid[..., None]

    def _logits(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = F.pad(tokens, (1, 0), value=BOUNDARY)
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        angles = rotary_angles(positions[None].float(), self.head_dim)
        x = self.dropout(self.embedding(tokens))
        for layer in self.layers:
            x = layer(x, angles)
        return self.output(self.norm(x)).float()
