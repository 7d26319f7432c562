"""Hot words: phrases of a user's list that a search is to prefer.

    list -> phrases -> ids -> trie -> states and arcs of a table

The table has the form of an n-gram's, so the same compiled look-ups work on
it; in place of log-probabilities stand the tokens gained (`matching` says
which), which a search multiplies by the boost.

A phrase is looked for as the tokenizer spells it; a search that spells the
word with other pieces gains nothing.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nar_asr_lobes.dataio.text.normalization import is_spaceless, normalize_text
from nar_asr_lobes.dataio.text.pieces import SPACE, Tokenizer
from nar_asr_lobes.decoding.hotwords.matching import (
    Closings,
    PhraseTrie,
    compile_phrases,
    count_gain,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.lookup import fill_rows
from nar_asr_lobes.lm.ngram.tables import NgramTables
from nar_asr_lobes.schema import require_number

DEFAULT_BOOST = 1.0
MAX_BOOST = 5.0  # e^5: a token 148 times as probable
_MAX_TIMES = 3  # a phrase gains, lest noise be filled with it


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
    limit: int = _MAX_TIMES

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
        trie = PhraseTrie(list(unique), boundaries, spaces, leading)
        tables, closings = compile_phrases(trie, tokenizer.size)
        tables = fill_rows(tables)
        return cls(tuple(unique.values()), tables, closings, float(boost))

    def gain(self, tokens: Sequence[int]) -> float:
        """Return the bonus of a whole token sequence, in nats."""
        ids = np.array(tokens, dtype=np.int64)
        gained = count_gain(self.tables, self.closings, self.limit, ids)
        return self.boost * gained


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


logger = logging.getLogger(__name__)

# Of Latin, Arabic, Chinese and Japanese; none within a number such as 1,000.
_SEPARATOR = re.compile(r"(?<!\d),|,(?!\d)|[;،؛，；、]")
_SHOWN = 5


def read_hot_words(
    path: str | os.PathLike,
    tokenizer: Tokenizer,
    text_style: str = "none",
    boost: float = DEFAULT_BOOST,
) -> HotWords:
    r"""Read phrases, each on a line or followed by a comma or semicolon.

    Blank lines and comments (#) are skipped; phrases with characters that the
    tokenizer lacks are left out, which is logged. ``boost``: nats a token.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> path = Path(tempfile.mkdtemp(), "drugs.txt")
    >>> _ = path.write_text("# of ward 3\nAb, ba ab\n")
    >>> read_hot_words(path, CharTokenizer("ab "), "english").phrases
    ('ab', 'ba ab')
    """
    phrases, left_out, missing = [], [], {}
    for number, written in _written_phrases(path):
        phrase = normalize_text(written, text_style)
        unknown = tokenizer.unknown_characters(phrase)
        if phrase and not unknown:
            phrases.append(phrase)
            continue
        left_out.append(f"{written!r} (line {number})")
        missing.update(dict.fromkeys(unknown or written))
    fault = ""
    if left_out:
        fault = (
            f"{len(left_out)} of {len(left_out) + len(phrases)} hot words "
            f"cannot be recognised and are left out: {_first(left_out)}; the "
            f"model does not know {_first(list(map(repr, missing)), 10)}"
        )
    if not phrases:
        raise UserError(
            f"{path}: has no usable hot word; write one on each line or "
            f"commas between them{fault and f' ({fault})'}"
        )
    if fault:
        logger.warning("%s: %s", path, fault)
    return HotWords.build(phrases, tokenizer, boost)


def _written_phrases(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """Yield each phrase with the number of its line."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.lstrip().startswith("#"):
            for phrase in _SEPARATOR.split(line):
                if phrase.strip():
                    yield number, phrase.strip()


def _first(names: list[str], shown: int = _SHOWN) -> str:
    """Name the first and count the rest."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _lines(path: str | os.PathLike) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(
            f"{path}: cannot read this list of hot words ({error.strerror}); "
            "check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not UTF-8 (byte {error.start}); save the list of hot "
            "words as UTF-8 text"
        ) from error
