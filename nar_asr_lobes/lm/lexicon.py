"""The words of a word n-gram and how a tokenizer spells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nar_asr_lobes.dataio.pieces import SPACE, Tokenizer, UnknownCharactersError
from nar_asr_lobes.dataio.text import normalize_text
from nar_asr_lobes.errors import UserError


@dataclass(frozen=True)
class Lexicon:
    """Words in the order of their spellings, all different.

    W: words, P: pieces of all spellings, G: words given.

    Arguments
    ---------
    pieces : np.ndarray
        int32 [P]: the spellings, one after the other; none holds the space.
    begin : np.ndarray
        int64 [W + 1]: word w is pieces[begin[w]:begin[w + 1]], not empty.
    place : np.ndarray
        int64 [G]: number of each word given, -1 for those left out.
    """

    pieces: np.ndarray
    begin: np.ndarray
    place: np.ndarray


def find_space(tokenizer: Tokenizer) -> int:
    """Return the piece that stands between words, and for nothing else.

    Arguments
    ---------
    tokenizer : Tokenizer

    Returns
    -------
    int
        Its id.

    Raises
    ------
    UserError
        If there is none, or other pieces hold the space too, as
        sentencepiece's do.

    Example
    -------
    >>> from nar_asr_lobes.dataio.pieces import CharTokenizer
    >>> find_space(CharTokenizer("ab "))
    1
    """
    holders = [i for i, p in enumerate(tokenizer.pieces) if SPACE in p]
    if len(holders) != 1 or tokenizer.pieces[holders[0]] != SPACE:
        raise UserError(
            "a word n-gram needs a tokenizer with a piece for the space that"
            f" no other piece holds, and {len(holders)} pieces of this one"
            " hold it; train the language model over pieces, or the model"
            " with a character tokenizer on text of several words"
        )
    return holders[0]


def make_lexicon(
    words: Sequence[str], tokenizer: Tokenizer, text_style: str = "none"
) -> Lexicon:
    """Spell words; those that cannot be spelled are left out.

    Arguments
    ---------
    words : sequence of str
    tokenizer : Tokenizer
        One that `find_space` accepts.
    text_style : str
        Normalisation of each word. One that becomes empty, several words, or
        the same as an earlier one, is left out.

    Returns
    -------
    Lexicon

    Raises
    ------
    UserError
        If no word is left.

    Example
    -------
    >>> from nar_asr_lobes.dataio.pieces import CharTokenizer
    >>> lexicon = make_lexicon(["ba", "ax", "a"], CharTokenizer("ab "))
    >>> lexicon.pieces.tolist(), lexicon.begin.tolist()
    ([2, 3, 2], [0, 1, 3])
    >>> lexicon.place.tolist()
    [1, -1, 0]
    """
    space, rows = find_space(tokenizer), {}
    for row, word in enumerate(words):
        try:
            ids = tokenizer.encode(normalize_text(word, text_style))
        except UnknownCharactersError:
            continue
        if ids and space not in ids:
            rows.setdefault(tuple(ids), row)
    if not rows:
        shown = ", ".join(map(repr, words[:5]))
        raise UserError(
            f"none of the {len(words)} words ({shown}, …) can be spelled with"
            " this tokenizer; normalise the words like the tokenizer's"
            " training text"
        )
    spellings = sorted(rows)
    place = np.full(len(words), -1)
    place[[rows[ids] for ids in spellings]] = np.arange(len(spellings))
    return Lexicon(
        np.array([i for ids in spellings for i in ids], dtype=np.int32),
        np.cumsum([0, *map(len, spellings)]),
        place,
    )
