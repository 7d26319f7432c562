"""The prefix beam search of several utterances, compiled.

    log_probs [F, V] -> utterance by utterance: frame by frame: beam -> beam
                                                -> hypotheses

``prefix_beam`` explains the search, ``beam_frame`` is what a frame does. The
utterances share what the search works in: short ones take less time than the
call of a compiled function and the making of arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nar_asr_lobes.compiled import outer
from nar_asr_lobes.decoding.beam_entries import (
    ENTRY,
    IMPOSSIBLE,
    Work,
    merge_stays,
    new_work,
)
from nar_asr_lobes.decoding.beam_frame import (
    extend,
    leave,
    pass_blank,
    remember,
    select,
    stay,
)
from nar_asr_lobes.decoding.beam_settings import Settings, weigh
from nar_asr_lobes.decoding.frame_candidates import (
    BAD,
    HIGHEST,
    Columns,
    any_above,
    new_columns,
    pick_candidates,
)
from nar_asr_lobes.decoding.hot_closings import Closings, close
from nar_asr_lobes.decoding.nbest import FINAL, fill_nbest
from nar_asr_lobes.decoding.prefix_trie import (
    NONE,
    Trie,
    new_trie,
    reserve,
    restart,
)
from nar_asr_lobes.lm.rows import Rows, find_rows, new_rows
from nar_asr_lobes.lm.tables import NgramTables


class Room(NamedTuple):
    """What a search works in.

    Candidates of a frame, their scores, the columns they are found in, rows
    of the language model; the trie, the entries and the beam, which may grow.
    """

    tokens: np.ndarray
    scores: np.ndarray
    columns: Columns
    rows: Rows
    trie: Trie
    work: Work
    beam: np.ndarray


@outer
def search(
    log_probs: np.ndarray,
    ends: np.ndarray,
    shift: np.ndarray,
    tables: NgramTables,
    hot: NgramTables,
    closings: Closings,
    settings: Settings,
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Search utterances.

    Arguments
    ---------
    log_probs : np.ndarray
        Natural log-probabilities of all, one behind the other, float32 [F, V].
    ends : np.ndarray
        The frame behind the last one of each, int64 [N].
    shift : np.ndarray
        Added to those of each frame, float64 [V], 0 for the blank.
    tables : NgramTables
        The language model; not read unless ``use_lm``.
    hot : NgramTables
        The hot words; not read unless ``use_hot``.
    closings : Closings
        Of the same states.
    settings : Settings
        The options.

    Returns
    -------
    tuple
        The first utterance whose posteriors are no log-probabilities, or N;
        how many hypotheses each one before it has, int64 [N]; score, CTC,
        language model, length and tokens gained of each hypothesis [H, 5]; all
        their tokens, one after the other.
    """
    room = _new_room(log_probs.shape[1], tables, settings)
    counts = np.zeros(len(ends), np.int64)
    parts, tokens = np.empty((len(ends), 5)), np.empty(1024, np.int32)
    begin, found, spelled = 0, 0, 0
    for index in range(len(ends)):
        _start(tables, hot, settings, room)
        frames = log_probs[: ends[index]]
        room, count = _follow(
            frames, begin, shift, tables, hot, closings, settings, room
        )
        if count == 0:
            return index, counts, parts[:found], tokens[:spelled]
        more, ids = _finish(
            room, count, ends[index], tables, hot, closings, settings
        )
        parts = _grown(parts, found, len(more))
        tokens = _grown(tokens, spelled, len(ids))
        parts[found : found + len(more)] = more
        tokens[spelled : spelled + len(ids)] = ids
        counts[index], begin = len(more), ends[index]
        found, spelled = found + len(more), spelled + len(ids)
    return len(ends), counts, parts[:found], tokens[:spelled]


@outer
def _new_room(size, tables, settings):
    """Make what a search of so many labels works in."""
    return Room(
        np.empty(settings.max_candidates, np.int32),
        np.empty(settings.max_candidates, np.float64),
        new_columns(size),
        new_rows(settings.beam_size if settings.use_lm else 0, tables),
        new_trie(),
        new_work(64, settings.beam_size),
        np.empty(1, ENTRY),
    )


@outer
def _grown(values, used, more):
    """Return the array with room for so many more."""
    if used + more <= len(values):
        return values
    grown = np.empty((2 * (used + more), *values.shape[1:]), values.dtype)
    grown[:used] = values[:used]
    return grown


@outer
def _start(tables, hot, settings, room):
    """Make the empty prefix the beam."""
    state = tables.start[0] if settings.use_lm else 0
    context = hot.start[0] if settings.use_hot else 0
    restart(room.trie, state, context)
    first = room.beam[0]
    first.node, first.parent, first.token = 0, NONE, NONE
    first.state, first.context = state, context
    first.length, first.winner = 0, NONE
    first.hot, first.closed, first.past = 0, NONE, 0
    first.blank, first.label, first.total = 0.0, IMPOSSIBLE, 0.0
    first.lm, first.offset, first.score = 0.0, 0.0, 0.0


@outer
def _follow(log_probs, begin, shift, tables, hot, closings, settings, room):
    """Take the beam through the frames of an utterance, from its first on.

    Returns the room and the size of the beam, 0 for bad posteriors.
    """
    tokens, scores, columns, rows, trie, work, beam = room
    count, run, running = 1, 0.0, False
    for frame in range(begin, len(log_probs)):
        row = log_probs[frame]
        if row[0] > settings.sure:
            if any_above(row, HIGHEST):
                return room, 0
            run, running = run + row[0], True
            continue
        found = pick_candidates(
            row, shift, settings.floor, settings.slack, tokens, scores, columns
        )
        if found == BAD:
            return room, 0
        if running:
            pass_blank(beam, count, run)
            run, running = 0.0, False
        size = count * (found + 1)
        if size > len(work.entries):
            work = new_work(2 * size, settings.beam_size)
        trie = reserve(trie, min(size, settings.beam_size), size)
        stay(beam, count, row, shift, trie, work)
        lost = merge_stays(work, count) if settings.recombine else 0
        asked = find_rows(rows, tables, beam[:count], frame, found)
        kept, lost = extend(
            beam[:count],
            tokens[:found],
            scores,
            trie,
            tables,
            hot,
            closings,
            rows,
            asked,
            work,
            lost,
            settings,
        )
        leave(beam, count, trie)
        if len(beam) < kept:
            beam = np.empty(len(work.heap), ENTRY)
        select(beam, kept, trie, work, frame)
        count = kept
        remember(trie, work, lost, frame, settings.beam_size)
    if running:
        pass_blank(beam, count, run)
    return Room(tokens, scores, columns, rows, trie, work, beam), count


@outer
def _finish(room, count, end, tables, hot, closings, settings):
    """Add the sentence end and spell the hypotheses out."""
    beam, finals = room.beam, np.empty(count, FINAL)
    for k in range(count):
        lm, length, gained = beam[k].lm, beam[k].length, beam[k].hot
        if settings.use_lm:
            lm += tables.final[beam[k].state]
        if settings.use_hot:
            gained += int(hot.final[beam[k].context])
            limit = settings.hot_limit
            gained -= close(room.trie, beam[k], closings, limit)[1]
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
    return fill_nbest(
        room.trie,
        finals,
        settings.beam_size,
        (settings.lm_weight, settings.token_bonus, settings.hot_boost),
    )
