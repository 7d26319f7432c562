"""The steps of a batched prefix beam search.

    beam [B, K] -> entries [B, K + K * C] -> the best K of each -> beam [B, K]

The shapes in a step are always the same and nothing waits for the device, so a
step may be recorded and replayed. Sums are float64.

B: utterances, K: beam, C: candidates, P: the best entries looked at. The
entries of a step are the K prefixes of the beam that stay, then those with one
more token: of the first prefix, of the second...

Two prefixes are the same if their codes are: 64 bits mixed from the tokens. In
a frame some K^2 pairs meet, so even a million hours hold no two by chance.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from nar_asr_lobes.decoding.batched_frames import Steps
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.lm.batched import BatchedLM

_IMPOSSIBLE = -math.inf
_POOL = 3  # entries looked at for each place in the beam, to recombine
_NO_PARENT = -1
# Odd numbers without a pattern, as signed integers of 64 bits.
_MIX_TOKEN, _MIX_CODE = -0x61C8864680B583EB, -0x40A7B892E31B1A47


class _Beam(NamedTuple):
    """The prefixes of all utterances, [B, K] each, best first.

    ``blank`` and ``label`` are the log-probabilities of the paths that end in
    the blank and in the last token; where both are -inf the place is free.
    ``code`` tells prefixes apart, ``parent`` is that of the prefix without
    its last token.
    """

    blank: torch.Tensor
    label: torch.Tensor
    lm: torch.Tensor
    length: torch.Tensor
    token: torch.Tensor
    code: torch.Tensor
    parent: torch.Tensor


class _Entries(NamedTuple):
    """What the beam of the next step is chosen from, [B, K + K * C] each."""

    blank: torch.Tensor
    label: torch.Tensor
    lm: torch.Tensor
    length: torch.Tensor
    token: torch.Tensor

    def pick(self, index: torch.Tensor) -> _Entries:
        """Return those of int64 [B, P]."""
        return _Entries(*(values.gather(1, index) for values in self))


class BatchedSearch:
    """The search of one batch.

    Arguments
    ---------
    rows : torch.Tensor
        The frames of all utterances [B * T, V].
    shift : torch.Tensor
        Added to the log-probabilities of each, float64 [V].
    options : BeamOptions
        Width and weights.
    lm : BatchedLM or None
        Language model, if it is to be asked.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        shift: torch.Tensor,
        options: BeamOptions,
        lm: BatchedLM | None,
    ):
        self.rows = rows
        self.shift = shift
        self.options = options
        self.lm = lm

    def run(
        self, steps: Steps, behind: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Search all frames.

        Arguments
        ---------
        steps : Steps
            N steps.
        behind : torch.Tensor
            Log-probability of the sure blanks after the last, float64 [B].

        Returns
        -------
        tuple
            Score, CTC and language model of each last hypothesis, float64
            [3, B, K], CTC -inf where there is none; for each place of the
            beam after each step, its place before and its new token, 0 for
            none, int64 [2, N, B, K].
        """
        count, batch = steps.row.shape
        beam = self._first_beam(batch)
        states = self.lm.start(beam.token.numel()) if self.lm else None
        trace = beam.token.new_empty(2, count, *beam.token.shape)
        for i in range(count):
            step = Steps(*(values[i] for values in steps))
            beam, states, trace[0, i], trace[1, i] = self.advance(
                beam, states, step
            )
        ctc = torch.logaddexp(beam.blank, beam.label) + behind[:, None]
        lm = beam.lm
        if self.lm is not None:
            lm = lm + self.lm.final(states).view_as(lm)
        score = self._score(ctc, lm, beam.length)
        return torch.stack([score, ctc, lm]), trace

    def _first_beam(self, batch: int) -> _Beam:
        """Make a beam of the empty prefix."""
        shape = batch, self.options.beam_size
        numbers = torch.zeros(shape, device=self.rows.device).double()
        ids = numbers.long()
        label = torch.full_like(numbers, _IMPOSSIBLE)
        blank = label.clone()
        blank[:, 0] = 0.0
        parent = torch.full_like(ids, _NO_PARENT)
        return _Beam(blank, label, numbers, ids, ids, ids, parent)

    def advance(
        self, beam: _Beam, states: Any, step: Steps
    ) -> tuple[_Beam, Any, torch.Tensor, torch.Tensor]:
        """Take every beam one step on.

        Returns the beam, the language model's states, and for the trace each
        prefix's place before the step and its new token, 0 for none.
        """
        beam = _pass_blanks(beam, step)
        entries, after = self._enter(beam, states, step)
        index, lost = self._choose(entries, states, after, step)
        width, size = beam.token.shape[1], step.tokens.shape[1]
        # an utterance without this step keeps its beam
        same = torch.arange(width, device=index.device)
        index = torch.where(step.active[:, None], index, same)
        rows, columns = _origin(index, width, size)
        kept, code = entries.pick(index), beam.code.gather(1, rows)
        grown = columns >= 0
        beam = _Beam(
            *kept,
            torch.where(grown, _mix(code, kept.token), code),
            torch.where(grown, code, beam.parent.gather(1, rows)),
        )
        lost &= step.active[:, None]
        beam = beam._replace(
            blank=torch.where(lost, _IMPOSSIBLE, beam.blank),
            label=torch.where(lost, _IMPOSSIBLE, beam.label),
        )
        if self.lm is not None:
            states = self.lm.select(states, after, *_flat(rows, columns, width))
        return beam, states, rows, torch.where(grown, beam.token, 0)

    def _enter(
        self, beam: _Beam, states: Any, step: Steps
    ) -> tuple[_Entries, Any]:
        """Make the entries; also return what the language model keeps."""
        total = torch.logaddexp(beam.blank, beam.label)
        alive = (total > _IMPOSSIBLE)[:, :, None]
        child = (beam.parent[:, :, None] == beam.code[:, None]) & alive
        repeats = beam.token[:, :, None] == step.tokens[:, None]  # [B, K, C]
        blank, label = self._stay(beam, total, child, step)
        # a label behind itself needs a blank in between
        paths = torch.where(repeats, beam.blank[:, :, None], total[:, :, None])
        # a child in the beam receives these paths where it stays
        there = child.mT.float() @ repeats.float() > 0  # any k: [B, K, C]
        grown = torch.where(there, _IMPOSSIBLE, paths + step.scores[:, None])
        lm, after = beam.lm[:, :, None], None
        tokens = step.tokens[:, None].expand_as(grown)
        if self.lm is not None:
            log_probs, after = self.lm.score(states, tokens.flatten(0, 1))
            lm = lm + log_probs.view_as(grown)
        longer = beam.length[:, :, None] + 1
        new = torch.full_like(grown, _IMPOSSIBLE), grown, lm, longer, tokens
        stay = blank, label, beam.lm, beam.length, beam.token
        pairs = zip(stay, new, strict=True)
        return _Entries(
            *(
                torch.cat([old, values.expand_as(grown).flatten(1)], 1)
                for old, values in pairs
            )
        ), after

    def _stay(
        self,
        beam: _Beam,
        total: torch.Tensor,
        child: torch.Tensor,
        step: Steps,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the prefixes one frame on without a new token.

        Each gains nothing (blank, or its last label again), or its last label
        from its parent, if that is in the beam too.
        """
        repeats = beam.token[:, :, None] == beam.token[:, None]  # [B, K, K]
        paths = torch.where(repeats, beam.blank[:, None], total[:, None])
        gain = torch.where(child, paths, _IMPOSSIBLE).amax(-1)
        last = self.rows[step.row[:, None], beam.token].double()
        last = last + self.shift[beam.token]
        active = step.active[:, None]
        blank, label = total + step.blank[:, None], beam.label
        label = torch.logaddexp(label, gain) + last
        return (
            torch.where(active, blank, beam.blank),
            torch.where(active, label, beam.label),
        )

    def _choose(
        self, entries: _Entries, states: Any, after: Any, step: Steps
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the best entries [B, K], and which of them must not stay."""
        width, size = self.options.beam_size, step.tokens.shape[1]
        total = torch.logaddexp(entries.blank, entries.label)
        score = self._score(total, entries.lm, entries.length)
        order = score.argsort(dim=1, descending=True, stable=True)
        best = order[:, :width]
        none = torch.zeros_like(best, dtype=torch.bool)
        if self.lm is None or not self.options.recombine:
            return best, none
        pool = order[:, : _POOL * width]
        choice = _flat(*_origin(pool, width, size), width)
        futures = self.lm.futures(states, after, *choice)
        if futures is None:
            return best, none
        lost = self._dominated(entries.pick(pool), futures.view_as(pool))
        # those that lost come last, and only where there are no others
        place = lost.byte().argsort(dim=1, stable=True)[:, :width]
        return pool.gather(1, place), lost.gather(1, place)

    def _dominated(self, pool: _Entries, futures: torch.Tensor) -> torch.Tensor:
        """Tell which entries [B, P] can never again overtake a better one.

        With the same last token and state the future gives both the same;
        who is behind in both kinds of paths stays behind.
        """
        zero = torch.zeros_like(pool.lm)
        offset = self._score(zero, pool.lm, pool.length)
        better = pool.token[:, :, None] == pool.token[:, None]
        better &= futures[:, :, None] == futures[:, None]
        for paths in (pool.blank + offset, pool.label + offset):
            better &= paths[:, :, None] >= paths[:, None]
        # the pool is in order, so only an earlier one can dominate
        return better.triu(1).any(1)

    def _score(
        self, ctc: torch.Tensor, lm: torch.Tensor, length: torch.Tensor
    ) -> torch.Tensor:
        """Weigh the parts."""
        weight, bonus = self.options.lm_weight, self.options.token_bonus
        return ctc + (weight * lm + bonus * length)


def _pass_blanks(beam: _Beam, step: Steps) -> _Beam:
    """Take the beams through the sure blanks before a step."""
    ran = step.ran[:, None]
    total = torch.logaddexp(beam.blank, beam.label) + step.run[:, None]
    return beam._replace(
        blank=torch.where(ran, total, beam.blank),
        label=torch.where(ran, _IMPOSSIBLE, beam.label),
    )


def _origin(
    index: torch.Tensor, width: int, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the prefix an entry comes from, and its candidate or -1."""
    new = index - width
    rows = torch.where(new < 0, index, new // size)
    return rows, torch.where(new < 0, -1, new % size)


def _flat(
    rows: torch.Tensor, columns: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn an origin [B, P] into a choice from the hypotheses [B * K]."""
    first = width * torch.arange(len(rows), device=rows.device)
    return (rows + first[:, None]).flatten(), columns.flatten()


def _mix(code: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """Return the codes of prefixes with one more token."""
    code = (code ^ token * _MIX_TOKEN) * _MIX_CODE
    code = (code ^ (code >> 29)) * _MIX_TOKEN
    return code ^ (code >> 32)
