"""The words of a word n-gram and how a tokenizer spells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.dataio.text.pieces import (
    SPACE,
    CharTokenizer,
    Tokenizer,
    UnknownCharactersError,
)
from nar_asr_lobes.errors import UserError


@dataclass(frozen=True)
class Lexicon:
    """Words in the order of their spellings, all different.

    W: words, P: pieces of all spellings, G: words given.

    Arguments
    ---------
    pieces : np.ndarray
        int32 [P]: the spellings, one after the other; none holds a space
        between words.
    begin : np.ndarray
        int64 [W + 1]: word w is pieces[begin[w]:begin[w + 1]], not empty.
    place : np.ndarray
        int64 [G]: number of each word given, the same for those that are
        spelled alike, -1 for those left out.
    """

    pieces: np.ndarray
    begin: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class WordEnds:
    """The pieces behind which, or with which, the word before has ended.

    Arguments
    ---------
    tokens : np.ndarray
        int64 [E]: their ids.
    space : bool
        True: the one piece is a space, and stands between words. False: each
        of them is the first piece of the next word.
    """

    tokens: np.ndarray
    space: bool


def find_word_ends(tokenizer: Tokenizer) -> WordEnds:
    """Find out how a tokenizer's pieces tell that a word has ended.

    Arguments
    ---------
    tokenizer : Tokenizer

    Returns
    -------
    WordEnds

    Raises
    ------
    UserError
        If no piece holds the space, or one holds it behind something else.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import train_tokenizer
    >>> find_word_ends(CharTokenizer("ab "))
    WordEnds(tokens=array([1]), space=True)
    >>> find_word_ends(train_tokenizer(["ab ba", "aab"], "unigram", 6)).space
    False
    """
    pieces = tokenizer.pieces
    holders = [i for i, piece in enumerate(pieces) if SPACE in piece]
    odd = [i for i in holders if SPACE in pieces[i].lstrip(SPACE)]
    if odd or not holders:
        fault = "none of this one's does"
        if odd:
            fault = f"{pieces[odd[0]]!r} of this one holds it elsewhere"
        raise UserError(
            "a word n-gram needs a tokenizer whose pieces hold the space in"
            f" front of a word, or alone, and {fault}; train the language"
            " model over pieces, or the model with another tokenizer on text"
            " of several words"
        )
    space = isinstance(tokenizer, CharTokenizer)
    return WordEnds(np.array(holders), space)


def make_lexicon(
    words: Sequence[str], tokenizer: Tokenizer, text_style: str = "none"
) -> Lexicon:
    """Spell words; those that cannot be spelled are left out.

    Arguments
    ---------
    words : sequence of str
    tokenizer : Tokenizer
        One that `find_word_ends` accepts.
    text_style : str
        Normalisation of each word. One that becomes empty or several words is
        left out.

    Returns
    -------
    Lexicon

    Raises
    ------
    UserError
        If no word is left.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.pieces import CharTokenizer
    >>> lexicon = make_lexicon(["ba", "ax", "a"], CharTokenizer("ab "))
    >>> lexicon.pieces.tolist(), lexicon.begin.tolist()
    ([2, 3, 2], [0, 1, 3])
    >>> lexicon.place.tolist()
    [1, -1, 0]
    """
    ends, rows = find_word_ends(tokenizer), {}
    holders, wanted = set(ends.tokens.tolist()), [] if ends.space else [0]
    for row, word in enumerate(words):
        try:
            ids = tokenizer.encode(normalize_text(word, text_style))
        except UnknownCharactersError:
            continue
        places = [i for i, token in enumerate(ids) if token in holders]
        if ids and places == wanted:
            rows.setdefault(tuple(ids), []).append(row)
    if not rows:
        shown = ", ".join(map(repr, words[:5]))
        raise UserError(
            f"none of the {len(words)} words ({shown}, …) can be spelled with"
            " this tokenizer; normalise the words like the tokenizer's"
            " training text"
        )
    spellings = sorted(rows)
    place = np.full(len(words), -1)
    for number, ids in enumerate(spellings):
        place[rows[ids]] = number
    return Lexicon(
        np.array([i for ids in spellings for i in ids], dtype=np.int32),
        np.cumsum([0, *map(len, spellings)]),
        place,
    )
