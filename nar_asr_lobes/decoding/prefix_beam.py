"""CTC prefix beam search with a language model fused per token.

    log_probs [T, V] -> frames (pruned, blank runs merged) -> beam of prefixes
                     -> N-best hypotheses

A prefix g has two probabilities, of its paths that end in the blank and of
those that end in its last label, kept apart in log space (Hannun et al. 2014,
arXiv:1408.2873). Prefixes are ranked by

    S(g) = log p_ctc(g) + lm_weight * log p_LM(g) + token_bonus * |g|

and only at the end by the same plus the language model's sentence end.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nar_asr_lobes.decoding.hypotheses import (
    BeamOptions,
    Hypothesis,
    LanguageModel,
)
from nar_asr_lobes.decoding.validation import BLANK, as_log_probs
from nar_asr_lobes.errors import UserError

_IMPOSSIBLE = -math.inf


def prefix_beam_search(
    log_probs: Sequence[torch.Tensor | np.ndarray],
    options: BeamOptions,
    lm: LanguageModel | None = None,
) -> list[list[Hypothesis]]:
    """Search each utterance for its best token sequences.

    Arguments
    ---------
    log_probs : sequence of torch.Tensor or np.ndarray
        CTC natural log-probabilities [T, V] of each utterance, without
        padding; column 0 is the blank.
    options : BeamOptions
        Width, weights and pruning.
    lm : LanguageModel or None
        Language model over the same tokens; it must give log-probabilities
        <= 0, by which the search knows which extensions cannot survive.

    Returns
    -------
    list of list of Hypothesis
        For each utterance at most ``beam_size`` hypotheses, best first, at
        least one; an utterance of no frames has the empty one.

    Raises
    ------
    UserError
        If posteriors are not log-probabilities, or ``lm_weight`` is above 0
        without a language model.

    Example
    -------
    >>> frames = torch.tensor([[.6, .4], [.6, .4]]).log()
    >>> [best, *_] = prefix_beam_search([frames], BeamOptions())[0]
    >>> best.tokens, round(math.exp(best.ctc), 2)  # .4*.4 + 2*.6*.4
    ((1,), 0.64)
    """
    if options.lm_weight > 0 and lm is None:
        raise UserError(
            f"lm_weight is {options.lm_weight} but there is no language "
            "model; give one or set the weight to 0"
        )
    weighted = lm if options.lm_weight > 0 else None
    return [
        _Search(options, weighted).run(as_log_probs(values, f"utterance {i}"))
        for i, values in enumerate(log_probs)
    ]


@dataclass(frozen=True)
class _Frame:
    """One step of the search.

    ``blank`` is the log-probability of the blank (of the whole run, for a
    merged one), ``row`` all log-probabilities [V], ``candidates`` pairs of
    log-probability and token, best first. A merged run has no row.
    """

    blank: float
    row: np.ndarray | None = None
    candidates: tuple[tuple[float, int], ...] = ()


def _frames(log_probs: np.ndarray, options: BeamOptions) -> list[_Frame]:
    """Prune the labels of every frame and merge runs of sure blanks.

    A run is merged and never dropped: without its blank, ``a _ a`` would
    become a single ``a``.
    """
    blank = log_probs[:, BLANK]
    sure = np.zeros(len(blank), dtype=bool)
    if options.blank_threshold is not None:
        sure = blank > math.log(options.blank_threshold)
    candidates = iter(_candidates(log_probs[~sure], options))
    frames = []
    for row, is_sure, value in zip(
        log_probs, sure.tolist(), blank.tolist(), strict=True
    ):
        if not is_sure:
            frames.append(_Frame(value, row, next(candidates)))
        elif frames and frames[-1].row is None:
            frames[-1] = _Frame(frames[-1].blank + value)
        else:
            frames.append(_Frame(value))
    return frames


def _candidates(
    log_probs: np.ndarray, options: BeamOptions
) -> list[tuple[tuple[float, int], ...]]:
    """List the tokens that may extend a prefix at each frame, best first."""
    labels = log_probs[:, 1:]
    count = min(options.max_candidates or labels.shape[1], labels.shape[1])
    top = np.argpartition(-labels, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(labels, top, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    top = np.take_along_axis(top, order, axis=1) + 1
    values = np.take_along_axis(values, order, axis=1)
    floor = _IMPOSSIBLE
    if options.min_log_prob is not None:
        floor = options.min_log_prob
    kept = np.maximum((values > floor).sum(axis=1), 1)
    return [
        tuple(zip(row[:n], tokens[:n], strict=True))
        for row, tokens, n in zip(
            values.tolist(), top.tolist(), kept.tolist(), strict=True
        )
    ]


def _log_add(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b)) without overflow."""
    if a < b:
        a, b = b, a
    if b == _IMPOSSIBLE:
        return a
    return a + math.log1p(math.exp(b - a))


class _Prefix:
    """A node of the trie of prefixes; the language model is asked once each.

    ``blank`` and ``label`` are the log-probabilities of the paths ending in
    the blank and in the last label, ``total`` of both; they are valid while
    ``alive``, that is in the beam. ``offset`` is what the weighted language
    model and the token bonus add to the score.
    """

    __slots__ = (
        "alive",
        "blank",
        "children",
        "label",
        "length",
        "lm",
        "offset",
        "parent",
        "state",
        "token",
        "total",
    )

    def __init__(self, parent, token, length, state, lm, offset):
        self.parent = parent
        self.token = token
        self.length = length
        self.state = state
        self.lm = lm
        self.offset = offset
        self.children = {}
        self.alive = False

    def tokens(self) -> tuple[int, ...]:
        """Spell the prefix out."""
        tokens, prefix = [], self
        while prefix.parent is not None:
            tokens.append(prefix.token)
            prefix = prefix.parent
        return tuple(reversed(tokens))


class _Best:
    """The ``size`` best of the entries pushed; of equal ones the first."""

    def __init__(self, size: int):
        self.size = size
        self.heap = []
        self.pushed = 0
        self.bar = _IMPOSSIBLE  # a full heap takes only what lies above

    def push(self, score, prefix, blank, label) -> None:
        self.pushed += 1
        entry = (score, -self.pushed, prefix, blank, label)
        if len(self.heap) < self.size:
            heapq.heappush(self.heap, entry)
        elif score > self.bar:
            heapq.heapreplace(self.heap, entry)
        if len(self.heap) == self.size:
            self.bar = self.heap[0][0]

    def refuses(self, score: float) -> bool:
        """Whether an entry of at most this score would be turned away."""
        return len(self.heap) == self.size and score <= self.bar


class _Search:
    """The search of one utterance."""

    def __init__(self, options: BeamOptions, lm: LanguageModel | None):
        self.options = options
        self.lm = lm

    def run(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Return the N-best of posteriors [T, V]."""
        state = self.lm.start() if self.lm is not None else None
        root = _Prefix(None, None, 0, state, 0.0, 0.0)
        root.alive = True
        root.blank, root.label, root.total = 0.0, _IMPOSSIBLE, 0.0
        beam = [root]
        for frame in _frames(log_probs, self.options):
            if frame.row is None:
                _pass_blank(beam, frame.blank)
            else:
                beam = self._advance(beam, frame)
        found = [self._finish(prefix) for prefix in beam]
        # sort is stable: equal scores stay in the order of the beam
        return sorted(found, key=lambda hypothesis: -hypothesis.score)

    def _advance(self, beam: list[_Prefix], frame: _Frame) -> list[_Prefix]:
        """Take every prefix one frame on and keep the best."""
        best = _Best(self.options.beam_size)
        for prefix in beam:
            blank, label = _stay(prefix, frame)
            total = _log_add(blank, label)
            if total > _IMPOSSIBLE:
                best.push(total + prefix.offset, prefix, blank, label)
        for prefix in beam:
            self._extend(prefix, frame, best)
        for prefix in beam:
            prefix.alive = False
        kept = []
        for _, _, prefix, blank, label in sorted(best.heap, reverse=True):
            prefix.alive = True
            prefix.blank, prefix.label = blank, label
            prefix.total = _log_add(blank, label)
            kept.append(prefix)
        return kept

    def _extend(self, prefix: _Prefix, frame: _Frame, best: _Best) -> None:
        """Offer the prefix with each candidate token behind it."""
        bonus = self.options.token_bonus
        ceiling = prefix.total + prefix.offset + bonus
        for log_prob, token in frame.candidates:
            # the language model can only lower a score, and the candidates
            # that follow are less probable: none of them can survive
            if best.refuses(ceiling + log_prob):
                break
            # a label behind itself needs a blank in between
            same = token == prefix.token
            label = (prefix.blank if same else prefix.total) + log_prob
            if label == _IMPOSSIBLE:
                continue
            child = prefix.children.get(token)
            if child is None:
                child = self._child(prefix, token)
            # in the beam, it has received these paths where it stayed
            if not child.alive:
                best.push(label + child.offset, child, _IMPOSSIBLE, label)

    def _child(self, prefix: _Prefix, token: int) -> _Prefix:
        """Create a prefix: the one place that asks the language model."""
        lm, state = prefix.lm, None
        if self.lm is not None:
            log_prob, state = self.lm.score(prefix.state, token)
            lm += log_prob
        length = prefix.length + 1
        offset = self._offset(lm, length)
        child = _Prefix(prefix, token, length, state, lm, offset)
        prefix.children[token] = child
        return child

    def _offset(self, lm: float, length: int) -> float:
        """Weigh the language model and the length."""
        weighted = self.options.lm_weight * lm if self.lm is not None else 0.0
        return weighted + self.options.token_bonus * length

    def _finish(self, prefix: _Prefix) -> Hypothesis:
        """Add the sentence end."""
        lm = prefix.lm + (
            self.lm.final(prefix.state) if self.lm is not None else 0.0
        )
        return Hypothesis(
            tokens=prefix.tokens(),
            score=prefix.total + self._offset(lm, prefix.length),
            ctc=prefix.total,
            lm=lm,
            bonus=self.options.token_bonus * prefix.length,
        )


def _stay(prefix: _Prefix, frame: _Frame) -> tuple[float, float]:
    """Log-probabilities, one frame on, of a prefix that is in the beam.

    It gains nothing (blank, or its last label again), or its last label from
    its parent, if that is in the beam too.
    """
    blank = prefix.total + frame.blank
    parent = prefix.parent
    if parent is None:
        return blank, _IMPOSSIBLE
    label = prefix.label
    if parent.alive:
        same = parent.token == prefix.token
        label = _log_add(label, parent.blank if same else parent.total)
    return blank, label + frame.row.item(prefix.token)


def _pass_blank(beam: list[_Prefix], log_prob: float) -> None:
    """Take the beam through a run of sure blanks; its order stays."""
    for prefix in beam:
        prefix.blank = prefix.total = prefix.total + log_prob
        prefix.label = _IMPOSSIBLE
