"""What listed phrases gain in a token sequence, one token at a time.

The rules, of a whole sequence:

- A phrase occurs where its tokens stand from the start of a word up to a word
  boundary or the end. Each token that an occurrence covers gains 1, once.
- An occurrence right behind one of the same phrase gains nothing, nor does one
  at the end of a chain of more than ``MAX_CHAIN`` occurrences, each right
  behind another. Otherwise a search could fill silence with listed words.
- Nor does a phrase that has gained often enough. That is not up to the states
  here but to who counts what ``banks`` says (``hot_closings``).

One token at a time, tokens on their way through a phrase gain at once and give
it back where the phrase does not come to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_CHAIN = 3
_NOBODY: frozenset[int] = frozenset()
_ROOT = 0


class Start(NamedTuple):
    """A word start from which the tokens up to here begin a phrase.

    Arguments
    ---------
    node : int
        The tokens since, in the trie of phrases.
    chain : int
        Occurrences in the longest chain that ends right before it.
    banned : frozenset of int
        Phrases that end right before it and could come again from here.
    """

    node: int
    chain: int = 0
    banned: frozenset[int] = _NOBODY


class State(NamedTuple):
    """What of the past still matters.

    Arguments
    ---------
    starts : tuple of Start
        Earliest first.
    covered : tuple of bool
        For each token since the earliest start that may still gain, whether
        an occurrence covers it.
    gap : Start or None
        What is right before the next word, where a space has been passed
        already; None where nothing is.
    """

    starts: tuple[Start, ...] = ()
    covered: tuple[bool, ...] = ()
    gap: Start | None = None

    @property
    def pending(self) -> int:
        """Number of tokens whose gain may have to be given back."""
        return self.covered.count(False)


_EMPTY = State()


class HotRules:
    """The rules for one list of phrases.

    Arguments
    ---------
    phrases : sequence of sequences of int
        Token ids of each phrase; none is empty, none stands twice.
    boundaries : set of int
        Tokens before which a word ends.
    spaces : set of int
        Those of them that are nothing but a space.
    leading : bool
        Whether a word's first token holds the space before it.

    Example
    -------
    >>> rules = HotRules([(2, 3)], boundaries={1}, spaces={1})
    >>> state, gains = rules.start, []
    >>> for token in (2, 3, 1, 2, 3, 1, 4, 1, 2, 4):
    ...     state, gain = rules.step(state, token)
    ...     gains.append(gain)
    >>> gains
    [1, 1, 0, 0, 0, 0, 0, 0, 1, -1]
    """

    def __init__(
        self,
        phrases: Sequence[Sequence[int]],
        boundaries: set[int],
        spaces: set[int],
        leading: bool = False,
    ):
        self.boundaries, self.spaces = boundaries, spaces
        self.leading = leading
        self.phrases = phrases
        self.first = [tokens[0] for tokens in phrases]
        self.children: list[dict[int, int]] = [{}]
        self._length, self._phrase, self._under = [0], [-1], [set()]
        for phrase, tokens in enumerate(phrases):
            self._add(phrase, tokens)

    def _add(self, phrase: int, tokens: Sequence[int]) -> None:
        node = _ROOT
        self._under[node].add(phrase)
        for token in tokens:
            if token not in self.children[node]:
                self.children[node][token] = len(self.children)
                self.children.append({})
                self._length.append(self._length[node] + 1)
                self._phrase.append(-1)
                self._under.append(set())
            node = self.children[node][token]
            self._under[node].add(phrase)
        self._phrase[node] = phrase

    @property
    def start(self) -> State:
        """The state at the start of a sentence."""
        return State() if self.leading else self._tidy([Start(_ROOT)])

    def step(self, state: State, token: int) -> tuple[State, int]:
        """Return the state behind a token, and what the token gains."""
        starts, covered, gap = [], state.covered, None
        if token in self.boundaries:
            covered, gap = self.close(state)
        begins = gap is not None and token not in self.spaces
        for start in state.starts:
            node = self.children[start.node].get(token)
            if node is not None and not (begins and start.node == _ROOT):
                starts.append(Start(node, start.chain, start.banned))
        if gap is not None:
            starts += self.enter(gap, token)
            if token not in self.spaces or gap.chain == 0:
                gap = None
        new = self._tidy(starts, (*covered, False), gap)
        gain = new.pending - state.pending
        if covered is not state.covered:
            gain += sum(covered) - sum(state.covered)
        return new, gain

    def enter(self, gap: Start, token: int) -> list[Start]:
        """Return the start, if any, that a boundary token opens."""
        if token in self.spaces and not self.leading:
            return [gap]
        node = self.children[_ROOT].get(token)
        return [] if node is None else [gap._replace(node=node)]

    def end(self, state: State) -> int:
        """Return what the sentence's end gains."""
        if not state.covered:
            return 0
        covered, _ = self.close(state)
        return -covered.count(False)

    def close(self, state: State) -> tuple[tuple[bool, ...], Start]:
        """Return the tokens covered when a word ends here, and what ended."""
        if state.gap is not None:
            return state.covered, state.gap
        covered, chain, ended = state.covered, 0, set()
        for start in state.starts:
            phrase = self._phrase[start.node]
            if phrase < 0:
                continue
            ended.add(phrase)
            chain = max(chain, min(start.chain + 1, MAX_CHAIN))
            if start.chain < MAX_CHAIN and phrase not in start.banned:
                length = self._length[start.node]
                covered = (*covered[:-length], *[True] * length)
        banned = frozenset(ended) if chain < MAX_CHAIN else _NOBODY
        return covered, Start(_ROOT, chain, banned)

    def banks(self, state: State) -> tuple[int, int]:
        """Return which phrase gains if a word ends here, and its new tokens.

        The longest one, -1 for none; its tokens that an occurrence before it
        covers too are not new.
        """
        if state.gap is not None:
            return -1, 0
        covered, _ = self.close(state)
        new = sum(covered) - sum(state.covered)
        if not new:
            return -1, 0
        phrases = [
            self._phrase[start.node]
            for start in state.starts
            if start.chain < MAX_CHAIN
            and self._phrase[start.node] not in {-1, *start.banned}
        ]
        return phrases[0], new

    def ahead(self, state: State) -> list[tuple[set[int], int]]:
        """Return what may come of each start, earliest first.

        The phrases that may gain, and the tokens that have gained for them
        and may have to give it back.
        """
        found = []
        for start in state.starts:
            phrases = self._under[start.node]
            if start.banned:
                phrases = phrases - start.banned
            length = self._length[start.node]
            if start.chain < MAX_CHAIN and phrases and length:
                found.append((phrases, state.covered[-length:].count(False)))
        return found

    def shorter(self, state: State) -> tuple[set[int], State] | None:
        """Return the tokens that set a state apart, and the one it is like.

        All other tokens lead where they lead from that one. None where a
        phrase ends, as what follows depends on it.
        """
        if not state.starts or self._phrase[state.starts[0].node] >= 0:
            return None
        first, *rest = state.starts
        gap = state.gap
        if gap is not None and (self.leading or not (gap.banned or rest)):
            return None
        if gap is not None and gap.banned:  # the last start is the gap's
            tokens = self.spaces | {self.first[p] for p in gap.banned}
            gap = gap._replace(banned=_NOBODY)
            rest = [*state.starts[:-1], gap]
        elif 0 < len(first.banned) < len(self._under[first.node]):
            place = self._length[first.node]
            tokens = {self.phrases[phrase][place] for phrase in first.banned}
            rest.insert(0, first._replace(banned=_NOBODY))
        else:
            tokens = set(self.children[first.node])
        other = self._tidy(rest, state.covered, gap) if rest else _EMPTY
        return tokens, other

    def _tidy(
        self,
        starts: Sequence[Start],
        covered: tuple[bool, ...] = (),
        gap: Start | None = None,
    ) -> State:
        """Forget what no longer matters, so that equal futures are equal."""
        kept, length = [], 0
        for start in starts:
            node, chain, banned = start
            others = len(self._under[node])
            if banned:
                banned &= self._under[node]
                others -= len(banned)
                if not others and chain == MAX_CHAIN - 1:
                    chain, banned = MAX_CHAIN, _NOBODY  # neither gains
                start = Start(node, chain, banned)
            if others and chain < MAX_CHAIN:
                length = max(length, self._length[node])
            kept.append(start)
        tail = covered[len(covered) - length :]
        return State(tuple(kept), tail, gap)
