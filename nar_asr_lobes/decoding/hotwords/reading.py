"""Reads a user's list of hot words: a phrase a line, or commas between them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.hotwords.tables import DEFAULT_BOOST, HotWords
from nar_asr_lobes.errors import UserError

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
