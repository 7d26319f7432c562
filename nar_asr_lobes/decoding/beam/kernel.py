"""The prefix beam search of several utterances, compiled.

    log_probs [F, V] -> utterance by utterance: frame by frame: beam -> beam
                                                -> hypotheses

``search`` explains the method, ``frame`` holds the steps of a frame. The
utterances share the buffers: short ones take less time than the call of a
compiled function and the allocation of arrays. One function has all the loops,
because a compiled function is compiled again into each one that calls it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nar_asr_lobes.decoding.beam.candidates import (
    BAD,
    HIGHEST,
    Columns,
    any_above,
    new_columns,
    pick_candidates,
)
from nar_asr_lobes.decoding.beam.entries import (
    ENTRY,
    IMPOSSIBLE,
    Settings,
    Work,
    merge_stays,
    new_work,
    weigh,
)
from nar_asr_lobes.decoding.beam.frame import (
    extend,
    leave,
    pass_blank,
    remember,
    select,
    stay,
)
from nar_asr_lobes.decoding.beam.nbest import Result, fill_nbest, new_result
from nar_asr_lobes.decoding.beam.trie import (
    NONE,
    Trie,
    has_room,
    new_trie,
    restart,
)
from nar_asr_lobes.decoding.hotwords.matching import Closings, close
from nar_asr_lobes.jit import jit_function, jit_kernel
from nar_asr_lobes.lm.ngram.lookup import Rows, find_rows, new_rows
from nar_asr_lobes.lm.ngram.tables import NgramTables

# How a search ended.
DONE, FULL = 0, 1


class Buffers(NamedTuple):
    """The arrays of a search.

    Candidates of a frame, their scores, the columns they are found in, rows
    of the language model; the trie, the entries, the beam and the result.
    """

    tokens: np.ndarray
    scores: np.ndarray
    columns: Columns
    rows: Rows
    trie: Trie
    work: Work
    beam: np.ndarray
    result: Result


def new_buffers(
    size: int, capacity: int, tables: NgramTables, settings: Settings
) -> Buffers:
    """Make the buffers of a search of so many labels.

    The capacity is that of all that grows with the utterances: nodes, merges,
    entries of a frame, hypotheses and their tokens.
    """
    widest = min(settings.widest, capacity)
    return Buffers(
        np.empty(settings.max_candidates, np.int32),
        np.empty(settings.max_candidates, np.float64),
        new_columns(size),
        new_rows(settings.widest if settings.use_lm else 0, tables),
        new_trie(capacity),
        new_work(capacity, settings.beam_size, widest),
        np.empty(widest, ENTRY),
        new_result(capacity, widest),
    )


@jit_kernel
def search(
    log_probs: np.ndarray,
    ends: np.ndarray,
    first: int,
    tables: NgramTables,
    hot: NgramTables,
    closings: Closings,
    settings: Settings,
    buffers: Buffers,
) -> tuple[int, int]:
    """Search utterances as long as there is room.

    ``log_probs`` [F, V] of all utterances, the last of each ends before
    ``ends`` [N]; ``tables`` of the language model, ``hot`` and ``closings`` of
    the hot words. Fills ``buffers.result``. Returns the first utterance not
    searched, and why: ``DONE``, ``FULL`` (no room) or ``BAD`` (no
    log-probabilities).
    """
    tokens, scores, columns, rows, trie, work, beam, result = buffers
    floor, limit = settings.floor, settings.widest
    models = tables, hot, closings, rows
    result.used[:], rows.state[:], rows.asked[:] = 0, NONE, NONE
    begin = ends[first - 1] if first > 0 else 0
    for index in range(first, len(ends)):
        _start(tables, hot, settings, trie, beam)
        count, run, running = 1, 0.0, False
        for frame in range(begin, ends[index]):
            row = log_probs[frame]
            if row[0] > settings.sure:
                if any_above(row, HIGHEST):
                    return index, BAD
                run, running = run + row[0], True
                continue
            picked = pick_candidates(row, floor, tokens, scores, columns)
            if picked == BAD:
                return index, BAD
            if running:
                pass_blank(beam, count, run)
                run, running = 0.0, False
            size = count * (picked + 1)
            if size > len(work.entries) or not has_room(
                trie, min(size, limit), size
            ):
                return index, FULL
            stay(beam, count, row, trie, work)
            lost = merge_stays(work, count) if settings.recombine else 0
            now, few = beam[:count], tokens[:picked]
            asked = find_rows(rows, tables, now, frame, picked)
            kept, lost = extend(
                now, few, scores, trie, models, asked, work, lost, settings
            )
            leave(beam, count, trie)
            count = select(beam, kept, trie, work, frame, settings)
            remember(trie, work, lost, frame, settings.beam_size)
        if running:
            pass_blank(beam, count, run)
        frames, begin = log_probs[begin : ends[index]], ends[index]
        finals = _finals(trie, beam[:count], begin, models, settings, result)
        if not fill_nbest(frames, trie, finals, settings, result):
            return index, FULL
    return len(ends), DONE


@jit_function
def _start(tables, hot, settings, trie, beam):
    """Make the empty prefix the beam."""
    state = tables.start[0] if settings.use_lm else 0
    context = hot.start[0] if settings.use_hot else 0
    restart(trie, state, context)
    first = beam[0]
    first.node, first.parent, first.token = 0, NONE, NONE
    first.state, first.context = state, context
    first.length, first.winner = 0, NONE
    first.hot, first.closed, first.past = 0, NONE, 0
    first.blank, first.label, first.total = 0.0, IMPOSSIBLE, 0.0
    first.lm, first.offset, first.score = 0.0, 0.0, 0.0


@jit_function
def _finals(trie, beam, end, models, settings, result):
    """Queue the beam with the sentence end, best first; count it."""
    tables, hot, closings, _ = models
    finals = result.queue
    for k in range(len(beam)):
        lm, length, gained = beam[k].lm, beam[k].length, beam[k].hot
        if settings.use_lm:
            lm += tables.final[beam[k].state]
        if settings.use_hot:
            gained += int(hot.final[beam[k].context])
            limit = settings.hot_limit
            gained -= close(trie, beam[k], closings, limit)[1]
        score = beam[k].total + weigh(settings, lm, length, gained)
        place = k
        # equal scores stay in the order of the beam
        while place > 0 and finals[place - 1].score < score:
            finals[place] = finals[place - 1]
            place -= 1
        final = finals[place]
        final.score, final.ctc, final.lm = score, beam[k].total, lm
        final.length, final.hot, final.node = length, gained, beam[k].node
        final.parent, final.token = NONE, NONE
        final.origin, final.cut, final.frame = NONE, 0, end
    return len(beam)
