"""How many of the listed words were found, and how many made up.

references, hypotheses -> jiwer's alignment -> where phrases stand -> HotCounts
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import jiwer

from nar_asr_lobes.dataio.text.scripts import mostly_without_words


@dataclass(frozen=True)
class HotCounts:
    """Occurrences of listed phrases in a set of texts.

    Arguments
    ---------
    said : int
        In the references.
    found : int
        Those whose words are all right in the hypotheses.
    inserted : int
        In the hypotheses where the references have something else.

    Example
    -------
    >>> count_hot(["no pain", "pain"], ["no pain", "pan pain"], ["pain"])
    HotCounts(said=2, found=2, inserted=0)
    >>> count_hot(["some pan"], ["no pain"], ["pain"]).recall is None
    True
    """

    said: int
    found: int
    inserted: int

    @property
    def recall(self) -> float | None:
        """Share of what was said that was found; None if nothing was."""
        return self.found / self.said if self.said else None


def count_hot(
    references: Sequence[str],
    hypotheses: Sequence[str],
    phrases: Iterable[str],
) -> HotCounts:
    """Count the occurrences of phrases that were found and made up.

    An occurrence counts as right where all its words are equal in an
    alignment with the fewest errors and nothing stands between them. Where
    there are no spaces, characters stand for words.

    Arguments
    ---------
    references : sequence of str
        What was said, [N]; at least one word each.
    hypotheses : sequence of str
        What was recognised, [N].
    phrases : iterable of str
        In the style of the references.

    Returns
    -------
    HotCounts
    """
    split, align = str.split, jiwer.process_words
    if mostly_without_words(references):
        split, align = list, jiwer.process_characters
    wanted = {tuple(split(phrase)) for phrase in phrases}
    words = align(list(references), list(hypotheses))
    said = found = inserted = 0
    for reference, hypothesis, chunks in zip(
        words.references, words.hypotheses, words.alignments, strict=True
    ):
        equal = [chunk for chunk in chunks if chunk.type == "equal"]
        right = [(c.ref_start_idx, c.ref_end_idx) for c in equal]
        heard = [(c.hyp_start_idx, c.hyp_end_idx) for c in equal]
        for place in _places(reference, wanted):
            said += 1
            found += _inside(place, right)
        for place in _places(hypothesis, wanted):
            inserted += not _inside(place, heard)
    return HotCounts(said, found, inserted)


def _places(
    words: list[str], wanted: set[tuple[str, ...]]
) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each phrase among the words."""
    for length in {len(phrase) for phrase in wanted}:
        for begin in range(len(words) - length + 1):
            if tuple(words[begin : begin + length]) in wanted:
                yield begin, begin + length


def _inside(place: tuple[int, int], runs: list[tuple[int, int]]) -> bool:
    """Whether one run of equal words holds the place."""
    return any(a <= place[0] and place[1] <= b for a, b in runs)
