"""Sentences drawn from a small grammar that is read from a text file."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from nar_asr_lobes.dataio.manifest import read_lines
from nar_asr_lobes.errors import UserError

START = "sentence"
_SLOT = re.compile(r"\{(\w+)\}")
_CHOICE = re.compile(r"\(([^()]*)\)")
_WORDS = (3, 12)  # shortest and longest sentence
_MAX_TRIES = 1000


class Grammar:
    """A context-free grammar without cycles.

    Arguments
    ---------
    slots : dict of str to list of str
        The alternatives of each slot; "{name}" in one stands for that slot and
        "(a|b)" for either text. Drawing starts at the slot "sentence".

    Example
    -------
    >>> grammar = Grammar({"sentence": ["take (one|two) {form}"],
    ...                    "form": ["tablets"]})
    >>> sorted(grammar.words())
    ['one', 'tablets', 'take', 'two']
    >>> grammar.draw(random.Random(0))
    'take two tablets'
    """

    def __init__(self, slots: dict[str, list[str]]) -> None:
        self._slots = slots

    def draw(self, rng: random.Random) -> str:
        """Draw a sentence of 3 to 12 words, all alternatives equally likely."""
        for _ in range(_MAX_TRIES):
            sentence = self._expand(START, rng)
            if _WORDS[0] <= len(sentence.split()) <= _WORDS[1]:
                return sentence
        raise UserError(
            f"the grammar gave no sentence of {_WORDS[0]} to {_WORDS[1]} "
            f"words in {_MAX_TRIES} tries; give it shorter or longer lines"
        )

    def unique(
        self, rng: random.Random, taken: Collection[str] = ()
    ) -> Iterator[str]:
        """Draw sentences without end, none twice and none that is taken.

        Arguments
        ---------
        rng : random.Random
            Where the randomness comes from.
        taken : collection of str
            Sentences to leave out.

        Returns
        -------
        Iterator of str
            Raises UserError when the grammar seems to have no more.
        """
        seen = set(taken)
        while True:
            for _ in range(_MAX_TRIES):
                sentence = self.draw(rng)
                if sentence not in seen:
                    break
            else:
                raise UserError(
                    f"the grammar gave no new sentence after {len(seen)}; "
                    "ask for fewer"
                )
            seen.add(sentence)
            yield sentence

    def words(self) -> set[str]:
        """Every word the grammar can say."""
        text = " ".join(
            line for lines in self._slots.values() for line in lines
        )
        return set(re.findall(r"[a-z]+", _SLOT.sub(" ", text)))

    def _expand(self, slot: str, rng: random.Random) -> str:
        text = rng.choice(self._slots[slot])
        text = _CHOICE.sub(lambda m: rng.choice(m[1].split("|")), text)
        return _SLOT.sub(lambda m: self._expand(m[1], rng), text)


def read_grammar(path: Path) -> Grammar:
    """Read a grammar file.

    Arguments
    ---------
    path : Path
        Blocks separated by empty lines: a slot's name, then its alternatives,
        one a line. A line that starts with "#" is a comment.

    Returns
    -------
    Grammar
        Raises UserError, with file and line, for a slot that is used but not
        defined, defined twice, or without alternatives.
    """
    slots: dict[str, list[str]] = {}
    for number, block in _blocks(path):
        name, *alternatives = block
        if name in slots or not alternatives:
            fault = "is defined twice" if name in slots else "is empty"
            raise UserError(f"{path}:{number}: slot {name!r} {fault}; mend it")
        slots[name] = alternatives
    for name in (START, *_SLOT.findall(" ".join(sum(slots.values(), [])))):
        if name not in slots:
            raise UserError(f"{path}: slot {name!r} is not defined; add it")
    return Grammar(slots)


def _blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each block with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate([*read_lines(path), ""], start=1):
        if line.startswith("#"):
            continue
        if line.strip():
            block.append(line.strip())
        elif block:
            yield number - len(block), block
            block = []
