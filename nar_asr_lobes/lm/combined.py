"""Several language models as one, for a batched search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.batched import BatchedLM


class CombinedLM:
    """A weighted sum of log-probabilities, itself a ``BatchedLM``.

    Not a distribution: nothing makes the sum over the tokens one.

    Arguments
    ---------
    weights : sequence of float
        Of each model; below 0 what it says is taken off.
    models : sequence of BatchedLM
        At least one, on one device.

    Raises
    ------
    UserError
        If they have different numbers of pieces.

    Example
    -------
    >>> import numpy as np
    >>> from nar_asr_lobes.lm.batched import BatchedNgram
    >>> from nar_asr_lobes.lm.ngram.tables import NgramTables
    >>> arrays = [-1., -2.], [0, 0], [0.], [0], [-3.], [0, 0], [], [], [], [0]
    >>> one = BatchedNgram(NgramTables(*map(np.array, arrays)))
    >>> lm = CombinedLM([1.0, -0.25], [one, one])
    >>> lm.score(lm.start(1), torch.tensor([[1]]))[0].tolist()
    [[-1.5]]
    """

    def __init__(self, weights: Sequence[float], models: Sequence[BatchedLM]):
        sizes = [model.size for model in models]
        if len(set(sizes)) > 1:
            raise UserError(
                f"language models of {' and '.join(map(str, sizes))} pieces "
                "cannot be added; use models of one tokenizer"
            )
        self.size = sizes[0]
        self._parts = list(zip(weights, models, strict=True))

    def start(self, count: int) -> tuple:
        """Return the states of ``count`` hypotheses, a tuple of all models'."""
        return tuple(model.start(count) for _, model in self._parts)

    def score(self, states: tuple, tokens: torch.Tensor) -> tuple[Any, tuple]:
        """Add what the models predict, see ``BatchedLM``; float64 [N, C]."""
        total, after = 0.0, []
        for (weight, model), state in zip(self._parts, states, strict=True):
            log_probs, new = model.score(state, tokens)
            total = total + weight * log_probs
            after.append(new)
        return total, tuple(after)

    def select(
        self,
        states: tuple,
        after: tuple,
        rows: torch.Tensor,
        columns: torch.Tensor,
    ) -> tuple:
        """Return the states of a choice, see ``BatchedLM``."""
        return tuple(
            model.select(state, new, rows, columns)
            for (_, model), state, new in zip(
                self._parts, states, after, strict=True
            )
        )

    def futures(self, *choice: Any) -> None:
        """Say that equal futures are not known, see ``BatchedLM``."""

    def final(self, states: tuple) -> torch.Tensor:
        """Add the sentence ends' log-probabilities, float64 [N]."""
        return sum(
            weight * model.final(state)
            for (weight, model), state in zip(self._parts, states, strict=True)
        )
