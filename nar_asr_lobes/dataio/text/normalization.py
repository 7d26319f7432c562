"""Transcripts into one form, so that the same words are the same string.

    raw text -> Unicode form -> no invisible characters
             -> (case, punctuation) -> single spaces

Styles that change more than white space raise `NORMALIZER_VERSION` when they
change, because word error rates before and after cannot be compared.

Invisible characters are soft hyphens, zero-width spaces and joiners, marks of
direction, variation selectors and the byte-order mark: nobody says them. Two
stay where they are spelling, as in Persian and the scripts of India: a (non-)
joiner beside a virama, and a non-joiner between letters of Arabic script (the
rules of RFC 5892, and a joiner in front of a virama, which Bengali needs).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from nar_asr_lobes.errors import UserError

NORMALIZER_VERSION = 2  # raise it when the same input gives other output
STYLES = ("none", "english", "unicode")
SPACE = "▁"  # U+2581, sentencepiece's sign for a space

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u0060\u00b4"), "'")
# Punctuation that is spelling inside a word. The letters U+02BB, U+02BC and
# U+A78C (glottal stops) look like apostrophes and are kept as they are.
_IN_WORD = dict.fromkeys("'\u2018\u2019\uff07\u0060\u00b4\u055a", "'")
_IN_WORD |= dict.fromkeys("\u00b7\u0387", "\u00b7")  # Catalan l·l
_IN_WORD |= {c: c for c in "\u05f3\u05f4"}  # Hebrew geresh, gershayim
# Stress and question marks of Armenian stand on a vowel; a tatweel (U+0640)
# only makes an Arabic word longer.
_WITHIN_WORDS = re.compile("[\u055b\u055c\u055e\u0640]")
# Symbols that are tones: of Bopomofo, IPA and Chinese dialects.
_TONES = frozenset(map(chr, [*range(0x2B0, 0x300), *range(0xA700, 0xA722)]))
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+"
)
_NON_JOINER = "\u200c"
_JOINERS = (_NON_JOINER, "\u200d")
_VIRAMA = 9  # canonical combining class


def normalize_text(text: str, style: str = "none") -> str:
    """Bring a transcript into the form that training and scoring use.

    Arguments
    ---------
    text : str
        Any text.
    style : str
        "none": NFC (composed letters), single spaces (also for "▁"), no
        invisible characters; nothing else changes.
        "english": NFKC, lower case, and only letters, digits and apostrophes;
        everything else separates words.
        "unicode": for any script; lower case, and only letters, marks, digits,
        tone signs, and apostrophes inside words. Letters, tones and apostrophes
        that look alike are not mixed up or exchanged.

    Returns
    -------
    str
        Normalising it once more changes nothing.

    Raises
    ------
    UserError
        For an unknown style.

    Example
    -------
    >>> normalize_text(" A\\tcafe\\u0301\\u200b ", "none")
    'A café'
    >>> normalize_text("Don’t take 2-3 “pills”!", "english")
    "don't take 2 3 pills"
    >>> normalize_text("«Ẹ kú àárọ̀, l’Été!»", "unicode")
    "ẹ kú àárọ̀ l'été"
    """
    if style not in STYLES:
        raise UserError(
            f"text style {style!r} is unknown; use one of {', '.join(STYLES)}"
        )
    text = _visible(text)
    if style == "english":
        text = _english(text)
    elif style == "unicode":
        text = _any_script(text)
    return " ".join(text.split())


def count_invisible(text: str) -> int:
    """Count the characters that every text style removes as invisible.

    Arguments
    ---------
    text : str
        Any text.

    Returns
    -------
    int
        With each "▁", which becomes a space.

    Example
    -------
    >>> count_invisible("co\\u00adoperate\\u200b"), count_invisible("naïve")
    (2, 0)
    """
    text = unicodedata.normalize("NFC", text)
    before = "".join(_INVISIBLE.findall(text))
    after = "".join(_INVISIBLE.findall(_visible(text)))
    return len(before) - len(after) + text.count(SPACE)


def _visible(text: str) -> str:
    """Return NFC without invisible characters, and spaces for their sign."""
    text = unicodedata.normalize("NFC", text).replace(SPACE, " ")
    # Again, as letters that come together may compose or change places.
    while _INVISIBLE.search(text):
        visible = unicodedata.normalize("NFC", _INVISIBLE.sub(_spelled, text))
        if visible == text:
            break
        text = visible
    return text


def _spelled(run: re.Match) -> str:
    """Return the joiner that is spelling in a run of invisible characters."""
    joiner = next((c for c in run[0] if c in _JOINERS), "")
    before, after = run.string[: run.start()], run.string[run.end() :][:1]
    if not joiner or _VIRAMA in map(unicodedata.combining, before[-1:] + after):
        return joiner
    letter = next((c for c in reversed(before) if not _is_mark(c)), "")
    spelled = _NON_JOINER in run[0] and _is_arabic(letter) and _is_arabic(after)
    return _NON_JOINER if spelled else ""


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) == "Mn"


def _is_arabic(character: str) -> bool:
    return character != "" and unicodedata.bidirectional(character) == "AL"


def _english(text: str) -> str:
    # Before and after: NFKC makes a space of U+00B4, and U+02BC of U+0149.
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    text = text.translate(_APOSTROPHES).lower()
    text = unicodedata.normalize("NFKC", text)
    kept: list[str] = []
    for character in text:
        category = unicodedata.category(character)
        if character.isalnum() or character == "'":
            kept.append(character)
        elif category[0] == "M" and kept and kept[-1] != " ":
            kept.append(character)  # an accent belongs to its letter
        elif category != "Cf":  # a joiner separates nothing
            kept.append(" ")
    text = unicodedata.normalize("NFC", "".join(kept))
    return " ".join(word for word in text.split() if word.strip("'"))


def _any_script(text: str) -> str:
    text = unicodedata.normalize("NFC", _WITHIN_WORDS.sub("", text).lower())
    kept: list[str] = []
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        follows = bool(kept) and kept[-1] != " "
        if category[0] in "LN" or category == "Co" or character in _TONES:
            kept.append(character)
        elif category[0] == "M" or character in _JOINERS:
            if follows:  # a mark belongs to its letter
                kept.append(character)
        elif follows and text[place + 1 : place + 2].isalnum():
            kept.append(
                _IN_WORD.get(character, "" if category == "Cf" else " ")
            )
        elif category != "Cf":
            kept.append(" ")
    return _visible("".join(kept))


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
    """Tell whether errors are counted in characters instead of words.

    Example
    -------
    >>> mostly_without_words(["今天天气", "很好", "ok"])
    True
    """
    found = [has_no_words(text) for text in texts]
    return 2 * sum(found) > len(found)
