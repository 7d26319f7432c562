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

from nar_asr_lobes.lobes.transformer_lm import BOUNDARY, Memory, TransformerLm

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
        self._model = model
        self._store = weight.new_zeros(
            sizes.layers, _ROWS, 2, sizes.heads, model.head_dim
        )
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

    @property
    def root(self) -> torch.Tensor:
        """The row of <s>, shape [1]."""
        return torch.zeros(1, dtype=torch.long, device=self._lengths.device)

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
        first, end = len(self._rows), len(self._rows) + len(tokens)
        rows = torch.arange(first, end, device=device)
        parent = torch.tensor(parents, device=device).clamp(min=0)
        lengths = self._lengths[parent]  # 0 while there is no <s> yet
        longest = int(lengths.max())
        self._make_room(end, longest + 1)
        paths = self._paths[parent]
        paths = paths.scatter_(1, lengths[:, None], rows[:, None])
        new = slice(first, end)
        self._paths[new], self._lengths[new] = paths, lengths + 1
        self._log_probs[new] = self._model.step(
            torch.tensor(tokens, device=device),
            Memory(self._store, new, paths[:, : longest + 1], lengths),
        )
        pairs = zip(parents, tokens, strict=True)
        self._rows.update(zip(pairs, rows.tolist(), strict=True))

    def _make_room(self, rows: int, length: int) -> None:
        """Double what is full."""
        while self._paths.shape[1] < length:
            self._paths = F.pad(self._paths, (0, self._paths.shape[1]))
        while len(self._lengths) < rows:
            more = len(self._lengths)
            self._store = F.pad(self._store, (0, 0, 0, 0, 0, 0, 0, more))
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
    >>> from nar_asr_lobes.lobes.transformer_lm import LmSizes
    >>> pool = PrefixPool(TransformerLm(LmSizes(16, 2, 32, 1), 4).eval())
    >>> states = PrefixStates(pool, pool.root).extend(torch.tensor([3]))
    >>> states.log_probs().shape, len(pool)
    (torch.Size([1, 4]), 2)
    """

    pool: PrefixPool
    rows: torch.Tensor

    def __len__(self) -> int:
        """Count the hypotheses."""
        return len(self.rows)

    def log_probs(self) -> torch.Tensor:
        """Predict: natural log-probabilities [N, V], the end's in column 0."""
        return self.pool.log_probs(self.rows)

    def extend(self, tokens: torch.Tensor) -> PrefixStates:
        """Append a token [N] to each."""
        return PrefixStates(self.pool, self.pool.extend(self.rows, tokens))


class BatchedNeural:
    """A Transformer language model as a batched search asks for it.

    It is a ``BatchedLM``: a search scores all candidates, chooses, and only
    what it chose is read by the model. Two prefixes never have one future.
    What was read is kept, for further searches of the same utterances.

    Arguments
    ---------
    model : TransformerLm
        In evaluation mode; all tensors are on its device.

    Example
    -------
    >>> from nar_asr_lobes.lobes.transformer_lm import LmSizes
    >>> lm = BatchedNeural(TransformerLm(LmSizes(16, 2, 32, 1), 4).eval())
    >>> states, tokens = lm.start(2), torch.tensor([[1, 3], [2, 3]])
    >>> log_probs, after = lm.score(states, tokens)
    >>> choice = torch.tensor([0, 0, 1]), torch.tensor([1, -1, 0])
    >>> len(lm.select(states, after, *choice)), log_probs.shape
    (3, torch.Size([2, 2]))
    """

    def __init__(self, model: TransformerLm):
        self._pool = PrefixPool(model)
        self.size = model.vocab_size

    def start(self, count: int) -> PrefixStates:
        """Return the states of ``count`` hypotheses without tokens."""
        return PrefixStates(self._pool, self._pool.root.expand(count))

    def score(
        self, states: PrefixStates, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the candidates of each hypothesis.

        Arguments
        ---------
        states : PrefixStates
            Of N hypotheses.
        tokens : torch.Tensor
            int64 [N, C], each in 1..V-1.

        Returns
        -------
        tuple
            Natural log-probabilities, float64 [N, C], and the tokens, which
            are all that ``select`` needs.
        """
        return states.log_probs().gather(1, tokens).double(), tokens

    def select(
        self,
        states: PrefixStates,
        after: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
    ) -> PrefixStates:
        """Return the states [M] of hypotheses with their chosen candidates.

        Arguments
        ---------
        states : PrefixStates
            Of N hypotheses.
        after : torch.Tensor
            From ``score``.
        rows, columns : torch.Tensor
            int64 [M]: hypothesis and candidate; -1 for no candidate.
        """
        chosen = states.rows[rows]
        grown = (columns >= 0).nonzero().squeeze(1)
        if len(grown):
            tokens = after[rows[grown], columns[grown]]
            longer = states.pool.extend(chosen[grown], tokens)
            chosen = chosen.index_copy(0, grown, longer)
        return PrefixStates(states.pool, chosen)

    def futures(
        self,
        states: PrefixStates,
        after: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
    ) -> None:
        """Say that no two choices have equal futures."""

    def final(self, states: PrefixStates) -> torch.Tensor:
        """Return the sentence end's natural log-probability, float64 [N]."""
        return states.log_probs()[:, BOUNDARY].double()
