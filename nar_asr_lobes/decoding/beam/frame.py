"""One frame of the beam search, compiled.

    beam -> entries that stay -> entries with one more token
         -> the best entries -> beam

All sums are float64. An entry of a frame is a prefix with the log-probabilities
of its paths that end in the blank and in its last token; the first entries are
the beam's own prefixes, in order.
"""

from __future__ import annotations

from nar_asr_lobes.decoding.beam.entries import (
    IMPOSSIBLE,
    find_rival,
    log_add,
    lose,
    lowest,
    offer,
    sort_heap,
    weigh,
)
from nar_asr_lobes.decoding.beam.trie import (
    NONE,
    add_merge,
    add_node,
    find_node,
)
from nar_asr_lobes.decoding.hotwords.matching import extend_match, held_back
from nar_asr_lobes.jit import jit_inline
from nar_asr_lobes.lm.ngram.lookup import most, score_token


@jit_inline
def pass_blank(beam, count, log_prob):
    """Take the beam through a run of sure blanks; its order stays.

    A run is merged and never dropped: without its blank, ``a _ a`` would
    become a single ``a``.
    """
    for k in range(count):
        prefix = beam[k]
        prefix.total += log_prob
        prefix.blank, prefix.label = prefix.total, IMPOSSIBLE


@jit_inline
def stay(beam, count, row, trie, work):
    """Enter the beam's prefixes, one frame on.

    Each gains nothing (blank, or its last label again), or its last label
    from its parent, if that is in the beam too.
    """
    for k in range(count):
        work.entries[k] = beam[k]
        entry = work.entries[k]
        entry.blank = entry.total + row[0]
        if entry.parent != NONE:
            label, slot = entry.label, trie.nodes[entry.parent].slot
            if slot != NONE:
                parent = beam[slot]
                same = parent.token == entry.token
                label = log_add(label, parent.blank if same else parent.total)
            entry.label = label + row[entry.token]
        entry.total = log_add(entry.blank, entry.label)
        entry.score = entry.total + entry.offset


@jit_inline
def extend(beam, tokens, scores, trie, models, asked, work, lost, settings):
    """Enter the prefixes with one more token and heap the best entries.

    Token by token, so that those with equal futures are side by side. Returns
    the size of the heap and how many entries lost.
    """
    tables, rows = models[0], models[3]
    entries, total, kept = work.entries, len(beam), 0
    gain = settings.token_bonus + settings.hot_boost
    for k in range(len(beam)):
        if entries[k].winner == NONE and entries[k].total > IMPOSSIBLE:
            kept = offer(work, kept, k)
    for c in range(len(tokens)):
        first, score = total, scores[c]
        bar = lowest(work, kept, settings.margin)
        for k in range(len(beam)):
            # the language model can only lower a score, the hot words raise
            # it by a token, and the prefixes that follow are less probable:
            # none of them can survive
            ceiling = beam[k].total + beam[k].offset + gain
            if ceiling + score <= bar:
                break
            if asked:
                log_prob = most(rows, tables, k, beam[k].state, tokens[c])
                ceiling += settings.lm_weight * log_prob
                if ceiling + score <= bar:
                    continue
            new = entries[total]
            if not _child(
                beam[k], tokens[c], score, trie, models, settings, new
            ) or (new.score <= bar):
                continue
            rival = NONE
            if settings.recombine:
                rival = find_rival(entries, len(beam), first, total)
            if rival == NONE:
                total += 1
                continue
            if entries[rival].score < new.score:
                work.lost[lost] = entries[rival]
                entries[rival] = new
                entries[total] = work.lost[lost]
            lost = lose(work, lost, total, rival)
        for i in range(first, total):
            kept = offer(work, kept, i)
    return kept, lost


@jit_inline
def _child(prefix, token, score, trie, models, settings, entry):
    """Make an entry of a prefix and one more token, if it needs one."""
    tables, hot, closings, _ = models
    # a label behind itself needs a blank in between
    label = (prefix.blank if token == prefix.token else prefix.total) + score
    if label == IMPOSSIBLE:
        return False
    node = find_node(trie, prefix.node, token)
    state, lm, context, gained = 0, 0.0, 0, 0
    closed, past = NONE, prefix.past
    if node != NONE:
        # in the beam, it has received these paths where it stayed
        if trie.nodes[node].slot != NONE:
            return False
        state, lm = trie.nodes[node].state, trie.nodes[node].lm
        context, gained = trie.nodes[node].context, trie.nodes[node].hot
        closed, past = trie.nodes[node].closed, trie.nodes[node].past
    else:
        if settings.use_lm:
            log_prob, state = score_token(tables, prefix.state, token)
            lm = prefix.lm + log_prob
        if settings.use_hot:
            context, gained, closed, past = extend_match(
                trie, prefix, token, hot, closings, settings.hot_limit
            )
    entry.node, entry.parent, entry.token = node, prefix.node, token
    entry.state, entry.length, entry.winner = state, prefix.length + 1, NONE
    entry.context, entry.hot = context, gained
    entry.closed, entry.past = closed, past
    entry.blank, entry.label, entry.total = IMPOSSIBLE, label, label
    entry.lm = lm
    if past != 0:
        limit = settings.hot_limit
        gained -= held_back(trie, entry, hot, closings, limit)
    entry.offset = weigh(settings, lm, entry.length, gained)
    entry.score = label + entry.offset
    return True


@jit_inline
def leave(beam, count, trie):
    """Mark the beam's prefixes as outside of it."""
    for k in range(count):
        trie.nodes[beam[k].node].slot = NONE


@jit_inline
def select(beam, kept, trie, work, frame, settings):
    """Make the best entries of the heap the beam, best first; count them."""
    sort_heap(work, kept)
    bar = work.best[0] - settings.margin
    for k in range(kept):
        entry = work.entries[work.heap[k]]
        if k >= settings.beam_size and entry.score <= bar:
            return k
        if entry.node == NONE:
            new = entry.parent, entry.token, entry.state, entry.context
            hot = entry.hot, entry.closed, entry.past
            parts = (entry.length, *hot, entry.lm)
            entry.node = add_node(trie, frame, new + parts)
        trie.nodes[entry.node].slot = k
        beam[k] = entry
    return kept


@jit_inline
def remember(trie, work, lost, frame, limit):
    """Note who lost against a prefix that got into the beam."""
    for i in range(lost):
        loser = work.lost[i]
        winner = work.entries[loser.winner]
        while winner.winner != NONE:
            winner = work.entries[winner.winner]
        if winner.node == NONE or trie.nodes[winner.node].slot == NONE:
            continue
        add_merge(
            trie,
            winner.node,
            frame,
            limit,
            (loser.parent, loser.token, loser.node),
            (
                winner.length - loser.length,
                winner.hot - loser.hot,
                winner.score - loser.score,
                winner.total - loser.total,
                winner.lm - loser.lm,
            ),
        )
