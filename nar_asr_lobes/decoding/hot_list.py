"""Reads a user's list of hot words: a text file with a phrase a line."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from nar_asr_lobes.dataio.text import normalize_text
from nar_asr_lobes.dataio.tokenizer import Tokenizer
from nar_asr_lobes.decoding.hot_words import DEFAULT_BOOST, HotWords
from nar_asr_lobes.errors import UserError

logger = logging.getLogger(__name__)


def read_hot_words(
    path: str | os.PathLike,
    tokenizer: Tokenizer,
    text_style: str = "none",
    boost: float = DEFAULT_BOOST,
) -> HotWords:
    """Read a list and make it ready for a search.

    Arguments
    ---------
    path : str or path
        UTF-8 text, a phrase of one or more words a line. Empty lines mean
        nothing. Lines with characters outside the tokenizer are named in the
        log, left out and counted there.
    tokenizer : Tokenizer
        The recogniser's.
    text_style : str
        How its training transcripts were normalised; so are the phrases.
    boost : float
        Nats for each token, 0 to 5.

    Returns
    -------
    HotWords

    Raises
    ------
    UserError
        For a file that cannot be read or has no usable line, and a boost
        outside its limits.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.tokenizer import CharTokenizer
    >>> path = Path(tempfile.mkdtemp(), "drugs.txt")
    >>> _ = path.write_text("Ab\\n\\nba ab\\n")
    >>> read_hot_words(path, CharTokenizer("ab "), "english").phrases
    ('ab', 'ba ab')
    """
    phrases, left_out = [], 0
    for number, line in enumerate(_lines(path), start=1):
        phrase = normalize_text(line, text_style)
        unknown = tokenizer.unknown_characters(phrase)
        fault = None
        if unknown:
            shown = ", ".join(map(repr, unknown[:10]))
            fault = f"has characters outside the tokenizer: {shown}"
        elif line.strip() and not phrase:
            fault = "has no letter or digit"
        if fault:
            left_out += 1
            logger.warning("%s:%d: %s; left out", path, number, fault)
        elif phrase:
            phrases.append(phrase)
    if not phrases:
        raise UserError(
            f"{path}: has no usable hot word ({left_out} lines left out); "
            "write a word or phrase on each line"
        )
    if left_out:
        logger.warning(
            "%s: %d lines left out, %d used", path, left_out, len(phrases)
        )
    return HotWords.build(phrases, tokenizer, boost)


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
