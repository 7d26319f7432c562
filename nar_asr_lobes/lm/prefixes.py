"""The prefixes that a beam search asks a Transformer language model about.

    root <s> -> prefix -> prefix …    each one read once, in a batch with others

Every prefix has a row in a pool: its token's keys and values, the rows of the
tokens before it, and what it predicts. A prefix that survives a frame costs
nothing there, equal prefixes of several utterances share a row, and selecting
hypotheses copies row numbers, not keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from nar_asr_lobes.lobes.lm import BOUNDARY, Memory, TransformerLm

_ROWS = 64  # room at first; doubled when it is full


class PrefixPool:
    """Prefixes of one search, numbered in the order they were read.

    Arguments
    ---------
    model : TransformerLm
        In evaluation mode.
    """

    def __init__(self, model: TransformerLm):
        sizes, weight = model.sizes, model.embedding.weight
        shape = (sizes.layers, _ROWS, sizes.heads, model.head_dim)
        self._model = model
        self._keys = weight.new_zeros(shape)
        self._values = weight.new_zeros(shape)
        self._log_probs = weight.new_zeros(_ROWS, model.vocab_size)
        # Row i: rows of the prefix's tokens from <s> on, and their number.
        self._paths = torch.zeros(
            _ROWS, _ROWS, dtype=torch.long, device=weight.device
        )
        self._lengths = torch.zeros(
            _ROWS, dtype=torch.long, device=weight.device
        )
        self._rows: dict[tuple[int, int], int] = {}
        self._read([-1], [BOUNDARY])

    def __len__(self) -> int:
        """Count the prefixes read, <s> included."""
        return len(self._rows)

    def log_probs(self, rows: torch.Tensor) -> torch.Tensor:
        """Give what follows the prefixes [N]: log-probabilities [N, V]."""
        return self._log_probs[rows]

    def extend(self, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Give the rows of prefixes [N] with one more token [N] each."""
        wanted = list(zip(rows.tolist(), tokens.tolist(), strict=True))
        new = [pair for pair in dict.fromkeys(wanted) if pair not in self._rows]
        if new:
            self._read(*map(list, zip(*new, strict=True)))
        found = [self._rows[pair] for pair in wanted]
        return torch.tensor(found, device=self._lengths.device)

    @torch.inference_mode()
    def _read(self, parents: list[int], tokens: list[int]) -> None:
        """Read a token after each of some prefixes; -1 is before <s>."""
        device = self._lengths.device
        first, count = len(self._rows), len(tokens)
        rows = torch.arange(first, first + count, device=device)
        parent = torch.tensor(parents, device=device).clamp(min=0)
        lengths = self._lengths[parent]  # 0 while there is no <s> yet
        longest = int(lengths.max())
        self._make_room(first + count, longest + 1)
        paths = self._paths[parent]
        past = paths[:, :longest]
        log_probs, keys, values = self._model.step(
            torch.tensor(tokens, device=device),
            Memory(
                self._keys[:, past].transpose(2, 3),
                self._values[:, past].transpose(2, 3),
                lengths,
            ),
        )
        self._keys[:, rows], self._values[:, rows] = keys, values
        self._log_probs[rows] = log_probs
        self._paths[rows] = paths.scatter(1, lengths[:, None], rows[:, None])
        self._lengths[rows] = lengths + 1
        pairs = zip(parents, tokens, strict=True)
        self._rows.update(zip(pairs, rows.tolist(), strict=True))

    def _make_room(self, rows: int, length: int) -> None:
        """Double what is full."""
        while self._paths.shape[1] < length:
            self._paths = F.pad(self._paths, (0, self._paths.shape[1]))
        while len(self._lengths) < rows:
            more = len(self._lengths)
            self._keys = F.pad(self._keys, (0, 0, 0, 0, 0, more))
            self._values = F.pad(self._values, (0, 0, 0, 0, 0, more))
            self._log_probs = F.pad(self._log_probs, (0, 0, 0, more))
            self._paths = F.pad(self._paths, (0, 0, 0, more))
            self._lengths = F.pad(self._lengths, (0, more))


@dataclass(frozen=True)
class PrefixStates:
    """States of N hypotheses: values, to be selected by index.

    Arguments
    ---------
    pool : PrefixPool
        Of the search.
    rows : torch.Tensor
        The prefix of each hypothesis, shape [N].

    Example
    -------
    >>> from nar_asr_lobes.lm.neural import NeuralLM
    >>> from nar_asr_lobes.lobes.lm import LmSizes
    >>> lm = NeuralLM(TransformerLm(LmSizes(16, 2, 32, 1), vocab_size=4))
    >>> states = lm.start(2).extend(torch.tensor([1, 3]))
    >>> states = states[torch.tensor([1, 1, 0])]
    >>> states.log_probs().shape, len(states.pool)
    (torch.Size([3, 4]), 3)
    """

    pool: PrefixPool
    rows: torch.Tensor

    def __len__(self) -> int:
        """Count the hypotheses."""
        return len(self.rows)

    def __getitem__(self, index: torch.Tensor) -> PrefixStates:
        """Select hypotheses by their numbers [M], repeats allowed."""
        return PrefixStates(self.pool, self.rows[index])

    def log_probs(self) -> torch.Tensor:
        """Predict: natural log-probabilities [N, V], the end's in column 0."""
        return self.pool.log_probs(self.rows)

    def extend(self, tokens: torch.Tensor) -> PrefixStates:
        """Append a token [N] to each."""
        return PrefixStates(self.pool, self.pool.extend(self.rows, tokens))
