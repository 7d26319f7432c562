"""Language models for many hypotheses at a time, on any device.

    states [N], tokens [N, C] -> score  -> log_probs [N, C], after
    states, after, choice [M] -> select -> states [M]

N: hypotheses, C: candidate tokens of each, M: hypotheses chosen from what can
become of the N. A search scores all candidates first, and only then has the
states made of the few that it keeps: an n-gram's next states fall out of the
look-up, a neural model computes no more than these.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from nar_asr_lobes.lm.ngram.tables import NgramTables


class BatchedLM(Protocol):
    """What a batched search asks of a language model over V pieces.

    ``BatchedNgram`` is one. States are what the model makes of them: the
    search only hands them back. No method changes them. All tensors are on
    one device, and their shapes depend on those of the arguments alone.

    A choice is a pair of int64 tensors [M], rows and columns: the state of
    hypothesis ``row`` behind its candidate ``column``, or as it is where the
    column is -1.
    """

    size: int  # V, with the blank

    def start(self, count: int) -> Any:
        """Return the states of ``count`` hypotheses without tokens."""

    def score(
        self, states: Any, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, Any]:
        """Return finite natural log-probabilities of int64 [N, C] tokens.

        Besides them, whatever ``select`` and ``futures`` need of the look-up.
        """

    def select(
        self, states: Any, after: Any, rows: torch.Tensor, columns: torch.Tensor
    ) -> Any:
        """Return the states [M] of a choice."""

    def futures(
        self, states: Any, after: Any, rows: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor | None:
        """Return a number for each of a choice, equal for equal futures.

        int64 [M]. None: the model does not know, or no two are ever equal.
        """

    def final(self, states: Any) -> torch.Tensor:
        """Return natural log-probabilities [N] of the sentence's end."""


class BatchedNgram:
    """The tables of an n-gram, looked up without a branch.

    Each look-up tries all contexts from the longest to the empty one at once
    and takes the first that has the token. That is one binary search over
    (state, token) for all of them, whatever the order of the model. Where
    tokens have a chain of their own, there are two lists of contexts to
    choose from.

    Arguments
    ---------
    tables : NgramTables
        The model; copied.
    device : str or torch.device
        Where it is looked up.

    Example
    -------
    >>> arrays = [-1., -2.], [0, 0], [0.], [0], [-3.], [0, 0], [], [], [], [0]
    >>> lm = BatchedNgram(NgramTables(*map(np.array, arrays)))
    >>> log_probs, after = lm.score(lm.start(1), torch.tensor([[1, 1]]))
    >>> log_probs.tolist(), after.tolist()
    ([[-2.0, -2.0]], [[0, 0]])
    """

    def __init__(self, tables: NgramTables, device: str | torch.device = "cpu"):
        def place(values, dtype):
            return torch.tensor(values, dtype=dtype, device=device)

        self.size = len(tables.unigram_log_prob)
        arcs = np.diff(tables.arc_begin)
        owners = np.repeat(np.arange(len(arcs)), arcs)
        # the unigrams become the arcs of state 0, so that all have one form;
        # sorted by state and token, as the tables are
        keys = owners * self.size + tables.arc_token
        keys = np.concatenate([np.arange(self.size), keys])
        log_prob = [tables.unigram_log_prob, tables.arc_log_prob]
        state = [tables.unigram_state, tables.arc_state]
        self._keys = place(keys, torch.int64)
        self._log_prob = place(np.concatenate(log_prob), torch.float32)
        self._state = place(np.concatenate(state), torch.int32)
        states = len(tables.final)
        chains = range(0, len(tables.backoff), states)
        self._chains = torch.tensor(chains, device=device)
        self._backoff = place(tables.backoff, torch.float32)
        self._shorter = place(tables.backoff_state, torch.int32)
        self._chain = place(tables.chain // states, torch.int64)
        self._final = place(tables.final, torch.float32)
        self._levels = torch.arange(_depth(tables), device=device)
        self._start = int(tables.start[0])

    def start(self, count: int) -> torch.Tensor:
        """Return the state at the start of a sentence, int64 [count]."""
        return torch.full((count,), self._start, device=self._keys.device)

    def score(
        self, states: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the candidates of each hypothesis.

        Arguments
        ---------
        states : torch.Tensor
            int64 [N].
        tokens : torch.Tensor
            int64 [N, C], each in 1..V-1.

        Returns
        -------
        tuple
            Natural log-probabilities, float64 [N, C], and the states behind
            the tokens, int64 [N, C].
        """
        contexts, weights = self._backoffs(states, tokens)  # [N, 1 or C, D]
        keys = contexts * self.size + tokens[:, :, None]  # [N, C, D]
        arcs = torch.searchsorted(self._keys, keys)
        arcs = arcs.clamp(max=len(self._keys) - 1)
        # the last context is the empty one, which has all tokens
        last = len(self._levels) - 1
        found = torch.where(self._keys[arcs] == keys, self._levels, last)
        level = found.amin(-1)
        arc = arcs.gather(-1, level[:, :, None])[:, :, 0]
        weights = weights.expand(*tokens.shape, -1)
        weight = weights.gather(-1, level[:, :, None])[:, :, 0]
        return (
            self._log_prob[arc] + weight,
            self._state[arc].long(),
        )

    def select(
        self,
        states: torch.Tensor,
        after: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
    ) -> torch.Tensor:
        """Return the states of a choice, see ``BatchedLM``; int64 [M]."""
        grown = after[rows, columns.clamp(min=0)]
        return torch.where(columns < 0, states[rows], grown)

    # a state is a number, and all that the future depends on
    futures = select

    def final(self, states: torch.Tensor) -> torch.Tensor:
        """Return the sentence end's natural log-probability, float64 [N]."""
        return self._final[states].double()

    def _backoffs(
        self, states: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """List the contexts of each state, longest first, and their weights.

        [N, 1, D], or for each token if there are two chains, [N, C, D].
        """
        states = states[:, None].expand(-1, len(self._chains))
        contexts = [states]
        weights = [torch.zeros_like(states, dtype=torch.float64)]
        for _ in range(len(self._levels) - 1):
            place = self._chains + contexts[-1]
            weights.append(weights[-1] + self._backoff[place])
            contexts.append(self._shorter[place].long())
        lists = torch.stack(contexts, -1), torch.stack(weights, -1)
        if len(self._chains) == 1:
            return lists
        rows = torch.arange(len(states), device=states.device)[:, None]
        chain = self._chain[tokens]
        return lists[0][rows, chain], lists[1][rows, chain]


def _depth(tables: NgramTables) -> int:
    """Return the number of contexts in the longest back-off chain."""
    longest = 1
    for shorter in tables.backoff_state.reshape(-1, len(tables.final)):
        depth, states = 1, np.arange(len(shorter))
        while states.any():
            depth, states = depth + 1, shorter[states]
        longest = max(longest, depth)
    return longest
