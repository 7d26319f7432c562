"""Words -> phones, for the intermediate CTC layers.

texts of train and dev -> words -> espeak-ng -> lexicon.json -> units of a text

Spelling hides the pronunciation; phones do not. A model with an hour or two of
labelled speech finds phones sooner than letters, and its upper layers spell
from there (hierarchical CTC: Krishna et al., https://arxiv.org/abs/1807.06234).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.dataio.synthesis.espeak import Espeak
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import write_text

_STRESS_AND_LENGTH = "ˈˌː"


@dataclass(frozen=True)
class Lexicon:
    """The phones of every word.

    Arguments
    ---------
    voice : str
        The espeak-ng voice that gave them.
    phones : tuple of str
        The inventory; unit i + 1 is ``phones[i]``, unit 0 the CTC blank.
    words : dict of str to tuple of int
        Units of each word; a word may have none.

    Example
    -------
    >>> lexicon = Lexicon("en", ("n", "o"), {"no": (1, 2), "on": (2, 1)})
    >>> lexicon.size, lexicon.encode("no on")
    (3, [1, 2, 2, 1])
    """

    voice: str
    phones: tuple[str, ...]
    words: dict[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """Number of units, with the blank."""
        return len(self.phones) + 1

    def encode(self, text: str) -> list[int]:
        """Give the units of a text; a word that is missing is a KeyError."""
        return [unit for word in text.split() for unit in self.words[word]]

    def save(self, path: str | os.PathLike) -> None:
        """Write it as JSON, whole or not at all."""
        content = json.dumps(vars(self), ensure_ascii=False, indent=1)
        write_text(path, content)


def load_lexicon(path: str | os.PathLike) -> Lexicon:
    """Read a file of ``Lexicon.save``.

    Raises
    ------
    UserError
        For a damaged file.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        words = {word: tuple(units) for word, units in found["words"].items()}
        return Lexicon(found["voice"], tuple(found["phones"]), words)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: this lexicon is damaged; delete it and start the run "
            "again, or give a new output_folder"
        ) from error


def make_lexicon(texts: Iterable[str], voice: str) -> Lexicon:
    """Let espeak-ng pronounce every word of some texts.

    Arguments
    ---------
    texts : iterable of str
        Normalised transcripts.
    voice : str
        An espeak-ng language, such as en-us, sw or de.

    Returns
    -------
    Lexicon
        Without stress and length. Raises UserError for an unknown voice and
        when espeakng-loader is not installed.

    Example
    -------
    >>> import pytest
    >>> loader = pytest.importorskip("espeakng_loader")
    >>> make_lexicon(["no pain", "no"], "en-us").encode("pain")
    [4, 1, 2]
    """
    words = sorted({word for text in texts for word in text.split()})
    with Espeak() as espeak:
        said = [
            [_plain(phone) for phone in espeak.phones(word, voice)]
            for word in words
        ]
    said = [[phone for phone in phones if phone] for phones in said]
    inventory = sorted({phone for phones in said for phone in phones})
    units = {phone: unit for unit, phone in enumerate(inventory, start=1)}
    return Lexicon(
        voice,
        tuple(inventory),
        {
            word: tuple(units[phone] for phone in phones)
            for word, phones in zip(words, said, strict=True)
        },
    )


def _plain(phone: str) -> str:
    return "".join(c for c in phone if c not in _STRESS_AND_LENGTH).strip()
