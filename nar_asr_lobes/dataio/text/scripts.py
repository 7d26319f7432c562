"""Scripts that are written without spaces, and how wide characters are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache

# First words of the Unicode names of their characters.
_SPACELESS = frozenset(
    "CJK IDEOGRAPHIC HIRAGANA KATAKANA KATAKANA-HIRAGANA HALFWIDTH BOPOMOFO "
    "THAI LAO KHMER MYANMAR TIBETAN JAVANESE BALINESE".split()
)
_LONGEST_WORD = 24  # characters
# No line starts with the former, or ends with the latter.
_AFTER = "ะาำๅະາຳぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ"
_BEFORE = "เแโใไເແໂໃໄ\u17d2\u1039"


@cache
def is_spaceless(character: str) -> bool:
    """Tell whether words of a character's script have no spaces between them.

    Example
    -------
    >>> [is_spaceless(character) for character in "気ตa한"]
    [True, True, False, False]
    """
    name = unicodedata.name(character, "")
    return name.partition(" ")[0] in _SPACELESS


@cache
def may_break(before: str, after: str) -> bool:
    """Tell whether a line may end between two characters without a space.

    Example
    -------
    >>> may_break("天", "気"), may_break("気", "。"), may_break("ต", "\u0e49")
    (True, False, False)
    """
    return not (
        unicodedata.category(after)
        in ("Mn", "Mc", "Me", "Lm", "Pe", "Pf", "Po")
        or unicodedata.category(before) in ("Ps", "Pi")
        or after in _AFTER
        or before in _BEFORE
    )


def text_width(text: str) -> int:
    """Give the columns that a text takes; wide characters take two.

    Example
    -------
    >>> text_width("天気"), text_width("cafe\u0301")
    (4, 4)
    """
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def has_no_words(text: str) -> bool:
    """Tell whether a text has words, but no spaces that would show them.

    Example
    -------
    >>> [has_no_words(text) for text in ("今天天气", "今天 天气", "today")]
    [True, False, False]
    """
    if len(text.split()) > 1:
        return False
    return len(text) > _LONGEST_WORD or sum(map(is_spaceless, text)) > 1


def mostly_without_words(texts: Iterable[str]) -> bool:
    """Tell whether characters, not words, are what errors are counted in.

    Example
    -------
    >>> mostly_without_words(["今天天气", "很好", "ok"])
    True
    """
    found = [has_no_words(text) for text in texts]
    return 2 * sum(found) > len(found)
