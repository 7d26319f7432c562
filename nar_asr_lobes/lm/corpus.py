"""Text as pieces of a tokenizer, or as words, for a language model."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.dataio.text.tokenizer import (
    Tokenizer,
    UnknownCharactersError,
)
from nar_asr_lobes.errors import UserError

# KenLM reads both spellings of the last as "any other word".
_RESERVED = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})
_LAST_SEPARATOR = 32  # ASCII; KenLM splits at the space and most controls

_log = logging.getLogger(__name__)


def lm_words(tokenizer: Tokenizer) -> list[str]:
    r"""Give every piece its word in a language model; index = id.

    It is the piece itself, except for a piece that KenLM would take for a
    sentence boundary, for an unknown word or for several words: that one is
    written ``<piece:ID>``, which no other piece is.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> lm_words(CharTokenizer("a \0"))
    ['<blank>', '<piece:1>', '▁', 'a']
    """
    taken = set(tokenizer.pieces)
    words = []
    for token, piece in enumerate(tokenizer.pieces):
        word = piece
        if _is_reserved(piece):
            word = f"<piece:{token}>"
            while word in taken:
                word += "'"
        words.append(word)
    return words


def _is_reserved(word: str) -> bool:
    return word in _RESERVED or min(map(ord, word)) <= _LAST_SEPARATOR


@dataclass(frozen=True)
class Corpus:
    """Sentences as ids of pieces or words."""

    tokens: np.ndarray  # int32 [S], of all sentences
    lengths: np.ndarray  # int64 [L], above 0
    lines_left_out: int  # empty or with unknown characters
    unknown_characters: tuple[str, ...]  # sorted

    def sentences(self) -> Iterator[list[int]]:
        """Yield the ids of one sentence after the other."""
        start = 0
        for length in self.lengths.tolist():
            yield self.tokens[start : start + length].tolist()
            start += length


def encode_corpus(texts: Iterable[str], tokenizer: Tokenizer) -> Corpus:
    """Encode lines; those that are empty or cannot be encoded are left out."""
    return _encode(texts, tokenizer, tokenizer.encode)


@dataclass(frozen=True)
class WordCorpus:
    """Sentences as ids of words; the last word stands for all unknown ones."""

    corpus: Corpus
    words: list[str]


def encode_words(
    texts: Iterable[str], tokenizer: Tokenizer, min_count: int = 1
) -> WordCorpus:
    """Encode lines as words, of those that occur ``min_count`` times or more.

    ``encode_corpus`` leaves out the same lines.
    """
    numbers: dict[str, int] = {}

    def encode(text: str) -> list[int]:
        tokenizer.encode(text)  # refuses unknown characters
        words = normalize_text(text).split()
        return [numbers.setdefault(word, len(numbers)) for word in words]

    corpus = _encode(texts, tokenizer, encode)
    counts = np.bincount(corpus.tokens)
    names = list(numbers)
    kept = [
        i
        for i, count in enumerate(counts.tolist())
        if count >= min_count and not _is_reserved(names[i])
    ]
    if not kept:
        raise UserError(
            f"no word of the text occurs {min_count} times; lower the count"
            " that a word needs, or use more text"
        )
    rare = "<rare>"
    while rare in numbers:
        rare += "'"
    new = np.full(len(names), len(kept), dtype=np.int32)
    new[kept] = np.arange(len(kept))
    words = [*(names[i] for i in kept), rare]
    return WordCorpus(replace(corpus, tokens=new[corpus.tokens]), words)


def _encode(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    encode: Callable[[str], list[int]],
) -> Corpus:
    tokens, lengths = array("i"), array("q")
    left_out, unknown = 0, set()
    for text in texts:
        try:
            ids = encode(text)
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
    if characters:
        _log.warning(
            "n-gram: %d lines are empty or have characters outside the"
            " tokenizer and are left out: %s",
            left_out,
            " ".join(map(repr, characters[:10])),
        )
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
