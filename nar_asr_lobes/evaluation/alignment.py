"""The alignment of words that errors of terms are counted in.

Several alignments may have equally few errors, and whether a drug name counts
as right can depend on the choice. This one is fixed by a rule, the same as in
published medical scores: from the end of both texts, equal words go together,
then a substitution is preferred to a deletion, and that to an insertion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nar_asr_lobes.errors import UserError

_MAX_CELLS = 10**9  # bytes of memory: two texts of 30,000 words, or 3 hours
_DIAGONAL, _UP, _LEFT = range(3)


def align_words(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> list[tuple[str, str]]:
    """Align the words of two texts with the fewest errors.

    Arguments
    ---------
    reference, hypothesis : sequence of str
        The words, [U] and [W].

    Returns
    -------
    list of tuple
        Words beside each other; "" where a side has none.

    Raises
    ------
    UserError
        Where both texts are too long for the memory.

    Example
    -------
    >>> align_words(["no", "chest", "pain"], ["no", "pain", "today"])
    [('no', 'no'), ('chest', 'pain'), ('pain', 'today')]
    """
    if len(reference) * len(hypothesis) > _MAX_CELLS:
        raise UserError(
            f"a text of {len(reference)} words cannot be aligned with one of "
            f"{len(hypothesis)} (at most 30,000 each); split the recording"
        )
    moves = _moves(reference, hypothesis)
    pairs = []
    row, column = len(reference), len(hypothesis)
    while row or column:
        move = moves[row, column]
        said = heard = ""
        if move != _LEFT:
            row -= 1
            said = reference[row]
        if move != _UP:
            column -= 1
            heard = hypothesis[column]
        pairs.append((said, heard))
    return pairs[::-1]


def _moves(reference: Sequence[str], hypothesis: Sequence[str]) -> np.ndarray:
    """The last step of the alignment of each pair of prefixes, [U+1, W+1]."""
    known = {word: i for i, word in enumerate({*reference, *hypothesis})}
    said = [known[word] for word in reference]
    heard = np.array([known[word] for word in hypothesis], dtype=np.int64)
    columns = np.arange(len(heard) + 1)
    moves = np.full((len(said) + 1, len(columns)), _LEFT, dtype=np.uint8)
    moves[1:, 0] = _UP
    above = columns
    for row, word in enumerate(said, 1):
        diagonal = above[:-1] + (heard != word)
        best = np.minimum(above + 1, np.concatenate([[row], diagonal]))
        # A word inserted costs one more than the cell on the left.
        errors = np.minimum.accumulate(best - columns) + columns
        moves[row, 1:][errors[1:] == above[1:] + 1] = _UP
        moves[row, 1:][errors[1:] == diagonal] = _DIAGONAL
        above = errors
    return moves
