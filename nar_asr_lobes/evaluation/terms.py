"""Error rates of listed terms, such as the drug names of a clinic.

    terms.tsv, canonical.tsv -> TermList
    reference, hypothesis -> canonical spellings -> alignment of words
        -> right, substituted, deleted and inserted terms of each category

A term of several words counts once, as one word of the alignment. Canonical
spellings serve these scores only, never the WER.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.dataio.manifest import read_lines, refuse
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.alignment import align_words
from nar_asr_lobes.storage import sha256

_SIDES = {
    "both": ("reference", "hypothesis"),
    "reference": ("reference",),
    "hypothesis": ("hypothesis",),
}
_JOINED = "_"  # between the words of a term, once they are one word
Rules = dict[tuple[str, ...], tuple[str, ...]]
"""Words, and the words that take their place."""


@dataclass(frozen=True)
class TermPairs:
    """The terms of a reference and a hypothesis, aligned.

    Arguments
    ---------
    pairs : list of tuple
        (term of the reference, word of the hypothesis), "" where one has none;
        of words that the hypothesis inserted only the terms.
    unique : dict
        The different terms of the reference, and whether each stands anywhere
        in the hypothesis (entity recall).
    """

    pairs: list[tuple[str, str]]
    unique: dict[str, bool]


@dataclass(frozen=True)
class TermList:
    """Terms with their categories, and spellings that count as equal.

    Arguments
    ---------
    categories : dict
        From a term in its canonical spelling to its category.
    rules : dict
        For "reference" and "hypothesis" the words that are written otherwise.
    files : dict
        SHA-256 by file name, to stand in a result.
    """

    categories: dict[str, str]
    rules: dict[str, Rules]
    files: dict[str, str]

    def align(self, reference: str, hypothesis: str) -> TermPairs:
        """Align two texts, normalised as the list is, and pick their terms."""
        said = self._canonical(reference, "reference")
        heard = self._canonical(hypothesis, "hypothesis")
        terms = self.categories.keys()
        pairs = [
            (word, other)
            for word, other in align_words(said, heard)
            if (word or other) in terms
        ]
        anywhere = set(heard)
        unique = {term: term in anywhere for term in terms & set(said)}
        return TermPairs(pairs, unique)

    def _canonical(self, text: str, side: str) -> list[str]:
        words = rewrite(text.split(), self.rules[side])
        several = {
            tuple(term.split(_JOINED)): (term,)
            for term in self.categories
            if _JOINED in term
        }
        return rewrite(words, several)


def read_terms(
    path: str | os.PathLike,
    canonical: str | os.PathLike | None = None,
    normalize: Callable[[str], str] = str,
) -> TermList:
    """Read a list of terms, and the spellings that count as equal.

    Arguments
    ---------
    path : str or path
        UTF-8, a term and its category a line, with a tab between them.
    canonical : str or path, optional
        Side ("reference", "hypothesis" or "both"), a spelling, and the one
        that takes its place, with tabs between them.
    normalize : callable
        From raw to normalised text.

    Returns
    -------
    TermList

    Raises
    ------
    UserError
        For files that cannot be read and lines of another form.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "terms.tsv")
    >>> _ = path.write_text("aspirin\\tdrugs\\nhay fever\\tconditions\\n")
    >>> terms = read_terms(path)
    >>> terms.align("aspirin for hay fever", "aspirins for hay fever").pairs
    [('aspirin', 'aspirins'), ('hay_fever', 'hay_fever')]
    """
    rules: dict[str, Rules] = {"reference": {}, "hypothesis": {}}
    if canonical is not None:
        for sides, old, new in _rows(canonical, ("side", "from", "to")):
            for side in _SIDES[sides]:
                key = tuple(normalize(old).split())
                rules[side][key] = tuple(normalize(new).split())
    rules = {side: _follow(found) for side, found in rules.items()}
    categories = {}
    for term, category in _rows(path, ("term", "category")):
        words = rewrite(normalize(term).split(), rules["hypothesis"])
        categories[_JOINED.join(words)] = category
    files = [path] if canonical is None else [path, canonical]
    hashes = {Path(file).name: sha256(file) for file in files}
    return TermList(categories, rules, hashes)


def read_spellings(
    path: str | os.PathLike, normalize: Callable[[str], str] = str
) -> Rules:
    """Read the spellings of words that count as equal.

    Arguments
    ---------
    path : str or path
        UTF-8, a spelling and the one that takes its place a line, with a tab
        between them; both may have several words.
    normalize : callable
        From raw to normalised text.

    Returns
    -------
    dict
        For ``rewrite``.

    Raises
    ------
    UserError
        For a file that cannot be read, lines of another form, words that have
        no letter left once they are normalised, and circles.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "spellings.tsv")
    >>> _ = path.write_text("health care\\thealthcare\\n")
    >>> rewrite("the health care plan".split(), read_spellings(path))
    ['the', 'healthcare', 'plan']
    """
    rules = {
        tuple(normalize(old).split()): tuple(normalize(new).split())
        for old, new in _rows(path, ("from", "to"))
    }
    if () in rules:
        raise UserError(
            f"{path}: a spelling has no letter left once it is normalised; "
            "remove it"
        )
    rules = _follow(rules)
    if any(tuple(rewrite(list(new), rules)) != new for new in rules.values()):
        raise UserError(
            f"{path}: a spelling leads back to itself through others, or takes "
            "its own place with more words; remove one of these lines"
        )
    return rules


def _rows(
    path: str | os.PathLike, names: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table, without its header where it has one."""
    rows, faults = [], []
    for number, line in enumerate(read_lines(path), 1):
        cells = tuple(cell.strip() for cell in line.split("\t"))
        if not line.strip() or (number == 1 and cells == names):
            continue
        if len(cells) != len(names) or not all(cells):
            faults.append(f"{path}:{number}: is not {', '.join(names)}")
        elif names[0] == "side" and cells[0] not in _SIDES:
            faults.append(f"{path}:{number}: side {cells[0]!r} is unknown")
        rows.append(cells)
    refuse(faults, "write one row a line, with tabs between its cells")
    yield from rows


def _follow(rules: Rules) -> Rules:
    """Apply the rules to their own results: pain killers, then painkillers."""
    return {
        old: tuple(rewrite(rewrite(list(new), rules), rules))
        for old, new in rules.items()
    }


def rewrite(words: list[str], rules: Rules) -> list[str]:
    """Replace words from left to right, the longest rule first."""
    longest = max(map(len, rules), default=0)
    written, place = [], 0
    while place < len(words):
        for length in range(longest, 0, -1):
            new = rules.get(tuple(words[place : place + length]))
            if new is not None:
                written += new
                place += length
                break
        else:
            written.append(words[place])
            place += 1
    return written
