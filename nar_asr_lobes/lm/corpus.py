"""Text as pieces of a tokenizer, and pieces as words of a language model."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nar_asr_lobes.dataio.tokenizer import Tokenizer, UnknownCharactersError
from nar_asr_lobes.errors import UserError

# KenLM reads both spellings of the last as "any other word".
_RESERVED = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})
_LAST_SEPARATOR = 32  # ASCII; KenLM splits at the space and most controls


def lm_words(tokenizer: Tokenizer) -> list[str]:
    """Give every piece its word in a language model.

    It is the piece itself, except for a piece that KenLM would take for a
    sentence boundary, for an unknown word or for several words: that one is
    written ``<piece:ID>``, which no other piece is.

    Arguments
    ---------
    tokenizer : Tokenizer

    Returns
    -------
    list of str
        Index = id, all different. The blank's entry is never used.

    Example
    -------
    >>> from nar_asr_lobes.dataio.tokenizer import CharTokenizer
    >>> lm_words(CharTokenizer("a \\0"))
    ['<blank>', '<piece:1>', '▁', 'a']
    """
    taken = set(tokenizer.pieces)
    words = []
    for token, piece in enumerate(tokenizer.pieces):
        word = piece
        if piece in _RESERVED or min(map(ord, piece)) <= _LAST_SEPARATOR:
            word = f"<piece:{token}>"
            while word in taken:
                word += "'"
        words.append(word)
    return words


@dataclass(frozen=True)
class Corpus:
    """Sentences as token ids.

    Arguments
    ---------
    tokens : np.ndarray
        int32 [S]: ids of all sentences, one after the other.
    lengths : np.ndarray
        int64 [L]: tokens of each sentence, > 0.
    lines_left_out : int
        Lines that are empty or have characters outside the tokenizer.
    unknown_characters : tuple of str
        Those characters, sorted.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    lines_left_out: int
    unknown_characters: tuple[str, ...]

    def sentences(self) -> Iterator[list[int]]:
        """Yield the ids of one sentence after the other."""
        start = 0
        for length in self.lengths.tolist():
            yield self.tokens[start : start + length].tolist()
            start += length


def encode_corpus(texts: Iterable[str], tokenizer: Tokenizer) -> Corpus:
    """Encode lines of text; those that cannot be encoded are left out.

    Arguments
    ---------
    texts : iterable of str
        One sentence each, normalised like the tokenizer's training text.
    tokenizer : Tokenizer

    Returns
    -------
    Corpus

    Raises
    ------
    UserError
        If no line is left.

    Example
    -------
    >>> from nar_asr_lobes.dataio.tokenizer import CharTokenizer
    >>> corpus = encode_corpus(["ab", "", "b", "ax"], CharTokenizer("ab"))
    >>> corpus.tokens.tolist(), corpus.lengths.tolist()
    ([1, 2, 2], [2, 1])
    >>> corpus.lines_left_out, corpus.unknown_characters
    (2, ('x',))
    """
    tokens, lengths = array("i"), array("q")
    left_out, unknown = 0, set()
    for text in texts:
        try:
            ids = tokenizer.encode(text)
        except UnknownCharactersError:
            unknown.update(tokenizer.unknown_characters(text))
            ids = []
        if not ids:
            left_out += 1
            continue
        tokens.extend(ids)
        lengths.append(len(ids))
    characters = tuple(sorted(unknown))
    if not lengths:
        raise _no_usable_line(left_out, characters)
    return Corpus(
        np.array(tokens, dtype=np.int32),
        np.array(lengths, dtype=np.int64),
        left_out,
        characters,
    )


def _no_usable_line(lines: int, characters: tuple[str, ...]) -> UserError:
    reason = "empty"
    if characters:
        shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in characters[:10])
        reason += f" or have characters outside the tokenizer ({shown})"
    return UserError(
        "no line of text can be used for a language model: all of the"
        f" {lines} given are {reason}; normalise the text like the tokenizer's"
        " training text"
    )
