"""Hot words: phrases of a user's list that a search is to prefer.

    phrases -> ids -> trie -> states and arcs of a table

The table has the form of an n-gram's, so the same compiled look-ups work on
it; in place of log-probabilities stand the tokens gained (`matching` says
which), which a search multiplies by the boost.

A phrase is looked for as the tokenizer spells it; a search that spells the
word with other pieces gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nar_asr_lobes.dataio.text.normalization import is_spaceless
from nar_asr_lobes.dataio.text.pieces import SPACE, Tokenizer
from nar_asr_lobes.decoding.hotwords.closings import Closings, count_gain
from nar_asr_lobes.decoding.hotwords.matching import (
    PhraseTrie,
    compile_phrases,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.lookup import fill_rows
from nar_asr_lobes.lm.ngram.tables import NgramTables
from nar_asr_lobes.schema import require_number

DEFAULT_BOOST = 1.0
_MAX_BOOST = 5.0  # e^5: a token 148 times as probable
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
        require_number("hot_boost", boost, 0.0, _MAX_BOOST)
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
