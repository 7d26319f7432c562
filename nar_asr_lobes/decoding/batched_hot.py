"""Hot words for the batched search, as part of its language model.

The batched search weighs one model; here that model gives the language
model's weighted log-probability and what the hot words gain, in one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nar_asr_lobes.decoding.hotwords.closings import NONE, Closings
from nar_asr_lobes.decoding.hotwords.tables import HotWords
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.lm.batched import BatchedLM, BatchedNgram


class HotWordsLM:
    """A ``BatchedLM`` of weight 1: hot words, and a weighted one if any.

    Arguments
    ---------
    hot_words : HotWords
        Their table is copied.
    lm : BatchedLM or None
        On the same device.
    lm_weight : float
        Its weight.
    device : str or torch.device
        Where they are looked up.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> hot = HotWords.build(["ab"], CharTokenizer("ab"), boost=2.0)
    >>> lm = HotWordsLM(hot, None, 0.0, "cpu")
    >>> scores, _ = lm.score(lm.start(1), torch.tensor([[1, 2]]))
    >>> scores.tolist()  # "a" begins the phrase, "b" does not
    [[2.0, 0.0]]
    """

    def __init__(
        self,
        hot_words: HotWords,
        lm: BatchedLM | None,
        lm_weight: float,
        device: str | torch.device,
    ):
        self._hot = BatchedNgram(hot_words.tables, device)
        self._boost, self._lm, self._weight = hot_words.boost, lm, lm_weight
        self._contexts = len(hot_words.tables.backoff)
        self._phrases, self._limit = len(hot_words.phrases), hot_words.limit
        self._closings = Closings(
            *(torch.tensor(v, device=device) for v in hot_words.closings)
        )
        self.size = self._hot.size

    def start(self, count: int) -> tuple[torch.Tensor, Any]:
        """Return the states at the start of a sentence."""
        lm = None if self._lm is None else self._lm.start(count)
        contexts = self._hot.start(count)
        times = contexts.new_zeros(count, self._phrases, dtype=torch.int32)
        return contexts, lm, times, times.new_zeros(count)

    def score(
        self, states: tuple, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, tuple]:
        """Return the weighted scores of candidates, and what is behind."""
        gains, contexts = self._hot.score(states[0], tokens)
        ends = self._closings.boundary[tokens]
        phrase = self._closings.phrase[states[0]].long()
        closed = torch.where(ends, phrase[:, None], NONE)
        back = torch.where(ends, self._taken_back(states)[:, None], 0)
        held = self._held_back(states[2], closed, contexts)
        gains = gains - back - (held - states[3][:, None])
        scores, after = self._boost * gains, None
        if self._lm is not None:
            log_probs, after = self._lm.score(states[1], tokens)
            scores = scores + self._weight * log_probs
        return scores, (contexts, after, closed, held)

    def select(
        self,
        states: tuple,
        after: tuple,
        rows: torch.Tensor,
        columns: torch.Tensor,
    ) -> tuple:
        """Return the states of a choice."""
        contexts, times = self._select_heard(states, after, rows, columns)
        held = after[3][rows, columns.clamp(min=0)]
        held = torch.where(columns < 0, states[3][rows], held)
        if self._lm is None:
            return contexts, None, times, held
        lm = self._lm.select(states[1], after[1], rows, columns)
        return contexts, lm, times, held

    def _select_heard(
        self,
        states: tuple,
        after: tuple,
        rows: torch.Tensor,
        columns: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the contexts of a choice, and how often each phrase ended."""
        contexts = self._hot.select(states[0], after[0], rows, columns)
        closed = after[2][rows, columns.clamp(min=0)]
        closed = torch.where(columns < 0, NONE, closed)[:, None]
        once = (closed != NONE).to(torch.int32)
        times = states[2][rows].scatter_add(1, closed.clamp(min=0), once)
        return contexts, times

    def _held_back(
        self, times: torch.Tensor, closed: torch.Tensor, contexts: torch.Tensor
    ) -> torch.Tensor:
        """What the last tokens have gained for phrases that may gain no more,
        [N, C]."""
        ahead = self._closings.ahead[contexts].long()  # [N, C, AHEAD]
        places = ahead.clamp(min=0).flatten(1)
        times = times.gather(1, places).view_as(ahead)
        times = times + (ahead == closed[:, :, None])
        may = (ahead != NONE) & (times < self._limit)
        kept = torch.where(may, self._closings.kept[contexts], 0).amax(-1)
        needed = torch.maximum(self._closings.rest[contexts], kept)
        return self._closings.pending[contexts] - needed

    def _taken_back(self, states: tuple) -> torch.Tensor:
        """What phrases had gained that end here and did so too often, [N]."""
        phrase = self._closings.phrase[states[0]].long()[:, None]
        times = states[2].gather(1, phrase.clamp(min=0))
        often = (phrase != NONE) & (times >= self._limit)
        return torch.where(often[:, 0], self._closings.tokens[states[0]], 0)

    def futures(
        self, states: tuple, after: tuple, *choice: Any
    ) -> torch.Tensor | None:
        """Return a number for each of a choice, equal for equal futures."""
        if self._lm is None:
            return None  # as in the search without hot words, none is merged
        lm = self._lm.futures(states[1], after[1], *choice)
        if lm is None:
            return None
        contexts, times = self._select_heard(states, after, *choice)
        gained = times.clamp(max=self._limit) * self._closings.code
        return lm * self._contexts + contexts + gained.sum(1)

    def final(self, states: tuple) -> torch.Tensor:
        """Return the weighted score of the sentence's end."""
        gains = self._hot.final(states[0]) - self._taken_back(states)
        gains = gains + states[3]
        gains = self._boost * gains
        if self._lm is None:
            return gains
        return gains + self._weight * self._lm.final(states[1])


def split_gains(
    nbest: Sequence[Hypothesis], hot_words: HotWords, lm_weight: float
) -> list[Hypothesis]:
    """Take the score of a ``HotWordsLM`` apart.

    Arguments
    ---------
    nbest : sequence of Hypothesis
        With that score in ``lm``.
    hot_words : HotWords
    lm_weight : float
        Weight of the language model within.

    Returns
    -------
    list of Hypothesis
        With ``lm`` and ``hot`` as in every other search.
    """
    found = []
    for hypothesis in nbest:
        hot = hot_words.gain(hypothesis.tokens)
        lm = (hypothesis.lm - hot) / lm_weight if lm_weight > 0 else 0.0
        found.append(hypothesis._replace(lm=lm, hot=hot))
    return found
