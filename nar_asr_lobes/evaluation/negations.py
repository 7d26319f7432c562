"""The error rate of negations: "no chest pain" is not "chest pain".

reference, hypothesis -> aligned words -> negations that are right,
    substituted, deleted or inserted
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.dataio.manifest import read_lines, refuse
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import sha256

ENGLISH = "english"
ENGLISH_VERSION = "1"  # raise it when the words change
_ENGLISH_WORDS = """
    no not never none nobody nothing nowhere neither nor cannot without
    deny denies denied denying absent negative
    ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't
    mightn't mustn't needn't shan't shouldn't wasn't weren't won't wouldn't
"""


@dataclass(frozen=True)
class NegationList:
    """Words that negate.

    Arguments
    ---------
    name, version : str
        That identify the list in a result.
    words : frozenset of str
        In small letters; both texts are looked up without their case.

    Example
    -------
    >>> negations = read_negations()
    >>> negations.count([("no", "no"), ("not", ""), ("now", "no")])
    {'negations': 2, 'substitutions': 0, 'deletions': 1, 'insertions': 1, \
'errors': 2}
    """

    name: str
    version: str
    words: frozenset[str]

    def count(self, pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
        """Count the negations and their errors among aligned words.

        Arguments
        ---------
        pairs : sequence of tuple
            Word of the reference and of the hypothesis, "" where one has none.

        Returns
        -------
        dict of str to int
            "negations" of the reference; "substitutions", by another negation
            too; "deletions"; "insertions", also in the place of another word;
            "errors", the three together.
        """
        said = [pair for pair in pairs if self._negates(pair[0])]
        deleted = sum(not heard for _, heard in said)
        wrong = sum(word != heard for word, heard in said)
        inserted = sum(
            self._negates(heard)
            for word, heard in pairs
            if not self._negates(word)
        )
        return {
            "negations": len(said),
            "substitutions": wrong - deleted,
            "deletions": deleted,
            "insertions": inserted,
            "errors": wrong + inserted,
        }

    def _negates(self, word: str) -> bool:
        return word.casefold().replace("’", "'") in self.words


def read_negations(source: str = ENGLISH) -> NegationList:
    """Read a list of negations, a word a line, or take the English one.

    Arguments
    ---------
    source : str
        "english", or a UTF-8 file with the words as the normalised texts have
        them.

    Returns
    -------
    NegationList

    Raises
    ------
    UserError
        For a file that cannot be read or is empty, and lines of several words.
    """
    if source == ENGLISH:
        words = frozenset(_ENGLISH_WORDS.split())
        return NegationList(ENGLISH, ENGLISH_VERSION, words)
    lines = [(n, line.split()) for n, line in enumerate(read_lines(source), 1)]
    refuse(
        [f"{source}:{n}: has several words" for n, x in lines if len(x) > 1],
        "write one word a line",
    )
    found = frozenset(word.casefold() for _, x in lines for word in x)
    if not found:
        raise UserError(f"{source}: holds no word; write one a line")
    return NegationList(Path(source).name, f"sha256 {sha256(source)}", found)
