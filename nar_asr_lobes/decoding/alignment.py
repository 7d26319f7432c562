"""Times of tokens and words, from the best CTC path through given tokens.

log_probs [T, V] + tokens [U] -> token spans [U] in frames
    -> words with times and confidences
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from nar_asr_lobes.dataio.text.normalization import (
    is_spaceless,
    may_break,
    text_width,
)
from nar_asr_lobes.dataio.text.pieces import SPACE, Tokenizer
from nar_asr_lobes.decoding.encoded import BLANK, as_log_probs
from nar_asr_lobes.decoding.hypotheses import Hypothesis
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.alignment import best_states

# No word of a language with spaces is longer, in columns and in seconds.
_MAX_WIDTH = 42
_MAX_SECONDS = 7.0
_FLOOR = np.float32(-1e4)


@dataclass(frozen=True)
class TokenSpan:
    """The frames start:end of one token."""

    token: int
    start: int
    end: int
    log_prob: float  # the token's highest in these frames


@dataclass(frozen=True)
class Word:
    """One word with its time and the CTC layer's confidence.

    In scripts without spaces (Chinese, Japanese, Thai, …) it is a character or
    a token of a few.

    Arguments
    ---------
    text : str
        The word.
    start, end : float
        Seconds from the start of the utterance.
    confidence : float
        From 0 to 1: the geometric mean over the word's tokens of the highest
        CTC probability that each has in its frames. It orders words by how
        likely they are right; it is not the share that is.
    space_before : bool
        Whether a space stands between the word before and this one.
    """

    text: str
    start: float
    end: float
    confidence: float
    space_before: bool = True


def align(log_probs: torch.Tensor, tokens: Sequence[int]) -> list[TokenSpan]:
    """Find each token's frames on the most probable CTC path.

    ``log_probs`` [T, V] of one utterance without padding; ``tokens`` [U], no
    blanks. Raises UserError if the tokens do not fit into T frames.

    Example
    -------
    >>> frames = torch.tensor([[.1, .9], [.8, .2], [.4, .6], [.3, .7]]).log()
    >>> [(span.start, span.end) for span in align(frames, [1, 1])]
    [(0, 1), (2, 4)]
    """
    values = as_log_probs(log_probs)
    if not tokens:
        return []
    repeats = sum(a == b for a, b in zip(tokens, tokens[1:], strict=False))
    if len(tokens) + repeats > len(values):
        raise UserError(
            f"{len(tokens)} tokens with {repeats} repeats cannot be aligned "
            f"to {len(values)} frames; CTC needs a frame for each token and "
            "one between equal neighbours"
        )
    # the best path of all is the best through its own tokens
    path = values.argmax(axis=1)
    runs = [token for token, _ in groupby(path.tolist()) if token != BLANK]
    if runs != list(tokens):
        path = best_path(values, tokens)
    spans, end = [], 0
    for token, run in groupby(path.tolist()):
        start, end = end, end + len(list(run))
        if token != BLANK:
            peak = float(values[start:end, token].max())
            spans.append(TokenSpan(token, start, end, peak))
    return spans


def hypothesis_spans(
    log_probs: torch.Tensor, best: Hypothesis
) -> list[TokenSpan]:
    """Find the frames of each token, for results of the NAR decoder as well.

    The decoder can put equal tokens on neighbouring frames, for which CTC has
    no path (its score is then -inf): they are aligned as one and share its
    frames.

    Example
    -------
    >>> frames = torch.tensor([[.1, .9], [.8, .2], [.4, .6]]).log()
    >>> best = Hypothesis((1, 1), score=-1.0, ctc=-math.inf)
    >>> [span.start for span in hypothesis_spans(frames, best)]
    [0, 0]
    """
    if math.isfinite(best.ctc):
        return align(log_probs, best.tokens)
    runs = [(token, len(list(run))) for token, run in groupby(best.tokens)]
    spans = align(log_probs, [token for token, _ in runs])
    return [
        span
        for span, (_, count) in zip(spans, runs, strict=True)
        for _ in range(count)
    ]


def best_path(values: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
    """Find the labels [T] of the best path through given tokens."""
    labels = np.zeros((1, 2 * len(tokens) + 1), dtype=np.int64)
    labels[0, 1::2] = tokens
    emissions = values[:, labels[0]].astype(np.float32)  # [T, 2 U + 1]
    emissions = np.maximum(emissions, _FLOOR)[None]  # some path always exists
    sizes = np.array([len(values)]), np.array([len(tokens)])
    (states,), _ = best_states(emissions, sizes[0], labels, sizes[1])
    return labels[0, states]


def word_times(
    spans: Sequence[TokenSpan], tokenizer: Tokenizer, frame_seconds: float
) -> list[Word]:
    """Join the spans of tokens to words.

    A space's own frames belong to no word. Without spaces, tokens are words.
    """
    groups = []
    for span in spans:
        piece = tokenizer.pieces[span.token]
        if piece.startswith(SPACE) or not groups:
            groups.append([])
        if piece != SPACE:
            groups[-1].append(span)
    return [
        Word(
            tokenizer.decode(span.token for span in part),
            part[0].start * frame_seconds,
            part[-1].end * frame_seconds,
            _confidence(part),
            space_before=part[0] is group[0],
        )
        for group in groups
        if group
        for part in _parts(group, tokenizer, frame_seconds)
    ]


def _parts(
    spans: list[TokenSpan], tokenizer: Tokenizer, frame_seconds: float
) -> Iterator[list[TokenSpan]]:
    """Cut the tokens between two spaces where there should be more spaces."""
    texts = [tokenizer.pieces[span.token].lstrip(SPACE) for span in spans]
    seconds = (spans[-1].end - spans[0].start) * frame_seconds
    long = text_width("".join(texts)) > _MAX_WIDTH or seconds > _MAX_SECONDS
    begin = 0
    for i in range(1, len(spans)):
        before, after = texts[i - 1][-1], texts[i][0]
        apart = long or is_spaceless(before) or is_spaceless(after)
        if apart and may_break(before, after):
            yield spans[begin:i]
            begin = i
    yield spans[begin:]


def _confidence(spans: Sequence[TokenSpan]) -> float:
    """Average over a word's tokens; see ``Word``."""
    mean = sum(span.log_prob for span in spans) / len(spans)
    return math.exp(min(mean, 0.0))  # rounding may leave it above
