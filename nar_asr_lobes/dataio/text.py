"""Transcripts into one form, so that the same words are the same string.

    raw text -> Unicode form -> (case, punctuation) -> single spaces

Styles that change more than white space raise `NORMALIZER_VERSION` when they
change, because word error rates before and after cannot be compared.
"""

from __future__ import annotations

import unicodedata

from nar_asr_lobes.errors import UserError

NORMALIZER_VERSION = 1  # raise it when the same input gives other output
STYLES = ("none", "english")

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u0060\u00b4"), "'")


def normalize_text(text: str, style: str = "none") -> str:
    """Bring a transcript into the form that training and scoring use.

    Arguments
    ---------
    text : str
        Any text.
    style : str
        "none": NFC (composed letters) and single spaces, nothing else.
        "english": NFKC, lower case, and only letters, digits and apostrophes;
        everything else separates words.

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
    >>> normalize_text(" A\\tcafe\\u0301 ", "none")
    'A café'
    >>> normalize_text("Don’t take 2-3 “pills”!", "english")
    "don't take 2 3 pills"
    """
    if style not in STYLES:
        raise UserError(
            f"text style {style!r} is unknown; use one of {', '.join(STYLES)}"
        )
    if style == "english":
        text = _english(text)
    return " ".join(unicodedata.normalize("NFC", text).split())


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
        elif category != "Cf":  # a soft hyphen separates nothing
            kept.append(" ")
    words = "".join(kept).split()
    return " ".join(word for word in words if word.strip("'"))
