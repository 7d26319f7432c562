"""The N-best list of a beam search, filled up from its merges, compiled.

A prefix that lost against another one left the beam, with all that would have
followed. The winner's continuations would have followed it too, at about the
same distance: each final hypothesis through the winner gives another one
through the loser. Best first, each from the one it differs from at the last
merge. These distances only tell which to take: what a merge gave has the score
of all its paths, and so has the hypothesis it came from, where it would be
overtaken for its pruned paths alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nar_asr_lobes.decoding.beam.entries import IMPOSSIBLE, Settings, weigh
from nar_asr_lobes.decoding.beam.trie import NONE, Trie, spell
from nar_asr_lobes.jit import jit_function

# Beside others, paths as improbable as this are left out.
_NOTHING = 1e-9
# Beyond it, and its inverse, probabilities are scaled anew.
_LEAST = 1e-100

# ``node`` (for a loser that never was in the beam NONE: then ``parent`` and
# ``token``) is the front; from ``cut`` on the tokens are those of ``origin``,
# an earlier hypothesis of the list, or none. ``frame``: when the first token
# behind the front got into the beam, or for a loser that never did, when it
# lost; only merges before it happened to the front's own prefix.
_FINAL = np.dtype(
    [
        ("score", np.float64),
        ("ctc", np.float64),
        ("lm", np.float64),
        ("length", np.int32),
        ("hot", np.int32),
        ("node", np.int32),
        ("parent", np.int32),
        ("token", np.int32),
        ("origin", np.int32),
        ("cut", np.int32),
        ("frame", np.int32),
    ],
    align=True,
)


class Result(NamedTuple):
    """The hypotheses of several utterances, one behind the other."""

    parts: np.ndarray  # [N, 5] score, CTC, LM, length, tokens gained
    tokens: np.ndarray  # int32, of all hypotheses
    lists: np.ndarray  # int64, hypotheses of each utterance
    used: np.ndarray  # int64 [3], how much of these is in use
    queue: np.ndarray  # _FINAL; this and the rest for one list
    begins: np.ndarray
    blank: np.ndarray
    label: np.ndarray


def new_result(size: int, beam_size: int) -> Result:
    """Make room for so many hypotheses and tokens."""
    return Result(
        np.empty((size, 5)),
        np.empty(size, np.int32),
        np.empty(size, np.int64),
        np.zeros(3, np.int64),
        np.empty(3 * beam_size, _FINAL),
        np.empty(beam_size + 1, np.int64),
        np.empty(size + 1, np.float64),
        np.empty(size + 1, np.float64),
    )


@jit_function
def fill_nbest(
    log_probs: np.ndarray,
    trie: Trie,
    finals: int,
    settings: Settings,
    result: Result,
) -> bool:
    """Spell out the best of an utterance's ``finals`` queued hypotheses.

    Returns whether there was room in ``result``; else it holds nothing usable.
    """
    limit = min(settings.beam_size, finals + trie.count[1])
    first, spelled, lists = result.used
    if limit > len(result.parts) - first or lists == len(result.lists):
        return False
    weights = settings.lm_weight, settings.token_bonus, settings.hot_boost
    queue = result.queue[: finals + 2 * (limit - 1)]
    begins, tokens = result.begins, result.tokens
    begins[0] = spelled
    queued, taken, done = finals, 0, 0
    while taken < queued and done < limit:
        final = queue[taken]
        taken += 1
        begin, end = begins[done], begins[done] + final.length
        if end > len(tokens):
            return False
        _write(trie, final, tokens, begins, tokens[begin:end])
        begins[done + 1] = end
        if _is_known(tokens, begins, done):
            continue
        ctc = final.ctc
        if final.origin != NONE:
            text = tokens[begin:end]
            ctc = _sum_paths(log_probs, settings, text, result)
            if ctc == IMPOSSIBLE:
                continue
        parts = result.parts[first + done]
        parts[0] = ctc + weigh(settings, final.lm, final.length, final.hot)
        parts[1], parts[2], parts[3] = ctc, final.lm, final.length
        parts[4] = final.hot
        if final.origin != NONE:
            base = result.parts[first + final.origin]
            if parts[0] > base[0]:
                text = tokens[begins[final.origin] : begins[final.origin + 1]]
                total = _sum_paths(log_probs, settings, text, result)
                pruned = max(0.0, total - base[1])
                base[0], base[1] = base[0] + pruned, base[1] + pruned
        done += 1
        queued = _branch(trie, final, done - 1, queue, taken, queued, weights)
    result.lists[lists] = done
    result.used[0], result.used[1] = first + done, begins[done]
    result.used[2] = lists + 1
    return True


@jit_function
def _write(trie, final, tokens, begins, place):
    """Spell one hypothesis out."""
    if final.node != NONE:
        length = spell(trie, final.node, place)
    else:
        length = spell(trie, final.parent, place) + 1
        place[length - 1] = final.token
    if final.origin != NONE:
        tail = begins[final.origin] + final.cut
        for i in range(len(place) - length):
            place[length + i] = tokens[tail + i]


@jit_function
def _sum_paths(log_probs, settings, text, result):
    """Give the log-probability of all paths of a text together.

    Probabilities are relative to ``scale``. Place ``i`` is behind ``i`` tokens;
    only those from ``low`` to ``high`` are looked at.
    """
    blank, label, low, high, scale = result.blank, result.label, 0, 0, 0.0
    blank[0], label[0] = 1.0, 0.0
    for frame in range(len(log_probs)):
        row = log_probs[frame]
        if row[0] > settings.sure:
            scale += row[0]
            for i in range(low, high + 1):
                blank[i], label[i] = blank[i] + label[i], 0.0
            continue
        if high < len(text):
            high += 1
            blank[high], label[high] = 0.0, 0.0
        silence, best = math.exp(row[0]), 0.0
        for i in range(high, low - 1, -1):
            total, spoken = blank[i] + label[i], label[i]
            label[i] = 0.0
            # the floor saves most exponentials
            if i > 0 and row[text[i - 1]] > settings.floor:
                if i > low:
                    spoken += blank[i - 1]
                    if i < 2 or text[i - 1] != text[i - 2]:
                        spoken += label[i - 1]
                # in float64: of a float32 it would be one
                label[i] = spoken * math.exp(np.float64(row[text[i - 1]]))
            blank[i] = total * silence
            total = blank[i] + label[i]
            best = total if total > best else best
        if not 0 < best < math.inf:
            return IMPOSSIBLE
        while blank[low] + label[low] < _NOTHING * best:
            low += 1
        while blank[high] + label[high] < _NOTHING * best:
            high -= 1
        if not _LEAST < best < 1 / _LEAST:
            for i in range(low, high + 1):
                blank[i], label[i] = blank[i] / best, label[i] / best
            scale += math.log(best)
    total = blank[high] + label[high]
    if high < len(text) or total == 0:
        return IMPOSSIBLE
    return scale + math.log(total)


@jit_function
def _is_known(tokens, begins, last):
    """Whether an earlier hypothesis has the last one's tokens."""
    begin, length = begins[last], begins[last + 1] - begins[last]
    for i in range(last):
        if begins[i + 1] - begins[i] != length:
            continue
        same = 0
        while same < length and (
            tokens[begins[i] + same] == tokens[begin + same]
        ):
            same += 1
        if same == length:
            return True
    return False


@jit_function
def _branch(trie, final, base, queue, taken, queued, weights):
    """Queue the hypotheses got by undoing one merge in the front of another.

    Only in the front: merges behind it were undone, or not, by its base.
    """
    node = final.node if final.node != NONE else final.parent
    frame = final.frame
    while node != NONE:
        index = trie.nodes[node].merge
        while index != NONE:
            merge = trie.merges[index]
            index = merge.next
            if merge.frame >= frame:
                continue
            other = _other(final, merge, weights)
            if queued < len(queue) or other[0] > queue[queued - 1].score:
                place = _open_place(queue, taken, queued, other[0])
                queued = min(queued + 1, len(queue))
                new = queue[place]
                new.score, new.ctc, new.lm = other[:3]
                new.length, new.hot = other[3:]
                new.node, new.parent = merge.node, merge.parent
                new.token, new.origin = merge.token, base
                new.cut = trie.nodes[node].length
                new.frame = frame if merge.node != NONE else merge.frame
        frame = trie.nodes[node].frame
        node = trie.nodes[node].parent
    return queued


@jit_function
def _other(final, merge, weights):
    """Score, its parts and their weights, the loser in front."""
    ctc = final.ctc - merge.ctc_gap
    lm = final.lm - merge.lm_gap
    length = final.length - merge.length_gap
    hot = final.hot - merge.hot_gap
    score = ctc + weights[0] * lm + weights[1] * length + weights[2] * hot
    # a loser is never better; rounding must not make it so
    return min(score, final.score), ctc, lm, length, hot


@jit_function
def _open_place(queue, taken, queued, score):
    """Move the worse ones up by one; a full queue loses its worst."""
    place = min(queued, len(queue) - 1)
    while place > taken and queue[place - 1].score < score:
        queue[place] = queue[place - 1]
        place -= 1
    return place
