"""Hot words: phrases of a user's list that a search is to prefer.

    phrases -> ids -> HotRules, token by token -> states and arcs of a table

The table has the form of an n-gram's, so the look-ups of language models, on
all devices, work on it; in place of log-probabilities stand the tokens gained
(``hot_rules`` says which), which a search multiplies by the boost.

A phrase is looked for as the tokenizer spells it; a search that spells the
word with other pieces gains nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from nar_asr_lobes.dataio.text.normalization import is_spaceless
from nar_asr_lobes.dataio.text.pieces import SPACE, Tokenizer
from nar_asr_lobes.decoding.hotwords.closings import (
    AHEAD,
    NONE,
    Closings,
    count_gain,
)
from nar_asr_lobes.decoding.hotwords.rules import HotRules, Start, State
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.lookup import fill_rows
from nar_asr_lobes.lm.ngram.tables import DTYPES, NgramTables, read_only
from nar_asr_lobes.schema import require_number

DEFAULT_BOOST = 1.0
MAX_BOOST = 5.0  # e^5: a token 148 times as probable
MAX_TIMES = 3  # a phrase gains, lest noise be filled with it


@dataclass(frozen=True)
class HotWords:
    """A list of phrases, ready for a search; see ``build``.

    Arguments
    ---------
    phrases : tuple of str
        Each once.
    tables : NgramTables
        For each token, how many tokens more are gained; never above 1.
    closings : Closings
        Which phrase gains where.
    boost : float
        Added to the score for each token gained, in nats; at 0 the list does
        nothing.
    limit : int
        How often each phrase may gain in an utterance.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> tokenizer = CharTokenizer("abn ")
    >>> hot = HotWords.build(["nab"], tokenizer, boost=2.0)
    >>> [hot.gain(tokenizer.encode(text)) for text in ("a nab", "a nabb")]
    [6.0, 0.0]
    """

    phrases: tuple[str, ...]
    tables: NgramTables
    closings: Closings
    boost: float = DEFAULT_BOOST
    limit: int = MAX_TIMES

    @classmethod
    def build(
        cls,
        phrases: Iterable[str],
        tokenizer: Tokenizer,
        boost: float = DEFAULT_BOOST,
    ) -> HotWords:
        """Make the table of some phrases.

        Arguments
        ---------
        phrases : iterable of str
            One or more words each, in the style of the training transcripts.
        tokenizer : Tokenizer
            The recogniser's.
        boost : float
            Nats for each token, 0 to 5.

        Returns
        -------
        HotWords

        Raises
        ------
        UserError
            For a boost outside its limits, no phrase or an empty one, or
            characters outside the tokenizer.
        """
        require_number("hot_boost", boost, 0.0, MAX_BOOST)
        phrases = tuple(dict.fromkeys(phrases))
        ids = [tuple(tokenizer.encode(phrase)) for phrase in phrases]
        if not ids or not all(ids):
            raise UserError(
                "the list of hot words is empty or has an empty phrase; give "
                "at least one word"
            )
        # two spellings of one phrase are the same tokens
        unique = dict(zip(ids, phrases, strict=True))
        boundaries, spaces = _boundaries(tokenizer)
        leading = tokenizer.pieces[ids[0][0]].startswith(SPACE)
        rules = HotRules(list(unique), boundaries, spaces, leading)
        with _no_collection():
            states = _Tables(rules)
            tables = fill_rows(states.compile(tokenizer.size))
            closings = states.closings(tokenizer.size)
        return cls(tuple(unique.values()), tables, closings, float(boost))

    def gain(self, tokens: Sequence[int]) -> float:
        """Return what a whole token sequence gains, in nats."""
        ids = np.array(tokens, dtype=np.int64)
        gained = count_gain(self.tables, self.closings, self.limit, ids)
        return self.boost * gained


@contextmanager
def _no_collection() -> Iterator[None]:
    """Search no garbage among what is kept: half of the time for long lists."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _boundaries(tokenizer: Tokenizer) -> tuple[set[int], set[int]]:
    """Return the pieces that begin a word, and those that are only a space.

    In scripts without spaces each character may begin one.
    """
    begin = {
        i
        for i, piece in enumerate(tokenizer.pieces)
        if piece.startswith(SPACE) or is_spaceless(piece[0])
    }
    for piece in tokenizer.pieces:
        if SPACE in piece[1:]:
            raise UserError(
                f"the tokenizer's piece {piece!r} goes beyond a word, so hot "
                "words cannot be found in it; use a tokenizer of whole words "
                "and parts of words"
            )
    return begin, {i for i in begin if tokenizer.pieces[i] == SPACE}


@dataclass(slots=True)
class _Row:
    """A state of the table: its arcs, token -> (gain, row), and back-off."""

    arcs: dict[int, tuple[float, _Row]]
    final: float = 0.0
    weight: float = 0.0
    shorter: _Row | None = None


class _Tables:
    """Writes the rules as states with arcs and back-offs.

    Row 0 is the state of no start at all. The others back off to it with what
    they give back, and have arcs for the tokens that do something else. Behind
    a phrase any piece that begins a word does: such states share rows of these
    arcs, ``_behind``, between them and row 0.
    """

    def __init__(self, rules: HotRules):
        self.rules = rules
        self._rows: dict[State, _Row] = {}
        self._behind: dict[tuple[int, int], _Row] = {}
        self._todo: list[tuple[State, _Row]] = []
        self._zero = self._row(State())
        self._todo.clear()  # its arcs are the unigrams

    def compile(self, size: int) -> NgramTables:
        """Return the table for so many tokens, the blank included."""
        start = self._row(self.rules.start)
        unigrams = [self._arc(State(), token) for token in range(1, size)]
        while self._todo:
            self._fill(*self._todo.pop())
        rows = self._all_rows()
        number = {id(row): i for i, row in enumerate(rows)}
        arcs = [
            (token, gain, number[id(row)])
            for source in rows
            for token, (gain, row) in sorted(source.arcs.items())
        ]
        token, gain, state = zip(*arcs, strict=True) if arcs else ((), (), ())
        arrays = NgramTables(
            unigram_log_prob=[-np.inf, *(gain for gain, _ in unigrams)],
            unigram_state=[0, *(number[id(row)] for _, row in unigrams)],
            backoff=[row.weight for row in rows],
            backoff_state=[number[id(r.shorter or self._zero)] for r in rows],
            final=[row.final for row in rows],
            arc_begin=np.cumsum([0, *(len(row.arcs) for row in rows)]),
            arc_token=token,
            arc_log_prob=gain,
            arc_state=state,
            start=[number[id(start)]],
        )
        return NgramTables(*map(read_only, arrays, DTYPES))

    def closings(self, size: int) -> Closings:
        """Return what ends in the states of ``compile``."""
        states = {id(row): state for state, row in self._rows.items()}
        rows = self._all_rows()
        # lists: single numbers go into an array in ten times the time
        tokens, pending, rest = ([0] * len(rows) for _ in range(3))
        phrase = [NONE] * len(rows)
        places, named, needs = [], [], []
        for i, row in enumerate(rows):
            state = states.get(id(row), State())
            if row.final > -state.pending:  # a phrase ends
                phrase[i], tokens[i] = self.rules.banks(state)
            if not state.covered:
                continue
            pending[i], known = state.pending, 0
            for phrases, needed in self.rules.ahead(state):
                end = known + len(phrases)
                if end > AHEAD:
                    rest[i] = max(rest[i], needed)
                    continue
                places += range(i * AHEAD + known, i * AHEAD + end)
                named += phrases
                needs += [needed] * len(phrases)
                known = end
        ahead = np.full((len(rows), AHEAD), NONE, np.int32)
        kept = np.zeros_like(ahead)
        ahead.flat[places], kept.flat[places] = named, needs
        boundary = np.isin(np.arange(size), list(self.rules.boundaries))
        rng, count = np.random.default_rng(0), len(self.rules.first)
        code = rng.integers(2**62, size=count, dtype=np.int64)
        phrase, tokens, pending, rest = np.array(
            [phrase, tokens, pending, rest], np.int32
        )
        return Closings(
            phrase, tokens, boundary, pending, ahead, kept, rest, code
        )

    def _all_rows(self) -> list[_Row]:
        """List the rows in the order of their numbers."""
        behind = list(self._behind.values())
        return [self._zero, *behind, *list(self._rows.values())[1:]]

    def _row(self, state: State) -> _Row:
        row = self._rows.get(state)
        if row is None:
            row = self._rows[state] = _Row({}, final=self.rules.end(state))
            self._todo.append((state, row))
        return row

    def _arc(self, state: State, token: int) -> tuple[float, _Row]:
        new, gain = self.rules.step(state, token)
        return gain, self._row(new)

    def _fill(self, state: State, row: _Row) -> None:
        rules = self.rules
        shorter = rules.shorter(state)
        if shorter is not None:
            tokens, other = shorter
            row.shorter = self._row(other)
            row.weight = other.pending - state.pending
            row.arcs = {token: self._arc(state, token) for token in tokens}
            return
        tokens = {t for s in state.starts for t in rules.children[s.node]}
        row.weight = -state.pending
        covered, gap = rules.close(state)
        if gap.chain:
            tokens |= rules.spaces
            again = {rules.first[phrase] for phrase in gap.banned}
            tokens |= again & rules.boundaries
            banked = sum(covered) - sum(state.covered)
            if rules.boundaries > rules.spaces:
                row.shorter = self._row_behind(gap.chain, banked)
                row.weight += banked
        row.arcs = {token: self._arc(state, token) for token in tokens}

    def _row_behind(self, chain: int, banked: int) -> _Row:
        """Return the row of the words that may follow a phrase."""
        key = chain, banked
        if key not in self._behind:
            gap = Start(0, chain)
            tokens = self.rules.boundaries - self.rules.spaces
            arcs = {t: self._arc(State(gap=gap), t) for t in tokens}
            self._behind[key] = _Row(arcs, weight=-banked)
        return self._behind[key]
