"""The beam over the slots of one utterance, compiled.

    candidates of each slot [U, K] -> slot by slot: beam -> beam and one token
                                   -> the best of each language model state

With a given number of slots, two prefixes in the same language model state
have the same future, so that the worse one can never become the best.
"""

from __future__ import annotations

import numpy as np

from nar_asr_lobes.decoding.beam.trie import NONE
from nar_asr_lobes.jit import inner, outer
from nar_asr_lobes.lm.ngram.lookup import score_token
from nar_asr_lobes.lm.ngram.tables import NgramTables

PREFIX = np.dtype(
    [
        ("score", np.float64),
        ("lm", np.float64),
        ("state", np.int32),
        ("parent", np.int32),  # its place in the beam
        ("token", np.int32),
    ],
    align=True,
)


@outer
def search_slots(
    tokens: np.ndarray,
    log_probs: np.ndarray,
    counts: np.ndarray,
    tables: NgramTables,
    beam_size: int,
    lm_weight: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Search one utterance.

    Arguments
    ---------
    tokens : np.ndarray
        Candidates of each slot, the most probable first, int32 [U, K].
    log_probs : np.ndarray
        Their natural log-probabilities, float64 [U, K].
    counts : np.ndarray
        How many of the K each slot has, at least one, int64 [U].
    tables : NgramTables
        The language model.
    beam_size : int
        Prefixes kept behind each slot.
    lm_weight : float
        Weight of the language model; at 0 it is not asked, and prefixes are
        not merged.

    Returns
    -------
    tuple
        Score and language model's share, unweighted, of each hypothesis, best
        first, float64 [N, 2]; their tokens, int32 [N, U].

    Example
    -------
    >>> from nar_asr_lobes.lm.ngram.kneser_ney import estimate
    >>> from nar_asr_lobes.lm.ngram.states import build_tables
    >>> model = estimate(np.array([1, 2]), np.array([2]), order=2)
    >>> tables = build_tables(model, size=3)
    >>> tokens = np.array([[1, 2], [1, 2]], dtype=np.int32)
    >>> log_probs = np.log([[0.9, 0.1], [0.6, 0.4]])
    >>> counts = np.array([2, 2])
    >>> search_slots(tokens, log_probs, counts, tables, 5, 1.0)[1][0].tolist()
    [1, 2]
    """
    slots = len(counts)
    beams = np.empty((slots + 1, beam_size), PREFIX)
    first = beams[0, 0]
    first.score, first.lm, first.state = 0.0, 0.0, tables.start[0]
    first.parent, first.token = NONE, NONE
    size = 1
    for slot in range(slots):
        size = _extend(
            beams[slot, :size],
            tokens[slot, : counts[slot]],
            log_probs[slot],
            tables,
            lm_weight,
            beams[slot + 1],
        )
    if lm_weight > 0:
        _end(beams[slots, :size], tables, lm_weight)
    return _spell(beams, size)


@inner
def _extend(beam, tokens, log_probs, tables, lm_weight, longer):
    """Fill ``longer`` with the best prefixes of one more token."""
    size = 0
    for k in range(len(beam)):
        for c in range(len(tokens)):
            score, lm, state = beam[k].score + log_probs[c], beam[k].lm, 0
            # the language model can only lower a score, and the candidates
            # that follow are less probable
            if size == len(longer) and score <= longer[size - 1].score:
                break
            if lm_weight > 0:
                log_prob, state = score_token(tables, beam[k].state, tokens[c])
                score, lm = score + lm_weight * log_prob, lm + log_prob
            place = _leaving(longer, size, score, state, lm_weight > 0)
            if place == NONE:
                continue
            size = max(size, place + 1)
            place = _make_room(longer, place, score)
            new = longer[place]
            new.score, new.lm, new.state = score, lm, state
            new.parent, new.token = k, tokens[c]
    return size


@inner
def _leaving(beam, size, score, state, merge):
    """Find the place that a new prefix takes away, NONE if it is too bad."""
    place = size
    if merge:
        for k in range(size):
            if beam[k].state == state:
                place = k
    if place == len(beam):
        place -= 1
    if place < size and beam[place].score >= score:
        return NONE
    return place


@inner
def _make_room(beam, place, score):
    """Move what is worse down to ``place``; return the place left free."""
    while place > 0 and beam[place - 1].score < score:
        beam[place] = beam[place - 1]
        place -= 1
    return place


@outer
def _end(beam, tables, lm_weight):
    """Add the sentence end and sort anew."""
    last = np.empty(1, PREFIX)
    for k in range(len(beam)):
        log_prob = tables.final[beam[k].state]
        beam[k].lm += log_prob
        beam[k].score += lm_weight * log_prob
        last[0] = beam[k]
        place = _make_room(beam, k, last[0].score)
        beam[place] = last[0]


@outer
def _spell(beams, size):
    """Follow the last beam's prefixes back to their first token."""
    slots = len(beams) - 1
    parts, tokens = np.empty((size, 2)), np.empty((size, slots), np.int32)
    for k in range(size):
        prefix = beams[slots, k]
        parts[k, 0], parts[k, 1] = prefix.score, prefix.lm
        place = k
        for slot in range(slots, 0, -1):
            tokens[k, slot - 1] = beams[slot, place].token
            place = beams[slot, place].parent
    return parts, tokens
