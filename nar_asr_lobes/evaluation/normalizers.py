"""The text normalisers of an evaluation, each with a name and a version.

    raw text -> one spelling for the same words -> scores

Error rates compare only under the same normaliser, so each result names it.
"whisper" is that of most published English figures. It is not idempotent ("2 ½"
becomes "2 1 2", and that "21 2"): give it the texts as they are written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from nar_asr_lobes.dataio.text.normalization import (
    NORMALIZER_VERSION,
    STYLES,
    normalize_text,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import sha256

if TYPE_CHECKING:
    from whisper_normalizer.english import EnglishTextNormalizer

_NOT_WHISPERS = ("kinda", "sorta", "dunno", "cause")
_PACKAGE = "whisper-normalizer"
CONVERSATION_VERSION = 1  # raise it when the same input gives other output
NORMALIZERS = (*STYLES, "whisper", "conversation")
_SAME_WORD = {
    "ok": "okay k",
    "yes": "yeah yep yea yah",
    "no": "nope nah",
    "oh": "ohh ohhh",
    "ah": "ahh ahhh",
    "mom": "mum",
    "mommy": "mummy",
    "bye": "goodbye",
    "all right": "alright",
    "kind of": "kinda",
    "sort of": "sorta",
    "do not know": "dunno",
}
_SPOKEN = {
    variant: word
    for word, variants in _SAME_WORD.items()
    for variant in variants.split()
}


@dataclass(frozen=True)
class Normalizer:
    """A function on texts, with what identifies it in a result.

    Arguments
    ---------
    name : str
        One of ``NORMALIZERS``.
    version : str
        Equal where the same text gives the same output.
    apply : callable
        From raw to normalised text.

    Example
    -------
    >>> normalizer = get_normalizer("english")
    >>> normalizer.name, normalizer.apply("No chest-pain!")
    ('english', 'no chest pain')
    """

    name: str
    version: str
    apply: Callable[[str], str]


def get_normalizer(name: str) -> Normalizer:
    """Return a normaliser by its name.

    Arguments
    ---------
    name : str
        A text style of ``normalize_text``; or "whisper", the English one of
        Whisper (numbers as digits, American spellings, contractions in full);
        or "conversation", the same with spoken variants made equal ("yeah" is
        "yes", "okay" is "ok") and "oh" as a word instead of a zero.

    Returns
    -------
    Normalizer

    Raises
    ------
    UserError
        For an unknown name, or where the package for it is not installed.

    Example
    -------
    >>> get_normalizer("none").apply(" No  chest-pain! ")
    'No chest-pain!'
    """
    if name in STYLES:
        apply = partial(normalize_text, style=name)
        return Normalizer(name, str(NORMALIZER_VERSION), apply)
    if name not in NORMALIZERS:
        raise UserError(
            f"normaliser {name!r} is unknown; use one of "
            + ", ".join(NORMALIZERS)
        )
    whisper = _load_whisper(name)
    package = f"{_PACKAGE} {version(_PACKAGE)}"
    if name == "whisper":
        return Normalizer(name, package, whisper)
    numbers = whisper.standardize_numbers
    for words in (numbers.zeros, numbers.decimals, numbers.words):
        words.discard("oh")
    return Normalizer(
        name,
        f"{CONVERSATION_VERSION} on {package}",
        lambda text: _unify_spoken(whisper(text)),
    )


def with_spellings(
    normalizer: Normalizer, path: str | os.PathLike
) -> Normalizer:
    """Let a normaliser make spellings of the same word equal.

    Arguments
    ---------
    normalizer : Normalizer
        Applied first, to the texts and to the file.
    path : str or path
        See ``read_spellings``; its hash joins the version.

    Returns
    -------
    Normalizer

    Example
    -------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "spellings.tsv")
    >>> _ = path.write_text("colour\\tcolor\\n")
    >>> normalizer = with_spellings(get_normalizer("english"), path)
    >>> normalizer.apply("Skin colour.")
    'skin color'
    """
    # NumPy's import, which --help shall not wait for.
    from nar_asr_lobes.evaluation.terms import read_spellings, rewrite

    rules = read_spellings(path, normalizer.apply)
    return Normalizer(
        normalizer.name,
        f"{normalizer.version}, spellings sha256 {sha256(path)}",
        lambda text: " ".join(rewrite(normalizer.apply(text).split(), rules)),
    )


def _load_whisper(name: str) -> EnglishTextNormalizer:
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise UserError(
            f"normaliser {name!r} needs the package {_PACKAGE}; install it "
            "with: pip install 'nar-asr-lobes[eval]'"
        ) from error
    whisper = EnglishTextNormalizer()
    # The package has rules that Whisper's own normaliser has not.
    for word in _NOT_WHISPERS:
        whisper.replacers.pop(rf"\b{word}\b", None)
    return whisper


def _unify_spoken(text: str) -> str:
    return " ".join(_SPOKEN.get(word, word) for word in text.split())
