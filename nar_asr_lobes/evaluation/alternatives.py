"""References that allow several wordings: "I am {going to/gonna} sleep".

    reference with {a/b}, hypothesis -> the wording with the fewest word errors

An alternative may be empty: "{uh/}". The wording that fits best is found with
the edit distance over all of them at once, so many alternatives in one
reference take time in proportion to their words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_ALTERNATIVES = re.compile(r"\{([^{}]*/[^{}]*)\}")
_PAIR = re.compile(r"\{[^{}]*\}")
# A column of the edit distance: for each number of hypothesis words the
# errors, and the alternatives chosen on the way.
_Column = list[tuple[int, tuple[int, ...]]]


def choose_alternatives(
    reference: str, hypothesis: str, normalize: Callable[[str], str] = str
) -> str:
    """Write a reference with the alternatives that fit the hypothesis best.

    Arguments
    ---------
    reference : str
        With alternatives in braces or without.
    hypothesis : str
        Normalised.
    normalize : callable
        From raw to normalised text, for the parts of the reference.

    Returns
    -------
    str
        Normalised. Of alternatives with equally few errors the first.

    Example
    -------
    >>> choose_alternatives("I am {going to/gonna} sleep", "I gonna sleep")
    'I am gonna sleep'
    """
    parts = _ALTERNATIVES.split(reference)
    if len(parts) == 1:
        return normalize(reference)
    # Odd parts were between braces.
    options = [
        [normalize(text).split() for text in part.split("/")]
        if place % 2
        else [normalize(part).split()]
        for place, part in enumerate(parts)
    ]
    words = hypothesis.split()
    column: _Column = [(place, ()) for place in range(len(words) + 1)]
    for choices in options:
        column = _best(
            [
                _advance(column, choice, words, number)
                for number, choice in enumerate(choices)
            ]
        )
    chosen = column[-1][1]
    return " ".join(
        word
        for choices, number in zip(options, chosen, strict=True)
        for word in choices[number]
    )


def are_closed(reference: str) -> bool:
    """Whether each brace of a reference has its partner; none within others.

    Example
    -------
    >>> are_closed("{uh/} yes"), are_closed("{uh/ yes")
    (True, False)
    """
    return not set("{}") & set(_PAIR.sub(" ", reference))


def _best(columns: Sequence[_Column]) -> _Column:
    return [min(cells) for cells in zip(*columns, strict=True)]


def _advance(
    column: _Column, choice: Sequence[str], words: Sequence[str], number: int
) -> _Column:
    """The edit distance after the words of one choice."""
    column = [(errors, (*path, number)) for errors, path in column]
    for said in choice:
        after = [_worse(column[0])]
        for place, heard in enumerate(words):
            step = column[place]
            if said != heard:
                step = _worse(step)
            after.append(
                min(step, _worse(column[place + 1]), _worse(after[place]))
            )
        column = after
    return column


def _worse(cell: tuple[int, tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    return cell[0] + 1, cell[1]
