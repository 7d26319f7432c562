"""A long recording and its running transcript -> the frames of each sentence.

    log_probs [T, V] + sentences, each a list of tokens
        -> windows of frames, and the sentences that may be spoken in them
        -> the best path through sentences and gaps -> a placement for each

A path is scored relative to the best token of each frame, so that 0 is as good
as the model can say. Between two sentences is a gap: silence costs nothing,
speech that is not in the text costs at most ``_FILLER`` a frame. Inside a
sentence the path is that of CTC; each of its frames costs ``_INSIDE``, each of
its tokens earns ``_TOKEN``. So a sentence that the model hears badly still
takes the audio between its neighbours, and one that was not spoken, for which
there is no audio, is skipped.

The search remembers for each frame and gap where the sentence that ends there
began, not the path inside it, and windows bound both: memory does not depend
on the length of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nar_asr_lobes.decoding.alignment import best_path
from nar_asr_lobes.decoding.encoded import BLANK
from nar_asr_lobes.jit import jit_entry

# In nats. _INSIDE keeps a sentence's words together: one of them could be heard
# in speech that is not in the text, a second away.
_FILLER, _INSIDE, _TOKEN = 6.0, 0.4, 3.0

# Frames searched at once, and the share of them that is final: the rest is
# searched again with more behind it. 30,000 frames are 20 minutes. Fewer where
# sentences are short, so that frames times sentences take 120 MB.
_WINDOW = 30_000
_FINAL = 2 / 3
_CELLS = 30_000_000
# Tokens of text searched at once, at first and where nothing fits.
_TEXT, _MOST_TEXT = 20_000, 80_000
# Where less than this is left of what a token earns, it is another text.
_FITS = 1.5
_SCORED = 25  # frames that a score is the mean of: a second
_NEG = np.float32(-1e30)


@dataclass(frozen=True)
class Placement:
    """The frames start:end of a sentence.

    Arguments
    ---------
    sentence : int
        Its index.
    start, end : int
        From the first frame of its first token to behind the last of its last.
    score : float
        0 where the model says just this text. The lowest mean, over a second,
        of the path's log-probability minus that of the best token, as in
        CTC-segmentation (Kürzinger et al., 2020): one wrong word lowers it.
    """

    sentence: int
    start: int
    end: int
    score: float


def place_sentences(
    log_probs: np.ndarray,
    sentences: Sequence[Sequence[int]],
    space: int | None = None,
    window: int = _WINDOW,
) -> Iterator[Placement]:
    """Find sentences in a recording; those that were not spoken are left out.

    Arguments
    ---------
    log_probs : numpy.ndarray
        CTC log-probabilities [T, V] of any float type, perhaps on disk.
    sentences : sequence of sequence of int
        The tokens of each, at least one, in the order of the recording.
    space : int, optional
        The token of a space, which may stand between sentences.
    window : int
        Most frames searched at once.

    Yields
    ------
    Placement
        In order; their frames do not overlap.

    Example
    -------
    >>> said = [1, 0, 2, 0, 0, 3, 3, 0, 2, 0, 1]  # 1 2, then 3 2 1
    >>> log_probs = np.log(np.eye(4)[said] * 0.96 + 0.01)
    >>> for found in place_sentences(log_probs, [[1, 2], [2] * 5, [3, 2, 1]]):
    ...     print(found.sentence, found.start, found.end)
    0 0 3
    2 5 11
    """
    frame, first, text = 0, 0, _TEXT
    total = len(log_probs)
    while frame < total and first < len(sentences):
        part = sentences[first : _text_end(sentences, first, text)]
        size = min(window, _CELLS // len(part))
        stop = min(frame + size, total)
        final = total if stop == total else frame + int(size * _FINAL)
        values = _relative(log_probs[frame:stop])
        path, gain = _search(values, part, space)
        placed = [found for found in path if frame + found[2] <= final]
        fits = placed and gain >= _FITS
        more = first + len(part) < len(sentences)
        if not fits and more and text < _MOST_TEXT:
            text *= 2  # more text was not spoken, perhaps
            continue
        if fits:
            for k, start, end in placed:
                score = _score(values[start:end], part[k])
                yield Placement(first + k, frame + start, frame + end, score)
            first, text = first + placed[-1][0] + 1, _TEXT
            frame += placed[-1][2]
        else:  # a sentence that is not final is searched again from its start
            start = path[0][1] if path and not placed else 0
            frame = min(final, frame + start) if start else final


def _relative(log_probs: np.ndarray) -> np.ndarray:
    values = np.maximum(log_probs.astype(np.float32), _NEG)
    return values - values.max(axis=1, keepdims=True)


def _text_end(sentences: Sequence[Sequence[int]], first: int, text: int) -> int:
    """Index behind the last sentence of so many tokens."""
    for end in range(first, len(sentences)):
        text -= len(sentences[end])
        if text < 0 and end > first:
            return end
    return len(sentences)


def _search(
    values: np.ndarray, sentences: Sequence[Sequence[int]], space: int | None
) -> tuple[list[tuple[int, int, int]], float]:
    """Find the sentences (index, start, end) on the best path of a window.

    Also how much better than a gap it is, for each token that is placed.
    """
    gap = np.maximum(values[:, BLANK], -_FILLER)
    if space is not None:
        gap = np.maximum(gap, values[:, space])
    tokens = np.concatenate([np.asarray(s, np.int64) for s in sentences])
    bounds = np.cumsum([0, *map(len, sentences)])
    rewards = np.float32(_TOKEN) * np.diff(bounds).astype(np.float32)
    inside = values - np.float32(_INSIDE)
    back, best = _best_junctions(inside, gap, tokens, bounds, rewards)
    found = []
    t, k = len(values) - 1, len(sentences)
    while t >= 0 and k > 0:
        came = back[t, k]
        if came >= 0:
            found.append((k - 1, int(came), t + 1))
            t = came
        t -= came != _SKIPPED
        k -= came != _STAYED
    count = sum(len(sentences[k]) for k, _, _ in found)
    return found[::-1], (best - gap.sum(dtype=np.float64)) / max(1, count)


_STAYED, _SKIPPED = -1, -2


@jit_entry
def _best_junctions(
    values: np.ndarray,
    gap: np.ndarray,
    tokens: np.ndarray,
    bounds: np.ndarray,
    rewards: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Search a window (Viterbi).

    Junction k is the gap in front of sentence k, the last one that behind
    all. values [T, V], gap [T], tokens [N], sentence k has bounds[k]:bounds[k +
    1], rewards [K] -> how each junction was reached in each frame [T, K + 1]:
    _STAYED, _SKIPPED, or the first frame of the sentence before; and the score
    of the best path.
    """
    frames, count = len(values), len(bounds) - 1
    back = np.full((frames, count + 1), _STAYED, dtype=np.int32)
    junction = np.zeros(count + 1, dtype=np.float32)
    # State 2 i is token i, state 2 i - 1 the blank in front of it.
    score = np.full(2 * len(tokens), np.float32(-1e30))
    entry = np.zeros(2 * len(tokens), dtype=np.int32)
    for t in range(frames):
        row = values[t]
        blank = row[0]
        for k in range(count):
            begin = bounds[k]
            for i in range(bounds[k + 1] - 1, begin, -1):
                s = 2 * i  # lower states are still those of the frame before
                best, origin = score[s], entry[s]
                if score[s - 1] > best:
                    best, origin = score[s - 1], entry[s - 1]
                if score[s - 2] > best and tokens[i] != tokens[i - 1]:
                    best, origin = score[s - 2], entry[s - 2]
                score[s], entry[s] = best + row[tokens[i]], origin
                if score[s - 2] > score[s - 1]:
                    score[s - 1], entry[s - 1] = score[s - 2], entry[s - 2]
                score[s - 1] += blank
            s = 2 * begin
            if junction[k] > score[s]:
                score[s], entry[s] = junction[k], t
            score[s] += row[tokens[begin]]
        junction[0] += gap[t]
        for k in range(count):
            last = 2 * bounds[k + 1] - 2
            junction[k + 1] += gap[t]
            ended = score[last] + rewards[k]
            if ended > junction[k + 1]:
                junction[k + 1], back[t, k + 1] = ended, entry[last]
            if junction[k] > junction[k + 1]:
                junction[k + 1], back[t, k + 1] = junction[k], _SKIPPED
    return back, junction[count]


def _score(values: np.ndarray, tokens: Sequence[int]) -> float:
    labels = best_path(values, tokens)
    sums = np.cumsum([0.0, *values[np.arange(len(values)), labels]])
    size = min(_SCORED, len(values))
    return float((sums[size:] - sums[:-size]).min() / size)
